"""Volumes of NIfTI, and FreeSurfer's MGH, through nibabel."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.stored import EXTRA, Stored
from pladapt.optional import needs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.stored import Decoding

_SPATIAL: Final = 3
_GZIP: Final = b"\x1f\x8b"
_UNITS: Final = {1: 1000.0, 3: 0.001}  # metres and micrometres


def read_nifti(path: Path, how: Decoding) -> Stored:
    """Read an image whose values are scaled by its header; axes of length 1 beyond z are dropped.

    Raises:
        DataError: It is another kind of image, too large, or compressed where its name says that
            it is not, or the other way round.
    """
    with needs(EXTRA, "nibabel"):
        import nibabel  # noqa: PLC0415 - an extra
    _check_compression(path)
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair | nibabel.MGHImage):
        raise DataError(f"It is a {type(image).__name__}; expected a NIfTI image.")
    how.check_size(image.shape[:2], prod(map(int, image.shape[2:])))
    array = _numbers(np.asanyarray(image.dataobj))
    squeezed = tuple(axis for axis in range(_SPATIAL, array.ndim) if array.shape[axis] == 1)
    array = array.squeeze(squeezed)
    axes = "XYZC"[: array.ndim] if array.ndim <= _SPATIAL + 1 else ""
    return Stored(array, axes, certain=False, affine=_affine(image))


def _check_compression(path: Path) -> None:
    """Refuse a file whose name hides how it is stored, for nibabel goes by the name."""
    with path.open("rb") as file:
        start = file.read(len(_GZIP))
    said = path.name.lower().endswith((".gz", ".mgz"))
    if start and said != (start == _GZIP):
        raise DataError(
            "Its name says that it is compressed (gzip), and it is not; rename it to .nii or .mgh."
            if said
            else "It is compressed (gzip), and its name does not say so; rename it to .nii.gz or "
            ".mgz."
        )


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    """Return records of colours, as RGB24 has them, as a last axis."""
    if array.dtype.names is None:
        return array
    return np.stack([array[name] for name in array.dtype.names], axis=-1)


def _affine(image: Any) -> NDArray[np.float64] | None:
    """Return the header's affine; None where it has none, or where it is singular."""
    header = image.header
    coded = "sform_code" not in header or header["sform_code"] > 0 or header["qform_code"] > 0
    affine = np.array(image.affine, np.float64)
    affine[:3] *= _in_mm(header)
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine)) > np.finfo(np.float32).tiny
    return affine if coded and usable else None


def _in_mm(header: Any) -> float:
    """Return how many mm the header's unit of length is; 1 where it says none."""
    return _UNITS.get(int(header["xyzt_units"]) % 8, 1.0) if "xyzt_units" in header else 1.0
