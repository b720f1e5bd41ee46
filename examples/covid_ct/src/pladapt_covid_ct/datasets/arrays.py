"""What arrays of images and masks must be, whatever file they came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import nibabel as nib
import numpy as np

from pladapt.errors import DataError
from pladapt_covid_ct.slices import Intensity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt_covid_ct.slices import Pixels

DISPLAY: Final = ("L", "P", "S")
"""The directions in which x, y and z rise: columns to the patient's left, rows to the back."""

_ORIENTATIONS: Any = nib.orientations  # most of it is not annotated
_EIGHT_BIT_MAX = 255
_BELOW_WATER = -200  # no other scale has values this far below zero; every chest CT does


def to_display(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn an array of indices (x, y, z) into (z, y, x) in radiological display.

    Args:
        array: ``(X, Y, Z)`` in any orientation.
        affine: ``(4, 4)``, from indices to nibabel's RAS+ millimetres.

    Raises:
        DataError: The affine gives no orientation.
    """
    stored = _ORIENTATIONS.io_orientation(affine) if np.isfinite(affine).all() else affine
    if not np.isfinite(stored).all():  # an axis is lost: its column is 0 beside the others
        raise DataError(f"The header's affine {affine.tolist()} gives no orientation.")
    change = _ORIENTATIONS.ornt_transform(stored, _ORIENTATIONS.axcodes2ornt(DISPLAY))
    turned = _ORIENTATIONS.apply_orientation(array, change)
    return np.ascontiguousarray(turned.transpose(2, 1, 0))


def as_pixels(array: NDArray[Any]) -> Pixels:
    """Store intensities as int16 where that loses nothing, else as float32.

    Raises:
        DataError: The values are not finite real numbers.
    """
    _check_real(array)
    limits = np.iinfo(np.int16)
    if array.size and limits.min <= array.min() and array.max() <= limits.max:
        whole = array.astype(np.int16, copy=False)
        if array.dtype.kind != "f" or np.array_equal(whole, array):
            return whole
    return array.astype(np.float32, copy=False)


def as_classes(array: NDArray[Any], classes: Mapping[int, int]) -> NDArray[np.uint8]:
    """Map a mask's stored values to classes.

    Stored values are rounded first: masks that went through other tools hold 0.9999 or
    interpolated fractions.

    Args:
        array: The mask as stored.
        classes: The class of each value that may occur beside 0, the background.

    Raises:
        DataError: The mask holds another value, or is not of finite real numbers.
    """
    _check_real(array)
    rounded = np.rint(array) if array.dtype.kind == "f" else array
    marked = rounded != 0
    values, which = np.unique(rounded[marked], return_inverse=True)
    if unknown := [value for value in values.tolist() if value not in classes]:
        raise DataError(f"The mask has the values {unknown[:10]}; only {[0, *classes]} are known.")
    found = np.zeros(array.shape, np.uint8)
    found[marked] = np.array([classes[value] for value in values.tolist()], np.uint8)[which]
    return found


def as_lung(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a lung mask is not 0, whichever side's label it is.

    Left and right have opposite labels in different data and tools, so they are not kept apart.

    Raises:
        DataError: The values are not finite real numbers.
    """
    _check_real(array)
    return np.asarray(array > 0.5)  # noqa: PLR2004 - what rounds to at least 1


def intensity_of(image: Pixels) -> Intensity:
    """Tell from its range what the numbers of a volume are."""
    low, high = int(image.min()), int(image.max())
    if low < _BELOW_WATER:
        return Intensity.HU
    return Intensity.EIGHT_BIT if low >= 0 and high <= _EIGHT_BIT_MAX else Intensity.OTHER


def _check_real(array: NDArray[Any]) -> None:
    if array.dtype.kind not in "buif":
        raise DataError(f"The values are of type {array.dtype}; real numbers were expected.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError("The values include NaN or infinity; mend or leave out the file.")
