"""Compiled networks and recorded launches on a CUDA device, beside ONNX Runtime's plain road."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machine import module
from roads import copied, cuda_cases, onnx_road, torch_road

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Case
    from networks import Network
    from roads import Road

TITLE = "Inference, compiled"
TEXT = """`torch.compile` and CUDA graphs, which take their time before the first image; that is not
in the times. A CUDA graph launches all kernels of a batch by one call."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Return a case for the GPU, where there is one."""
    return cuda_cases(_roads, quick=quick)


def _roads(network: Network, images: Any) -> list[Road]:
    torch = module("torch")
    tensor = torch.from_numpy(images).cuda()
    last = tensor.to(memory_format=torch.channels_last)
    layout, fp16 = copied(network, torch.channels_last).cuda(), torch.float16
    graph = {"device": "cuda", "cuda_graph": True, "batch_size": len(images)}

    def compiled(**options: Any) -> Any:
        return torch_road(torch.compile(layout, **options), last, fp16)

    return [
        (
            "ONNX Runtime CUDA fp16",
            "float16",
            lambda: onnx_road(network.file("fp16"), tensor, device="cuda"),
        ),
        ("torch channels_last fp16", "float16", lambda: torch_road(layout, last, fp16)),
        ("torch.compile fp16", "float16", compiled),
        (
            "torch.compile fp16, CUDA graph",
            "float16",
            lambda: compiled(mode="reduce-overhead"),
        ),
        (
            "ONNX Runtime CUDA fp16, CUDA graph",
            "float16",
            lambda: onnx_road(network.file("fp16"), tensor, **graph),
        ),
    ]
