"""Whether two volumes lie at the same place, and turning one onto the other's axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.stored import EXTRA
from pladapt.optional import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.files.reading import Loaded

_SAME_VOXELS: Final = 0.1
"""By how much of a voxel places may differ, at any corner, by rounding."""


def outline(volume: Loaded) -> Loaded:
    """Return a volume without its values: its shape and place."""
    return volume._replace(array=np.broadcast_to(np.uint8(0), volume.array.shape))


def turned_onto(moving: Loaded, fixed: Loaded) -> Loaded:
    """Return ``moving`` with its axes in the order and directions of ``fixed``.

    Where one of them does not say its place, or their sizes differ, it is returned as it is.

    Args:
        moving: What is turned.
        fixed: The volume whose axes count.

    Raises:
        DataError: No turn or flip puts the voxels of one onto the other's.
    """
    if moving.affine is None or fixed.affine is None:
        return moving
    with needs(EXTRA, "nibabel"):
        from nibabel import orientations  # noqa: PLC0415 - an extra
    to_fixed = np.linalg.inv(fixed.affine) @ moving.affine
    turn = orientations.io_orientation(to_fixed)
    array = orientations.apply_orientation(moving.array.transpose(3, 2, 0, 1), turn)
    array = array.transpose(2, 3, 1, 0)
    if (array.shape[0], *array.shape[2:]) != (fixed.array.shape[0], *fixed.array.shape[2:]):
        return moving
    left = to_fixed @ orientations.inv_ornt_aff(turn, moving.array.transpose(3, 2, 0, 1).shape[:3])
    corners = _corners(fixed.array)
    if np.abs(left @ corners - corners).max() > _SAME_VOXELS:
        raise DataError(
            f"It has voxels of {_size(moving)} mm from {_origin(moving)}, and its partner "
            f"{_size(fixed)} mm from {_origin(fixed)}: they are not of the same place. Resample "
            "one like the other, or compare the voxels as they are stored (--as-stored)."
        )
    return moving._replace(array=array, affine=fixed.affine)


def _corners(array: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners of ``(Z, C, Y, X)`` as columns (x, y, z, 1)."""
    ends = [(0, length - 1) for length in (array.shape[3], array.shape[2], array.shape[0])]
    grid = np.array(np.meshgrid(*ends, [1], indexing="ij"), np.float64)
    return grid.reshape(4, -1)


def _size(volume: Loaded) -> str:
    lengths = np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0)
    return " x ".join(f"{length:.4g}" for length in lengths)


def _origin(volume: Loaded) -> str:
    return "(" + ", ".join(f"{place:.4g}" for place in np.asarray(volume.affine)[:3, 3]) + ")"
