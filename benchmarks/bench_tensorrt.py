"""TensorRT through ONNX Runtime, which builds an engine before the first image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networks
from machine import gpu, module
from roads import NO_CUDA, cuda_case, nothing, onnx_road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Case
    from networks import Network
    from roads import Road

TITLE = "Inference, TensorRT"
TEXT = """The engine is built before the first image, which takes minutes for large networks and is
not in the times."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for the GPU, where there is one."""
    network, batch = networks.sized(quick=quick), 4 if quick else 32
    if absent := networks.missing() or ("" if gpu() else NO_CUDA):
        yield nothing(network.title, absent)
        return
    yield cuda_case(network, batch, _roads(network, network.images(batch)))


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
