"""Phantom data sets A, B and C, on disk as the real ones are.

Each data set has its own patients and its own scanner: how sharp and how noisy its pictures are,
how deep its patients breathe in, how its Hounsfield units are off. A model trained on one does
worse on the others. One seed gives the same bytes every time.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy import ndimage

from pladapt.errors import InputError
from pladapt_covid_ct.chest import Tissue, simulate, smooth_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.random import Generator
    from numpy.typing import NDArray

    from pladapt_covid_ct.chest import Chest

PATIENTS: Final[Mapping[str, int]] = {"A": 10, "B": 10, "C": 9}
"""How many patients each data set has unless told otherwise."""

_FIELD_OF_VIEW: Final = 350.0  # millimetres
_LUNG_HEIGHT: Final = 260.0  # millimetres
_INTERCEPT: Final = -1024
_MAKE_NIFTI: Any = nib.Nifti1Image  # not annotated


class Scan(NamedTuple):
    """A chest and its image ``(Z, H, W)`` as a scanner stores it."""

    chest: Chest
    image: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Scanner:
    """How a scanner shows a chest. Lengths are fractions of the image's width.

    Args:
        tissue: What its patients' lungs are made of.
        blur: The standard deviation of its kernel.
        sharpen: How much of the difference to a blurred copy its kernel adds.
        noise: The standard deviation of its noise, in Hounsfield units.
        grain: The width of the noise's grain.
        scale: What it multiplies Hounsfield units by.
        offset: What it then adds.
        window: The range that its files keep.
        step: The steps in which its files keep it.
    """

    tissue: Tissue
    blur: float
    sharpen: float
    noise: float
    grain: float
    scale: float = 1.0
    offset: float = 0.0
    window: tuple[float, float] = (-1024.0, 3071.0)
    step: int = 1

    def scan(self, rng: Generator, chest: Chest) -> NDArray[np.int16]:
        """Return the chest's image ``(Z, H, W)`` as this scanner stores it."""
        size = chest.hu.shape[-1]
        image = _blurred(chest.hu, self.blur * size)
        image += self.sharpen * (image - _blurred(image, 2 * self.blur * size))
        image += self.noise * smooth_noise(rng, image.shape, self.grain * size, sigma_z=0)
        stored = np.clip(self.scale * image + self.offset, *self.window)
        return np.asarray(np.rint(stored / self.step) * self.step, np.int16)


SCANNERS: Final[Mapping[str, Scanner]] = {
    "A": Scanner(Tissue(-870, 380, 50, 550), blur=0.004, sharpen=0.0, noise=25, grain=0.005),
    "B": Scanner(Tissue(-800, 290, 100, 600), blur=0.004, sharpen=1.0, noise=50, grain=0.003),
    "C": Scanner(
        Tissue(-840, 330, 70, 450),
        blur=0.007,
        sharpen=0.0,
        noise=18,
        grain=0.010,
        scale=0.85,
        offset=-110.0,
        window=(-1000.0, 240.0),
        step=8,
    ),
}
"""The scanner of each data set."""


def write_phantoms(
    folder: Path | str,
    seed: int,
    *,
    patients: Mapping[str, int] = PATIENTS,
    slices: int = 12,
    size: int = 128,
) -> None:
    """Write phantom data sets into ``folder/A``, ``folder/B`` and ``folder/C``.

    A has NIfTI volumes with lung and infection masks, stored (L, A, S); B has three to five DICOM
    slices of each patient with PNG masks; C has NIfTI volumes stored (L, P, S), five quarters as
    wide, with the lesion classes 1 ground glass and 2 consolidation. What is there is written
    over.

    Args:
        folder: Is made if it does not exist.
        seed: Decides every byte.
        patients: How many each data set has; one that is not named is not written.
        slices: How many a volume has.
        size: The width and height of A's and B's slices in pixels.

    Raises:
        InputError: A number is too small, or a data set is not one of A, B and C.
    """
    if unknown := set(patients) - set(_WRITERS):
        raise InputError(f"There are no phantoms of {sorted(unknown)}; only of A, B and C.")
    if seed < 0 or slices < 1 or size < 32 or min(patients.values(), default=1) < 1:  # noqa: PLR2004 - see message
        raise InputError(
            f"Got seed={seed}, slices={slices}, size={size}, patients={dict(patients)}; expected "
            "a seed of 0 or more, a size of at least 32 pixels, and at least 1 of the others."
        )
    for letter, count in patients.items():
        rng = np.random.default_rng([seed, ord(letter)])
        width = size * 5 // 4 if letter == "C" else size
        scans = _scans(rng, SCANNERS[letter], count, slices, width)
        _WRITERS[letter](Path(folder) / letter, scans, rng)


