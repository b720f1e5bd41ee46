"""CT volumes with their masks as NIfTI files."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import nibabel as nib
import numpy as np

from pladapt.errors import DataError
from pladapt_covid_ct.datasets.arrays import (
    as_classes,
    as_lung,
    as_pixels,
    intensity_of,
    to_display,
)
from pladapt_covid_ct.slices import Intensity, Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt_covid_ct.datasets.files import File
    from pladapt_covid_ct.slices import Pixels

EightBit: TypeAlias = Literal["keep", "refuse", "unwindow"]
"""What becomes of a volume whose values all lie in 0 to 255: taken as it is, left out, or mapped
back to the window [-1250, 250] HU that such lung CT is commonly stored in."""

Affine: TypeAlias = Literal["check", "ignore"]
"""Whether a mask whose header places it elsewhere than its image is left out, or taken as if it
had the image's header."""

_WINDOW = (-1250.0, 250.0)
_PLACED_ALIKE = 1e-2  # millimetres per voxel; headers differ by less through rounding


class Nifti(NamedTuple):
    """A decoded file: ``(X, Y, Z)`` as stored, and its ``(4, 4)`` affine."""

    array: NDArray[Any]
    affine: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NiftiCase:
    """A patient's volume and masks.

    Args:
        id: Names the volume.
        group: The patient.
        image: The CT.
        lesion: The lesion mask.
        classes: The class of each value that may occur in the lesion mask beside 0.
        lung: The lung mask, or None.
        eight_bit: See `EightBit`.
        affine: See `Affine`.
    """

    id: str
    group: str
    image: File
    lesion: File
    classes: Mapping[int, int]
    lung: File | None = None
    eight_bit: EightBit = "keep"
    affine: Affine = "check"

    @property
    def path(self) -> str:
        """The image's."""
        return self.image.path

    def read(self) -> Volume:
        """Decode the volume with its masks in radiological display.

        Raises:
            DataError: A file cannot be used, or a mask does not fit the image.
        """
        image = read_nifti(self.image)
        pixels, intensity = _rescaled(
            as_pixels(to_display(image.array, image.affine)), self.eight_bit
        )
        lesion = as_classes(self._mask(self.lesion, image), self.classes)
        lung = None if self.lung is None else as_lung(self._mask(self.lung, image))
        ids = tuple(f"{self.id}/z{z:03}" for z in range(len(pixels)))
        return Volume(ids, self.group, pixels, lesion, lung, intensity)

    def _mask(self, file: File, image: Nifti) -> NDArray[Any]:
        try:
            mask = read_nifti(file)
            self._check_fits(mask, image)
            return to_display(mask.array, image.affine)
        except DataError as error:
            raise DataError(f"Its mask {file.path}: {error}") from error

    def _check_fits(self, mask: Nifti, image: Nifti) -> None:
        if mask.array.shape != image.array.shape:
            raise DataError(
                f"The mask has shape {mask.array.shape}, the image {image.array.shape}; they must "
                "be of one scan."
            )
        placed_alike = np.allclose(mask.affine, image.affine, atol=_PLACED_ALIKE)
        if self.affine == "check" and not placed_alike:
            raise DataError(
                f"The mask's affine {mask.affine.tolist()} is not the image's "
                f"{image.affine.tolist()}. If the voxels match all the same, pass affine='ignore'."
            )


def read_nifti(file: File) -> Nifti:
    """Decode a NIfTI-1 file, compressed or not.

    Raises:
        DataError: The file is truncated, malformed or not of one three-dimensional image.
    """
    data = file.read()
    try:
        return _decode(data)
    except DataError:
        raise
    except Exception as error:  # a mangled header makes nibabel raise all kinds of errors
        raise DataError(
            f"It is not a readable NIfTI file: {error!r}. Download it again."
        ) from error


def _decode(data: bytes) -> Nifti:
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    image = nib.Nifti1Image.from_bytes(data)
    shape = image.shape[:3] if image.shape[3:] == (1,) else image.shape
    if len(shape) != 3 or 0 in shape:  # noqa: PLR2004 - three axes
        raise DataError(f"The image has shape {image.shape}; (x, y, z) was expected.")
    needed = math.prod(shape) * int(image.header["bitpix"]) // 8  # before numpy allocates it
    if needed > len(data):
        raise DataError(f"The file has {len(data)} bytes; its header promises {needed} of voxels.")
    return Nifti(np.asanyarray(image.dataobj).reshape(shape), np.asarray(image.affine, np.float64))


def _rescaled(pixels: Pixels, eight_bit: EightBit) -> tuple[Pixels, Intensity]:
    intensity = intensity_of(pixels)
    if intensity is not Intensity.EIGHT_BIT or eight_bit == "keep":
        return pixels, intensity
    if eight_bit == "refuse":
        raise DataError(
            "All values lie in 0..255: a windowed 8-bit copy, not the scan. Pass "
            "eight_bit='keep' to take it so, or 'unwindow' to map it back to [-1250, 250] HU."
        )
    low, high = _WINDOW
    scaled = pixels.astype(np.float32) / np.float32(255) * np.float32(high - low)
    return scaled + np.float32(low), Intensity.HU
