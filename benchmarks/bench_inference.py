"""Images a second through LinkNet-ResNet34, by every road that is open on this machine."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
from harness import Case, Method, Target
from machine import cores, gpu, module
from networks import Network, module_of

from pladapt import Prediction
from pladapt.arrays import to_numpy
from pladapt.selectors.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TITLE = "Inference"
TEXT = """A LinkNet with random weights; its images, logits and sigmoid in one call. The share is of
the rate that the device reaches in a large matrix product of the same precision (float32 on a CPU).
The last row is what the selector adds: scoring the same batch where its probabilities are."""

_EAGER, _ONNX, _SCORING = "torch eager", "ONNX Runtime fp32", "scoring the predictions"
_CLOSE = 1e-5  # of fp32 probabilities


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for the CPU, and one for the GPU where there is one."""
    network = Network("resnet18", 64) if quick else Network("resnet34", 512)
    if absent := networks.missing():
        methods = [
            Method(name="numpy (nothing to run)", run=lambda: np.zeros(1), role="ours"),
            Method(name=network.title, missing=absent),
        ]
        yield Case(name="inference", methods=methods)
        return
    yield _case(network, "cpu", 2, _cpu_methods(network, network.images(2), quick=quick))
    if gpu():
        batch = 4 if quick else 32
        yield _case(network, "cuda", batch, _gpu_methods(network, network.images(batch)))


def _case(network: Network, device: str, batch: int, methods: list[Method]) -> Case:
    targets = [Target(of=_SCORING, to=methods[0].name, limit=0.01, at_most=True)]
    if device == "cpu":
        targets.append(Target(of=_EAGER, to=_ONNX, limit=1.8))
    return Case(
        name=f"{network.title}, batch of {batch}, {device}",
        methods=methods,
        items=batch,
        unit="image",
        targets=targets,
        facts=partial(_matrix_rates, device),
        seconds=90,
    )


def _cpu_methods(network: Network, images: Any, *, quick: bool) -> list[Method]:
    torch = module("torch")
    torch.set_num_threads(cores())
    flops = network.flops() * len(images)
    tensor = torch.from_numpy(images)
    onnx = _onnx(network.file(), images, device="cpu")
    methods = [
        Method(name=_ONNX, run=onnx, role="ours", flops=flops),
        Method(name=_EAGER, run=_torch(module_of(network.encoder), tensor), **_close(flops)),
        Method(
            name="torch channels_last",
            run=_torch(_channels_last(network), tensor.to(memory_format=torch.channels_last)),
            **_close(flops),
        ),
        _compiled(network, tensor, flops, quick=quick),
        _made("ONNX Runtime int8", lambda: _onnx(network.file("int8"), images, device="cpu")),
    ]
    return [*methods, _scoring(onnx())]


def _gpu_methods(network: Network, images: Any) -> list[Method]:
    torch = module("torch")
    flops = network.flops() * len(images)
    tensor = torch.from_numpy(images).cuda()
    eager = module_of(network.encoder).cuda()
    last = _channels_last(network).cuda()
    tensor_last = tensor.to(memory_format=torch.channels_last)
    size = {"batch_size": len(images)}
    roads: dict[str, Callable[[], Callable[[], Any]]] = {
        _EAGER: lambda: _torch(eager, tensor),
        "torch channels_last bf16": lambda: _torch(last, tensor_last, torch.bfloat16),
        "torch channels_last fp16": lambda: _torch(last, tensor_last, torch.float16),
        "torch.compile fp16": lambda: _torch(torch.compile(last), tensor_last, torch.float16),
        "torch.compile fp16, CUDA graph": lambda: _torch(
            torch.compile(last, mode="reduce-overhead"), tensor_last, torch.float16
        ),
        "ONNX Runtime CUDA TF32": lambda: _onnx(network.file(), tensor, device="cuda", tf32=True),
        "ONNX Runtime CUDA fp16": lambda: _onnx(network.file("fp16"), tensor, device="cuda"),
        "ONNX Runtime CUDA fp16, CUDA graph": lambda: _onnx(
            network.file("fp16"), tensor, device="cuda", cuda_graph=True, **size
        ),
        "ONNX Runtime TensorRT fp16": lambda: _onnx(
            network.file(), tensor, device="tensorrt", fp16=True, **size
        ),
    }
    peers = [_made(name, make, flops) for name, make in roads.items()]
    ours = _made("ONNX Runtime CUDA fp32", lambda: _onnx(network.file(), tensor, device="cuda"))
    if ours.missing:  # then the quickest of torch is what ours are compared with
        first = Method(name=peers[0].name, run=peers[0].run, role="ours", flops=flops)
        return [first, *peers[1:], ours, _scoring(_run(first))]
    first = Method(name=ours.name, run=ours.run, role="ours", flops=flops)
    return [first, *peers, _scoring(_run(first))]


