"""From a file's numbers to probabilities, or the reason why they are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.stored import one_if_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLOURS: Final = 3
_ROUNDING: Final = 1e-3
_SUM_ROUNDING: Final = 0.02


def to_probabilities(array: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    """Return probabilities ``(C, *S)``, of which several channels are classes that sum to 1.

    Args:
        array: ``(C, *S)``, finite.
        scale: What probability 1 is stored as. None: 1 for floats and, for integers, the largest
            value of their type, which the largest one must then come near to.

    Raises:
        DataError: The values are of another scale, or are no probabilities.
    """
    if len(array) == _COLOURS and array.dtype.kind == "u":  # a picture of greys in colour
        grey = one_if_grey(np.moveaxis(array, 0, -1))
        array = array if grey.ndim == array.ndim else grey[None]
    divisor = _own_scale(array) if scale is None else _checked_scale(array, scale)
    values = (array / np.float64(divisor)).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise DataError(
            f"Its values reach from {low:g} to {high:g}; probabilities lie in [0, 1]. Apply a "
            "sigmoid or softmax to logits first, or give the scale (--scale), such as 100 for "
            "percent."
        )
    clipped = values.clip(0, 1)
    if len(values) > 1:
        _check_sums(clipped)
    return clipped


def _checked_scale(array: NDArray[Any], scale: float) -> float:
    """Return a scale that was given, unless the values can hardly be of it."""
    whole = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else np.inf
    fractions = array.dtype.kind == "f" and 0 < array.max() <= 1 + _ROUNDING
    if scale > whole or (scale > 1 and fractions):
        raise DataError(
            f"Its largest value is {array.max():g} of type {array.dtype}, and the scale (--scale) "
            f"{scale:g}, as if that were probability 1; keep files of other scales apart."
        )
    return scale


def _own_scale(array: NDArray[Any]) -> float:
    if array.dtype.kind not in "iu":
        return 1.0
    largest, whole = int(array.max()), int(np.iinfo(array.dtype).max)
    if 0 < 2 * largest < whole:
        raise DataError(
            f"Its largest value is {largest}, and its type, {array.dtype}, holds up to {whole}: it "
            "cannot be told what probability 1 is. Give the scale (--scale): 255, 100 for percent, "
            "65535, or 1 for masks."
        )
    return float(whole)


def _check_sums(values: NDArray[np.float32]) -> None:
    sums = values.sum(axis=0, dtype=np.float64)
    if np.abs(sums - 1).max() > _SUM_ROUNDING:
        raise DataError(
            f"Its {len(values)} channels sum to between {sums.min():.3g} and {sums.max():.3g}; as "
            "classes, the background among them, they sum to 1. If they are slices, say so with "
            "the axes (--axes ZYX); classes that overlap are given one file each."
        )
