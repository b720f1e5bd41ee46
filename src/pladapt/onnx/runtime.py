"""ONNX Runtime itself, or the reason why it cannot be imported."""

from __future__ import annotations

from pladapt.errors import MissingDependencyError
from pladapt.onnx.wheels import REINSTALL
from pladapt.optional import needs

with needs("onnx-gpu", "onnxruntime"):
    import onnxruntime

if not hasattr(onnxruntime, "InferenceSession"):
    raise MissingDependencyError(
        "onnxruntime has lost its parts, as happens when one of onnxruntime and onnxruntime-gpu is "
        f"removed beside the other. Run: {REINSTALL}",
        name="onnxruntime",
    )

__all__ = ["onnxruntime"]
