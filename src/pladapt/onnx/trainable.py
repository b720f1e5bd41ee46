"""A predictor that computes in ONNX Runtime around a module that torch can train on."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pladapt.onnx.exporting import export, image_shape
from pladapt.onnx.predictor import OnnxPredictor
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from pladapt.types import Array


@dataclass(frozen=True, eq=False)
class OnnxTrainable:
    """Scores, labels and evaluates with ONNX Runtime what torch trains.

    It is a `pladapt.torch.ModulePredictor`, so that `pladapt.torch.FineTune` can
    retrain it. The module is exported when the first prediction is asked for; a module that is
    changed in place afterwards needs `with_module`.

    Args:
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        example: The shape of images, or images, as for `export`.
        cache: A folder that keeps the exported files, named by the weights' SHA-256; None for a
            temporary one.
        multiple_of: Spatial lengths must be multiples of this.
        precision: ``fp32`` or ``fp16``.
        fixed_size: Whether images have the example's spatial shape, which exports sooner.
        options: The keyword arguments of `OnnxPredictor`.
    """

    module: nn.Module
    example: Array | Sequence[int]
    cache: Path | None = None
    multiple_of: int = 32
    precision: Literal["fp32", "fp16"] = "fp32"
    fixed_size: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, images: Array, /) -> Array:
        """Return the probabilities ``(B, K, *S)``, as `OnnxPredictor.predict` does."""
        return self.exported.predict(images)

    def with_module(self, module: nn.Module, /) -> Self:
        """Return a predictor with the same options around another module."""
        return replace(self, module=module)

    def describe(self) -> dict[str, Any]:
        """Return what the probabilities depend on: the weights, not the bytes of their export."""
        return {
            **self.exported.describe(),
            "module": f"{type(self.module).__module__}.{type(self.module).__qualname__}",
            "sha256": self._sha256,
        }

    @cached_property
    def exported(self) -> OnnxPredictor:
        """The predictor of the exported file."""
        sizes = image_shape(self.example, self.multiple_of)[2:] if self.fixed_size else ("any",)
        name = "-".join([self._sha256[:16], self.precision, *map(str, sizes)])
        path = self._folder / f"{name}.onnx"
        if not path.exists():
            export(
                self.module,
                path,
                example=self.example,
                multiple_of=self.multiple_of,
                precision=self.precision,
                fixed_size=self.fixed_size,
            )
        return OnnxPredictor(path, **self.options)

    @cached_property
    def _sha256(self) -> str:
        return state_sha256(self.module)

    @cached_property
    def _folder(self) -> Path:
        if self.cache is not None:
            return self.cache
        folder = Path(tempfile.mkdtemp(prefix="pladapt-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder
