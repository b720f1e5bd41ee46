"""Images and masks resampled to another spacing, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLICE, _VOLUME = 2, 3
_LARGEST: Final = 2**31
"""How many values a resampled image may have: more comes of a spacing in other units."""


def check_resample(spacing: tuple[float, ...] | None, dimensions: int) -> None:
    """Refuse what is no spacing of samples.

    Raises:
        InputError: It has not as many values as a sample has dimensions, or one is not above 0.
    """
    if spacing is None:
        return
    if len(spacing) != dimensions or not all(0 < step < np.inf for step in spacing):
        axes = "along Y and X" if dimensions == _SLICE else "along Z, Y and X"
        raise InputError(
            f"The spacing to resample to is {spacing}; expected the size of a pixel in mm {axes}, "
            f"{dimensions} values above 0."
        )


def resampled(
    array: NDArray[Any],
    own: tuple[float, ...] | None,
    wanted: tuple[float, ...],
    *,
    nearest: bool = False,
) -> NDArray[Any]:
    """Return an array ``(..., *S)`` at another spacing, covering the same place.

    Args:
        array: An image or a mask; ``S`` has as many axes as ``wanted``.
        own: The size of its pixels in mm along Z, Y and X, or along Y and X.
        wanted: The size that they are to have, along the axes of ``S``.
        nearest: The nearest pixel, as for masks, in place of linear interpolation.

    Raises:
        DataError: Its own spacing is not known, or the result would be far too large.
    """
    if own is None or len(own) < len(wanted):
        raise DataError(
            "It does not say the size of its pixels in mm, so that it cannot be resampled; give "
            "NIfTI, DICOM, NRRD or MetaImage files, or leave --resample out."
        )
    old = array.shape[-len(wanted) :]
    steps = zip(old, own[-len(wanted) :], wanted, strict=True)
    shape = tuple(max(1, round(length * step / new)) for length, step, new in steps)
    if np.prod(shape, dtype=np.float64) > _LARGEST:
        raise DataError(
            f"Its pixels are {own} mm; at {wanted} mm it would have the shape {shape}. Look at the "
            "units of both."
        )
    return resized(array, shape, nearest=nearest)


def resized(array: NDArray[Any], shape: tuple[int, ...], *, nearest: bool = False) -> NDArray[Any]:
    """Return an array ``(..., *S)`` with as many pixels along the axes of ``S``.

    Linearly, or of the nearest pixel; the borders of the first and last pixel stay where they are.
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    old = array.shape[-len(shape) :]
    if old == shape:
        return array
    factors = [new / length for new, length in zip(shape, old, strict=True)]
    lead = array.shape[: -len(shape)]
    made = [
        ndimage.zoom(part, factors, order=0 if nearest else 1, mode="nearest", grid_mode=True)
        for part in array.reshape(-1, *old)
    ]
    return np.stack(made).reshape(*lead, *shape)


def scaled(
    affine: NDArray[np.float64], old: tuple[int, ...], new: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the affine of a volume that was resized, which covers the same place.

    Args:
        affine: ``(4, 4)``, of an index (x, y, z, 1) before.
        old: The shape ``(Z, Y, X)`` before.
        new: The shape after.
    """
    ratio = (np.array(old) / np.array(new))[::-1]
    matrix = np.diag([*ratio, 1.0])
    matrix[:3, 3] = (ratio - 1) / 2  # pixels have their middle at whole numbers
    made: NDArray[np.float64] = affine @ matrix
    return made
