"""CT slices as DICOM files: decoding them, telling patients apart, and unlabelled series."""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pydicom
from pydicom.pixels.processing import apply_modality_lut

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.files import Pseudonyms
from pladapt_covid_ct.datasets.arrays import as_pixels, intensity_of, to_display
from pladapt_covid_ct.datasets.base import Problems, assemble
from pladapt_covid_ct.datasets.files import find_files, with_extension
from pladapt_covid_ct.slices import Volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt_covid_ct.datasets.base import Dataset
    from pladapt_covid_ct.datasets.files import File

Rescale: TypeAlias = Literal["tags", "stored"]
"""Whether intensities go through the modality LUT that the tags give, or are taken as stored."""

GROUPINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "StudyInstanceUID": ("StudyInstanceUID",),
    "SeriesInstanceUID": ("SeriesInstanceUID",),
    "FrameOfReferenceUID": ("FrameOfReferenceUID",),
    "PatientID": ("PatientID",),
    "acquisition": ("StudyDate", "PatientAge", "PatientSex", "PixelSpacing"),
}
"""What may tell patients apart: the tags that must all be there, by the name to ask for."""

_AXIAL: Final = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of a slice whose header gives no orientation
_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0])
_BELOW_AIR: Final = -1500
_TISSUE: Final = -500
_LEAST_TISSUE: Final = 0.03


@contextmanager
def lenient() -> Iterator[None]:
    """Read what breaks the standard in small ways (UIDs that are none), and name what is broken.

    Raises:
        DataError: Anything was raised inside.
    """
    try:
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DataError, InputError):
        raise
    except Exception as error:  # a mangled header makes pydicom raise all kinds of errors
        raise DataError(f"It is not a readable DICOM file: {error!r}.") from error


def read_header(file: File) -> pydicom.Dataset:
    """Parse a file up to its pixels; to be called, and its result used, inside `lenient`."""
    return pydicom.dcmread(io.BytesIO(file.read()), stop_before_pixels=True)


def read_slice(file: File) -> pydicom.Dataset:
    """Parse a file; to be called, and its result used, inside `lenient`."""
    return pydicom.dcmread(io.BytesIO(file.read()))


def check_grouping(group_by: str) -> None:
    """Refuse a name that is not in `GROUPINGS`.

    Raises:
        InputError: It is not.
    """
    if group_by not in GROUPINGS:
        raise InputError(f"group_by is {group_by!r}; it must be one of {', '.join(GROUPINGS)}.")


def patient_of(header: pydicom.Dataset, group_by: str) -> str:
    """Return what tells a slice's patient.

    Raises:
        DataError: A tag that it needs is missing or empty.
    """
    values = [str(header.get(tag) or "") for tag in GROUPINGS[group_by]]
    if "" in values:
        raise DataError(
            f"Its tags {', '.join(GROUPINGS[group_by])} do not tell the patient: {values}. Pass "
            f"another group_by ({', '.join(GROUPINGS)}) or a table slice,patient."
        )
    return "|".join(values)


def stored_pixels(header: pydicom.Dataset) -> NDArray[Any]:
    """Decode the pixels as stored, ``(rows, columns)``.

    Raises:
        DataError: They are not one grey image.
    """
    pixels = header.pixel_array
    if pixels.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise DataError(f"The pixels have shape {pixels.shape}; one grey image was expected.")
    return pixels


def hounsfield(header: pydicom.Dataset, rescale: Rescale) -> NDArray[Any]:
    """Decode the pixels in Hounsfield units, ``(rows, columns)``.

    Raises:
        DataError: They are not one grey image, or the rescaling leaves no tissue: the stored
            values were in Hounsfield units already.
    """
    pixels = stored_pixels(header)
    if rescale == "stored":
        return pixels
    rescaled = apply_modality_lut(pixels, header)
    tissue = float(np.mean(rescaled > _TISSUE))
    if rescaled.min() < _BELOW_AIR and tissue < _LEAST_TISSUE:
        raise DataError(
            f"With the tags' rescaling (intercept {header.get('RescaleIntercept')}) values reach "
            f"{rescaled.min():g} and {tissue:.1%} lie above {_TISSUE}: they were in Hounsfield "
            "units before. Pass rescale='stored'."
        )
    return rescaled


def directions(header: pydicom.Dataset) -> NDArray[np.float64]:
    """Return ``(3, 3)``: where columns, rows and slices rise, in DICOM's LPS directions.

    A header without an orientation is taken as a slice in radiological display.
    """
    values = header.get("ImageOrientationPatient") or _AXIAL
    along_row, along_column = np.asarray([float(value) for value in values]).reshape(2, 3)
    return np.stack([along_row, along_column, np.cross(along_row, along_column)])


