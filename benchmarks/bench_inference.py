"""Images a second through LinkNet-ResNet34, by every road that is open on this machine."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
from array_api_compat import array_namespace
from harness import Case, Method, Target
from machine import cores, gpu, module
from networks import Network, module_of

from pladapt import Prediction
from pladapt.functional.arrays import to_numpy
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TITLE = "Inference"
TEXT = """A LinkNet with random weights; its images, logits and sigmoid in one call. The fraction is
of the rate that the device reaches in a large matrix product of the same precision, by the fastest
library at hand.
The last row is what the selector adds: scoring the same batch where its probabilities are."""

_EAGER, _ONNX, _SCORING = "torch eager", "ONNX Runtime fp32", "scoring the predictions"
_QUICKEST = "ONNX Runtime CUDA fp16, CUDA graph"
_CLOSE = 1e-5  # of fp32 probabilities


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for the GPU; where there is none, for the CPU."""
    network = Network("resnet18", 64) if quick else Network("resnet34", 512)
    if absent := networks.missing():
        methods = [
            Method(name="numpy (nothing to run)", run=lambda: np.zeros(1), role="ours"),
            Method(name=network.title, missing=absent),
        ]
        yield Case(name="inference", methods=methods)
        return
    if not gpu():
        yield _case(network, "cpu", 2, _cpu_methods(network, network.images(2), quick=quick))
        return
    batch = 4 if quick else 32
    yield _case(network, "cuda", batch, _gpu_methods(network, network.images(batch)))


def _case(network: Network, device: str, batch: int, methods: list[Method]) -> Case:
    quickest = _QUICKEST if device == "cuda" else _ONNX
    targets = [
        Target(of=_SCORING, to=name, limit=0.01, at_most=True)
        for name in dict.fromkeys((methods[0].name, quickest))
    ]
    if device == "cpu":
        targets.append(Target(of=_EAGER, to=_ONNX, limit=1.8))
    return Case(
        name=f"{network.title}, batch of {batch}, {device}",
        methods=methods,
        items=batch,
        unit="image",
        targets=targets,
        rates=partial(_matrix_rates, device),
        seconds=90,
    )


def _cpu_methods(network: Network, images: Any, *, quick: bool) -> list[Method]:
    torch = module("torch")
    torch.set_num_threads(cores())
    flops = network.flops() * len(images)
    tensor, last = torch.from_numpy(images), torch.channels_last
    onnx = _onnx(network.file(), images, device="cpu")
    close: dict[str, Any] = {"agrees": _closely, "flops": flops, "precision": "float32"}
    methods = [
        Method(name=_ONNX, run=onnx, role="ours", flops=flops, precision="float32"),
        Method(name=_EAGER, run=_torch(module_of(network.encoder), tensor), **close),
        Method(
            name="torch channels_last",
            run=_torch(_copied(network, last), tensor.to(memory_format=last)),
            **close,
        ),
        Method(name="torch.compile", missing="left out of a quick run: it takes a minute")
        if quick
        else _made(
            "torch.compile",
            lambda: _torch(torch.compile(_copied(network)), tensor),
            flops=flops,
            precision="float32",
        ),
        _made(
            "ONNX Runtime int8",
            lambda: _onnx(network.file("int8"), images, device="cpu"),
            flops=flops,
        ),
    ]
    return [*methods, _scoring(onnx())]


def _gpu_methods(network: Network, images: Any) -> list[Method]:
    torch = module("torch")
    tensor = torch.from_numpy(images).cuda()
    last = tensor.to(memory_format=torch.channels_last)
    eager, bf16, fp16 = _copied(network).cuda(), torch.bfloat16, torch.float16
    layout = _copied(network, torch.channels_last).cuda()
    files = network.file, network.file("fp16")
    fixed = {"device": "cuda", "cuda_graph": True, "batch_size": len(images)}
    tensorrt = {"device": "tensorrt", "fp16": True, "batch_size": len(images)}
    roads: list[tuple[str, str, Callable[[], Callable[[], Any]]]] = [
        ("ONNX Runtime CUDA fp32", "float32", lambda: _onnx(files[0](), tensor, device="cuda")),
        ("torch eager fp32", "float32", lambda: _torch(eager, tensor, tf32=False)),
        ("torch eager, TF32", "TF32", lambda: _torch(eager, tensor)),
        ("torch channels_last bf16", "bfloat16", lambda: _torch(layout, last, bf16)),
        ("torch channels_last fp16", "float16", lambda: _torch(layout, last, fp16)),
        ("torch.compile fp16", "float16", lambda: _torch(torch.compile(layout), last, fp16)),
        (
            "torch.compile fp16, CUDA graph",
            "float16",
            lambda: _torch(torch.compile(layout, mode="reduce-overhead"), last, fp16),
        ),
        (
            "ONNX Runtime CUDA TF32",
            "TF32",
            lambda: _onnx(files[0](), tensor, device="cuda", tf32=True),
        ),
        ("ONNX Runtime CUDA fp16", "float16", lambda: _onnx(files[1], tensor, device="cuda")),
        (_QUICKEST, "float16", lambda: _onnx(files[1], tensor, **fixed)),
        ("ONNX Runtime TensorRT fp16", "float16", lambda: _onnx(files[0](), tensor, **tensorrt)),
    ]
    flops = network.flops() * len(images)
    made = [_made(name, make, flops=flops, precision=kind) for name, kind, make in roads]
    working = [method for method in made if not method.missing]
    first = replace(working[0], role="ours", agrees=None)  # ONNX Runtime's, where it works
    others = [method for method in made if method.name != first.name]
    return [first, *others, _scoring(_run(first))]