def _scans(rng: Generator, scanner: Scanner, count: int, slices: int, size: int) -> Iterator[Scan]:
    for _ in range(count):
        chest = simulate(rng, scanner.tissue, slices=slices, size=size)
        yield Scan(chest, scanner.scan(rng, chest))


def _write_a(folder: Path, scans: Iterator[Scan], _: Generator) -> None:
    for number, (chest, image) in enumerate(scans, 1):
        infection = (chest.lesion > 0).astype(np.uint8)
        files: dict[str, NDArray[Any]] = {
            "COVID-19-CT-Seg_20cases": image,
            "Lung_Mask": chest.lung,
            "Infection_Mask": infection,
            "Lung_and_Infection_Mask": np.where(infection, np.uint8(3), chest.lung),
        }
        for kind, array in files.items():
            _write_nifti(folder / kind / f"coronacases_{number:03}.nii.gz", array, rows_rise="A")


def _write_c(folder: Path, scans: Iterator[Scan], _: Generator) -> None:
    for number, (chest, image) in enumerate(scans, 1):
        files: dict[str, NDArray[Any]] = {
            "rp_im": image,
            "rp_msk": chest.lesion,
            "rp_lung_msk": chest.lung,
        }
        for kind, array in files.items():
            _write_nifti(folder / kind / f"{number}.nii.gz", array, rows_rise="P")


def _write_b(folder: Path, scans: Iterator[Scan], rng: Generator) -> None:
    """Write each patient's slices under numbers that do not tell the patient."""
    slices = [
        (patient, scan, z) for patient, scan in enumerate(scans) for z in _spread(rng, scan.chest)
    ]
    root = f"{rng.integers(1 << 62)}"
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for number, chosen in enumerate(rng.permutation(len(slices)), 1):
        patient, (chest, image), z = slices[chosen]
        header = _header(image, z, f"{root} {patient}")
        header.save_as(folder / f"im{number:03}.dcm", enforce_file_format=True)
        mask = Image.fromarray((chest.lesion[z] > 0).astype(np.uint8) * np.uint8(255))
        mask.save(folder / "masks" / f"im{number:03}.png")


def _spread(rng: Generator, chest: Chest) -> list[int]:
    """Return three to five slices from bottom to top, with a lesion where there are enough."""
    infected = np.flatnonzero(chest.lesion.any(axis=(1, 2)))
    pool = infected if infected.size else np.arange(len(chest.lesion))
    return sorted({int(z) for z in np.linspace(pool[0], pool[-1], rng.integers(3, 6))})


_WRITERS: Final[Mapping[str, Callable[[Path, Iterator[Scan], Generator], None]]] = {
    "A": _write_a,
    "B": _write_b,
    "C": _write_c,
}


def _write_nifti(path: Path, array: NDArray[Any], *, rows_rise: str) -> None:
    """Store ``(z, y, x)`` of radiological display as (L, rows_rise, S), without a time stamp."""
    stored = array.transpose(2, 1, 0)
    pixel, thickness = _FIELD_OF_VIEW / array.shape[-1], _LUNG_HEIGHT / len(array)
    affine = np.diag([-pixel, -pixel, thickness, 1.0])  # RAS+: negative is to the left and back
    if rows_rise == "A":
        stored, affine[1, 1] = stored[:, ::-1], pixel
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _MAKE_NIFTI(np.asfortranarray(stored), affine).to_bytes()
    path.write_bytes(gzip.compress(data, compresslevel=3, mtime=0))


def _header(image: NDArray[np.int16], z: int, patient: str) -> pydicom.Dataset:
    """Make a CT slice as the public de-identification leaves it: UIDs, but no PatientID."""
    thickness = _LUNG_HEIGHT / len(image)
    header = pydicom.Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = _uid(patient, f"slice {z}")
    header.StudyInstanceUID = _uid(patient, "study")
    header.SeriesInstanceUID = _uid(patient, "series")
    header.FrameOfReferenceUID = _uid(patient, "frame")
    header.Modality = "CT"
    header.InstanceNumber = z + 1
    header.ImagePositionPatient = [-_FIELD_OF_VIEW / 2, -_FIELD_OF_VIEW / 2, z * thickness]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [_FIELD_OF_VIEW / image.shape[-1]] * 2
    header.SliceThickness = thickness
    header.RescaleSlope, header.RescaleIntercept = 1, _INTERCEPT
    header.RescaleType = "HU"
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stored = (image[z].astype(np.int32) - _INTERCEPT).astype(np.uint16)
    header.set_pixel_data(stored, "MONOCHROME2", 12, generate_instance_uid=False)
    return header


def _uid(*parts: str) -> str:
    return generate_uid(entropy_srcs=list(parts))


def _blurred(image: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(image, (0, sigma, sigma)), np.float32)
