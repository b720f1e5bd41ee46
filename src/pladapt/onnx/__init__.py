"""Predicting with ONNX Runtime, and making the files that it runs.

`OnnxPredictor` needs ONNX Runtime and no torch; `export` and `OnnxTrainable` need torch, and they
and `quantize` need the extra ``onnx-export``. Each is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pladapt.onnx.contract import Contract
    from pladapt.onnx.exporting import ExportRecord, export
    from pladapt.onnx.predictor import OnnxPredictor
    from pladapt.onnx.quantizing import QuantizationRecord, quantize
    from pladapt.onnx.trainable import OnnxTrainable

_HOMES: Final = {
    "Contract": "contract",
    "ExportRecord": "exporting",
    "OnnxPredictor": "predictor",
    "OnnxTrainable": "trainable",
    "QuantizationRecord": "quantizing",
    "export": "exporting",
    "quantize": "quantizing",
}

__all__ = [
    "Contract",
    "ExportRecord",
    "OnnxPredictor",
    "OnnxTrainable",
    "QuantizationRecord",
    "export",
    "quantize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
