"""TensorRT through ONNX Runtime, which builds an engine before the first image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machine import module
from roads import cuda_cases, onnx_road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Case
    from networks import Network
    from roads import Road

TITLE = "Inference, TensorRT"
TEXT = """The engine is built before the first image, which takes minutes for large networks and is
not in the times."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Return a case for the GPU, where there is one."""
    return cuda_cases(_roads, quick=quick)


def _roads(network: Network, images: Any) -> list[Road]:
    tensor = module("torch").from_numpy(images).cuda()
    fixed = {"device": "tensorrt", "fp16": True, "batch_size": len(images)}
    return [
        (
            "ONNX Runtime CUDA fp16",
            "float16",
            lambda: onnx_road(network.file("fp16"), tensor, device="cuda"),
        ),
        (
            "ONNX Runtime TensorRT fp16",
            "float16",
            lambda: onnx_road(network.file(), tensor, **fixed),
        ),
    ]