def _run(method: Method) -> Any:
    return method.run() if method.run else None


def _made(name: str, make: Callable[[], Callable[[], Any]], flops: float = 0.0) -> Method:
    """Make a method and try it; what this machine lacks for it is reported in its place."""
    try:
        run = make()
        run()
    except Exception as error:  # noqa: BLE001 - every compiler and provider fails in its own way
        return Method(name=name, missing=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return Method(name=name, run=run, agrees=_difference, flops=flops)


def _compiled(network: Network, tensor: Any, flops: float, *, quick: bool) -> Method:
    if quick:
        return Method(name="torch.compile", missing="left out of a quick run: it takes a minute")
    torch = module("torch")
    compiled = torch.compile(module_of(network.encoder))
    return _made("torch.compile", lambda: _torch(compiled, tensor), flops)


def _channels_last(network: Network) -> Any:
    import copy  # noqa: PLC0415 - here alone

    torch = module("torch")
    return copy.deepcopy(module_of(network.encoder)).to(memory_format=torch.channels_last)


def _torch(network: Any, images: Any, precision: Any = None) -> Callable[[], Any]:
    torch = module("torch")

    def run() -> Any:
        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, precision, enabled=precision is not None),
        ):
            result = torch.sigmoid(network(images).float())
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        return result

    return run


def _onnx(path: Any, images: Any, **options: Any) -> Callable[[], Any]:
    predictor = module("pladapt.backends.onnx").OnnxPredictor(path, **options)
    return partial(predictor.predict, images)


def _scoring(probabilities: Any) -> Method:
    """Score a batch where it is, as the selector does, and bring the scores to the host."""
    ids = tuple(map(str, range(len(probabilities))))
    selector, prediction = CertaintyIndexSelector(), Prediction(ids, probabilities)
    return Method(
        name=_SCORING,
        run=lambda: {name: to_numpy(c) for name, c in selector.score(prediction).items()},
    )


def _close(flops: float) -> dict[str, Any]:
    return {"agrees": _closely, "flops": flops}


def _closely(ours: Any, theirs: Any) -> str:
    largest = float(np.abs(to_numpy(ours) - to_numpy(theirs)).max())
    if largest >= _CLOSE:
        raise AssertionError(f"The probabilities differ by {largest:g}; expected below {_CLOSE}.")
    return f"largest difference {largest:.1g}"


def _difference(ours: Any, theirs: Any) -> str:
    return f"largest difference {np.abs(to_numpy(ours) - to_numpy(theirs)).max():.1g}"


def _matrix_rates(device: str) -> Mapping[str, str]:
    """Measure the rate of a large matrix product, which no network exceeds."""
    torch = module("torch")
    side = 8192 if device == "cuda" else 2048
    precisions = ("float32", "bfloat16", "float16") if device == "cuda" else ("float32",)
    rates = {}
    for precision in precisions:
        matrix = torch.rand(side, side, device=device, dtype=getattr(torch, precision))
        rate = 2 * side**3 / min(_product_time(torch, matrix) for _ in range(5))
        rates[f"matrix product, {precision}"] = f"{rate / 1e12:.3g} TFLOP/s"
    return rates


def _product_time(torch: Any, matrix: Any) -> float:
    wait = torch.cuda.synchronize if matrix.device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    torch.mm(matrix, matrix)
    wait()
    return time.perf_counter() - start
