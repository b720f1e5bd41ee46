"""Images a second through LinkNet-ResNet34, by every road that is open on this machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
from harness import Case, Method, Target
from machine import cores, gpu, module
from networks import module_of
from rates import matrix_rates
from roads import (
    SCORING,
    copied,
    cuda_cases,
    made,
    nothing,
    onnx_road,
    scoring,
    torch_road,
)

from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networks import Network
    from roads import (
        Road,
    )

TITLE = "Inference"
TEXT = """A LinkNet with random weights; its images, logits and sigmoid in one call. The fraction is
of the rate that the device reaches in a large matrix product of the same precision, by the fastest
library at hand.
The last row is what the selector adds: scoring the same batch where its probabilities are."""

_EAGER, _ONNX = "torch eager", "ONNX Runtime fp32"
_CLOSE = 1e-5  # of fp32 probabilities


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for the GPU; where there is none, for the CPU."""
    network = networks.sized(quick=quick)
    if absent := networks.missing():
        yield nothing(network.title, absent)
    elif gpu():
        yield from cuda_cases(_cuda_roads, quick=quick)
    else:
        yield _cpu_case(network, 2, quick=quick)


def _cpu_case(network: Network, batch: int, *, quick: bool) -> Case:
    return Case(
        name=f"{network.title}, batch of {batch}, cpu",
        methods=_cpu_methods(network, network.images(batch), quick=quick),
        items=batch,
        unit="image",
        targets=[
            Target(of=SCORING, to=_ONNX, limit=0.01, at_most=True),
            Target(of=_EAGER, to=_ONNX, limit=1.8),
        ],
        rates=partial(matrix_rates, "cpu"),
        seconds=90,
    )


def _cpu_methods(network: Network, images: Any, *, quick: bool) -> list[Method]:
    torch = module("torch")
    torch.set_num_threads(cores())
    flops = network.flops() * len(images)
    tensor, last = torch.from_numpy(images), torch.channels_last
    onnx = onnx_road(network.file(), images, device="cpu")
    close: dict[str, Any] = {"agrees": _closely, "flops": flops, "precision": "float32"}
    methods = [
        Method(name=_ONNX, run=onnx, role="ours", flops=flops, precision="float32"),
        Method(name=_EAGER, run=torch_road(module_of(network.encoder), tensor), **close),
        Method(
            name="torch channels_last",
            run=torch_road(copied(network, last), tensor.to(memory_format=last)),
            **close,
        ),
        Method(name="torch.compile", missing="left out of a quick run: it takes a minute")
        if quick
        else made(
            "torch.compile",
            lambda: torch_road(torch.compile(copied(network)), tensor),
            flops=flops,
            precision="float32",
        ),
        made(
            "ONNX Runtime int8",
            lambda: onnx_road(network.file("int8"), images, device="cpu"),
            flops=flops,
        ),
    ]
    return [*methods, scoring(onnx())]


def _closely(ours: Any, theirs: Any) -> str:
    largest = float(np.abs(to_numpy(ours) - to_numpy(theirs)).max())
    if largest >= _CLOSE:
        raise AssertionError(f"The probabilities differ by {largest:g}; expected below {_CLOSE}.")
    return f"largest difference {largest:.1g}"


def _cuda_roads(network: Network, images: Any) -> list[Road]:
    torch = module("torch")
    tensor = torch.from_numpy(images).cuda()
    last = tensor.to(memory_format=torch.channels_last)
    eager, layout = copied(network).cuda(), copied(network, torch.channels_last).cuda()
    bf16, fp16 = torch.bfloat16, torch.float16
    file, half = network.file, lambda: network.file("fp16")
    tf32 = {"device": "cuda", "tf32": True}
    return [
        ("ONNX Runtime CUDA fp32", "float32", lambda: onnx_road(file(), tensor, device="cuda")),
        ("torch eager fp32", "float32", lambda: torch_road(eager, tensor, tf32=False)),
        ("torch eager, TF32", "TF32", lambda: torch_road(eager, tensor)),
        ("torch channels_last bf16", "bfloat16", lambda: torch_road(layout, last, bf16)),
        ("torch channels_last fp16", "float16", lambda: torch_road(layout, last, fp16)),
        ("ONNX Runtime CUDA TF32", "TF32", lambda: onnx_road(file(), tensor, **tf32)),
        ("ONNX Runtime CUDA fp16", "float16", lambda: onnx_road(half(), tensor, device="cuda")),
    ]