def _run(method: Method) -> Any:
    return method.run() if method.run else None


def _made(
    name: str, make: Callable[[], Callable[[], Any]], *, flops: float, precision: str = ""
) -> Method:
    """Make a method and try it; what this machine lacks for it is reported in its place."""
    try:
        run = make()
        run()
    except Exception as error:  # noqa: BLE001 - every compiler and provider fails in its own way
        reason = (str(error).splitlines() or [""])[0]
        return Method(name=name, missing=f"{type(error).__name__}: {reason}")
    return Method(name=name, run=run, agrees=_difference, flops=flops, precision=precision)


def _copied(network: Network, layout: Any = None) -> Any:
    """Return a module of its own, to be moved and compiled."""
    made = copy.deepcopy(module_of(network.encoder))
    return made if layout is None else made.to(memory_format=layout)


def _torch(
    network: Any, images: Any, precision: Any = None, *, tf32: bool = True
) -> Callable[[], Any]:
    torch = module("torch")

    def run() -> Any:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(allow_tf32=tf32),
            torch.autocast(images.device.type, precision, enabled=precision is not None),
        ):
            result = torch.sigmoid(network(images).float())
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        return result

    return run


def _onnx(path: Any, images: Any, **options: Any) -> Callable[[], Any]:
    predictor = module("pladapt.onnx").OnnxPredictor(path, **options)
    return partial(predictor.predict, images)


def _scoring(probabilities: Any) -> Method:
    """Score a batch where it is, as the selector does, and bring the scores to the host."""
    ids = tuple(map(str, range(len(probabilities))))
    xp = array_namespace(probabilities)
    kept = xp.asarray(probabilities, copy=True)  # the next run may use the memory again
    selector, prediction = CertaintyIndexSelector(), Prediction(ids, kept)
    return Method(
        name=_SCORING,
        run=lambda: {name: to_numpy(c) for name, c in selector.score(prediction).items()},
    )


def _closely(ours: Any, theirs: Any) -> str:
    largest = float(np.abs(to_numpy(ours) - to_numpy(theirs)).max())
    if largest >= _CLOSE:
        raise AssertionError(f"The probabilities differ by {largest:g}; expected below {_CLOSE}.")
    return f"largest difference {largest:.1g}"


def _difference(ours: Any, theirs: Any) -> str:
    return f"largest difference {np.abs(to_numpy(ours) - to_numpy(theirs)).max():.1g}"


def _matrix_rates(device: str) -> Mapping[str, float]:
    """Measure the rate of a large matrix product in FLOP/s, by precision."""
    torch = module("torch")
    if device == "cpu":
        # each library brings kernels of its own: the fastest shows what the device can do
        matrix = torch.rand(2048, 2048)
        rows = matrix.numpy()
        roads = ((matrix, torch.mm), (rows, np.matmul), (rows, _onnx_product(len(rows))))
        return {"float32": max(_rate(operand, product) for operand, product in roads)}
    rates = {}
    for precision in ("float32", "TF32", "bfloat16", "float16"):
        torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
        dtype = getattr(torch, precision, torch.float32)
        rates[precision] = _rate(torch.rand(8192, 8192, device=device, dtype=dtype), torch.mm)
    return rates


def _onnx_product(size: int) -> Callable[[Any, Any], Any]:
    """Return ONNX Runtime's product of two square matrices of this size, in float32."""
    helper, float32 = module("onnx").helper, module("onnx").TensorProto.FLOAT
    a, b, c = (helper.make_tensor_value_info(name, float32, [size, size]) for name in "abc")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c]
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    runtime = module("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda left, right: session.run(None, {"a": left, "b": right})


def _rate(matrix: Any, product: Callable[[Any, Any], Any]) -> float:
    best = min(_product_time(matrix, product) for _ in range(5))
    return float(2 * len(matrix) ** 3 / best)


def _product_time(matrix: Any, product: Callable[[Any, Any], Any]) -> float:
    torch = module("torch")
    wait = torch.cuda.synchronize if getattr(matrix, "is_cuda", False) else lambda: None
    wait()
    start = time.perf_counter()
    product(matrix, matrix)
    wait()
    return time.perf_counter() - start