def display(stack: NDArray[Any], axes: NDArray[np.float64]) -> NDArray[Any]:
    """Turn slices ``(Z, rows, columns)`` into radiological display.

    Args:
        stack: Slices in the order in which ``axes[2]`` rises.
        axes: What `directions` returned.

    Raises:
        DataError: The slices are not axial.
    """
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ axes.T
    turned = to_display(stack.transpose(2, 1, 0), affine)
    if turned.shape[0] != stack.shape[0]:
        raise DataError(f"The slices are not axial: their normal is {axes[2].round(2).tolist()}.")
    return turned


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The files of one unlabelled series, in any order.

    Whose it is becomes a keyed hash, as in the names that `pladapt.files` reads.

    Args:
        id: Names the volume.
        files: One per slice.
        group_by: What in the headers tells the patient.
        rescale: See `Rescale`.
    """

    id: str
    files: tuple[File, ...]
    group_by: str
    rescale: Rescale

    @property
    def path(self) -> str:
        """The first file's."""
        return Pseudonyms().of(self.files[0].path)

    def read(self) -> Volume:
        """Decode the slices, sorted along their normal, in radiological display.

        Raises:
            DataError: A file cannot be used, or the slices are not of one stack.
        """
        with lenient():
            headers = [read_slice(file) for file in self.files]
            axes = directions(headers[0])
            patient = self._patient(headers)
            _check_one_stack(headers, axes)
            headers.sort(key=lambda header: _height(header, axes))
            stack = np.stack([hounsfield(header, self.rescale) for header in headers])
        pixels = as_pixels(display(stack, axes))
        ids = tuple(f"{self.id}/z{z:03}" for z in range(len(pixels)))
        return Volume(ids, patient, pixels, None, None, intensity_of(pixels))

    def _patient(self, headers: Sequence[pydicom.Dataset]) -> str:
        patients = {patient_of(header, self.group_by) for header in headers}
        if len(patients) > 1:
            raise DataError(f"By {self.group_by} it has slices of {len(patients)} patients.")
        return Pseudonyms("all").of(patients.pop().replace("/", "|"))


def load_series(
    folder: Path | str,
    *,
    group_by: str = "StudyInstanceUID",
    rescale: Rescale = "tags",
    strict: bool = False,
) -> Dataset:
    """Read every DICOM series below a folder, without masks: an unlabelled target.

    Nothing that it returns tells whose images these are: patients, and UIDs in names, are keyed
    hashes (`pladapt.files.Pseudonyms`).

    Args:
        folder: Holds ``*.dcm`` files, in any arrangement and order, archives included.
        group_by: What tells patients apart; a name of `GROUPINGS`.
        rescale: Whether intensities go through the tags' modality LUT.
        strict: Raise for a file that cannot be used, instead of leaving it out.

    Raises:
        MissingDataError: The folder is not there or holds no DICOM file.
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
        InputError: ``group_by`` is not a known name.
    """
    check_grouping(group_by)
    folder = Path(folder)
    problems = Problems(strict=strict)
    files = with_extension(find_files(folder, problems), ".dcm") if folder.is_dir() else []
    if not files:
        raise MissingDataError(f"There is no DICOM file (*.dcm) in {folder}.")
    series: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in files:
        try:
            series[_series_of(file)].append(file)
        except DataError as error:
            problems.skip(Pseudonyms().of(file.path), str(error))
    names = {key: Pseudonyms().of(_name(key, series)) for key in series}
    sources = [Series(names[key], tuple(found), group_by, rescale) for key, found in series.items()]
    return assemble(folder.name, sources, {}, problems)


def _series_of(file: File) -> tuple[str, str]:
    with lenient():
        return "/".join(file.parts[:-1]), str(read_header(file).get("SeriesInstanceUID"))


def _name(key: tuple[str, str], all_keys: Iterable[tuple[str, str]]) -> str:
    folder, uid = key
    alone = sum(other == folder for other, _ in all_keys) == 1
    return folder if folder and alone else "/".join(filter(None, (folder, uid)))


def _height(header: pydicom.Dataset, axes: NDArray[np.float64]) -> float:
    position = header.get("ImagePositionPatient")
    if position is None:
        raise DataError("A slice has no ImagePositionPatient: the order of slices is not known.")
    return float(np.dot([float(value) for value in position], axes[2]))


def _check_one_stack(headers: Sequence[pydicom.Dataset], axes: NDArray[np.float64]) -> None:
    sizes = {(header.get("Rows"), header.get("Columns")) for header in headers}
    if len(sizes) > 1:
        raise DataError(f"The series has slices of the sizes {sorted(map(str, sizes))}.")
    if not all(np.allclose(directions(header), axes, atol=1e-3) for header in headers):
        raise DataError("The series has slices of different orientations.")
    heights = {round(_height(header, axes), 3) for header in headers}
    if len(heights) < len(headers):
        raise DataError("The series has two slices at one position.")
