"""What a device reaches in a large matrix product, against which a network is held."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def matrix_rates(device: str) -> Mapping[str, float]:
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
