"""Data set B: COVID-CT-Rate of Enshaei et al., single DICOM slices with their masks.

The layout of the release is not documented; its public de-identification code writes one flat
folder ``im001.dcm``, ``im002.dcm``, ... So slices are every ``*.dcm`` that is no mask, and a
slice's mask is the one file (DICOM, PNG, NPY or NIfTI) with

- the slice's name in a folder ``mask`` or ``masks`` beside or above it: ``masks/im001.png``, or
- the slice's name and ``_mask``: ``im001_mask.npy``.

Folders named ``image(s)``, ``ct``, ``dicom`` or ``slices`` count as if they were not there, so
``images/im001.dcm`` belongs to ``masks/im001.png``. There are no lung masks.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt_covid_ct.datasets.arrays import as_classes, as_pixels, intensity_of, to_display
from pladapt_covid_ct.datasets.base import (
    Counts,
    Dataset,
    DatasetInfo,
    Problems,
    assemble,
    locate,
)
from pladapt_covid_ct.datasets.dicom import (
    check_grouping,
    directions,
    display,
    hounsfield,
    lenient,
    patient_of,
    read_slice,
    stored_pixels,
)
from pladapt_covid_ct.datasets.files import find_files, with_extension
from pladapt_covid_ct.datasets.nifti import read_nifti
from pladapt_covid_ct.slices import Volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset as Header

    from pladapt_covid_ct.datasets.dicom import Rescale
    from pladapt_covid_ct.datasets.files import File

_MASK_FOLDERS: Final = frozenset({"mask", "masks"})
_IMAGE_FOLDERS: Final = frozenset({"image", "images", "ct", "dicom", "slices"})
_MASK_SUFFIX: Final = "_mask"
_MASK_EXTENSIONS: Final = (".dcm", ".png", ".npy", ".nii", ".nii.gz")


@dataclass(frozen=True, slots=True, eq=False)
class DicomCase:
    """A slice with its mask.

    Args:
        id: Names the slice.
        image: The DICOM file.
        mask: The mask's file.
        patients: The patient of each slice's name, or None to ask the headers.
        group_by: What in the header tells the patient.
        rescale: Whether intensities go through the tags' modality LUT.
    """

    id: str
    image: File
    mask: File
    patients: Mapping[str, str] | None
    group_by: str
    rescale: Rescale

    @property
    def path(self) -> str:
        """The image's."""
        return self.image.path

    def read(self) -> Volume:
        """Decode the slice and its mask in radiological display, as a volume of one slice.

        Raises:
            DataError: A file cannot be used, or the mask does not fit the image.
        """
        with lenient():
            header = read_slice(self.image)
            axes = directions(header)
            pixels = as_pixels(display(hounsfield(header, self.rescale)[np.newaxis], axes))
            patient = self._patient(header)
        lesion = _lesion(self.mask, axes, pixels.shape)
        return Volume((self.id,), patient, pixels, lesion, None, intensity_of(pixels))

    def _patient(self, header: Header) -> str:
        if self.patients is None:
            return patient_of(header, self.group_by)
        if self.image.stem not in self.patients:
            raise DataError(f"The table of patients has no row for {self.image.stem}.")
        return self.patients[self.image.stem]


def load(
    folder: Path | str,
    *,
    strict: bool = False,
    group_by: str = "StudyInstanceUID",
    patients: Path | str | None = None,
    rescale: Rescale = "tags",
) -> Dataset:
    """Read data set B.

    Args:
        folder: The data set's, or one with a subfolder ``B``.
        strict: Raise for a file that cannot be used, instead of leaving it out.
        group_by: What in the header tells patients apart; a name of `dicom.GROUPINGS`. The
            release has no PatientID, so by default the study does.
        patients: A CSV file with the columns ``slice`` (the file's name, with or without
            ``.dcm``) and ``patient``, to be used instead of the headers.
        rescale: Whether intensities go through the tags' modality LUT.

    Raises:
        MissingDataError: The folder, its slices or the CSV file are not there.
        DataError: Nothing can be used, something cannot and ``strict`` is set, or the headers
            give every slice a patient of its own, so that no split could be by patient.
        InputError: ``group_by`` is not a known name.
    """
    check_grouping(group_by)
    folder = locate(folder, INFO)
    problems = Problems(strict=strict)
    files = with_extension(find_files(folder, problems), *_MASK_EXTENSIONS)
    images = [file for file in files if file.name.endswith(".dcm") and not _is_mask(file)]
    if not images:
        raise INFO.missing(folder, "DICOM slice (*.dcm)")
    table = None if patients is None else _read_patients(Path(patients))
    pairs = _pair(images, filter(_is_mask, files), problems)
    sources = [DicomCase(*pair, table, group_by, rescale) for pair in pairs]
    dataset = assemble("B", sources, INFO.classes, problems)
    return _with_note_on_patients(dataset, None if table is not None else group_by)


def _pair(
    images: Sequence[File], masks: Iterable[File], problems: Problems
) -> Iterator[tuple[str, File, File]]:
    by_key = defaultdict(list)
    for mask in masks:
        by_key[_key(mask)].append(mask)
    names = Counter(image.stem for image in images)
    for image in images:
        found = by_key[_key(image)]
        if len(found) == 1:
            id_ = image.stem if names[image.stem] == 1 else "/".join(_key(image))
            yield id_, image, found[0]
        else:
            problems.skip(image.path, _mask_trouble(image, found))


def _is_mask(file: File) -> bool:
    return file.stem.endswith(_MASK_SUFFIX) or not _MASK_FOLDERS.isdisjoint(file.folders)


def _key(file: File) -> tuple[str, ...]:
    passed_over = _MASK_FOLDERS | _IMAGE_FOLDERS
    folders = [folder for folder in file.folders if folder not in passed_over]
    return (*folders, file.stem.removesuffix(_MASK_SUFFIX))


def _mask_trouble(image: File, found: list[File]) -> str:
    if found:
        return f"It has {len(found)} masks: {', '.join(mask.path for mask in found)}."
    return f"It has no mask: no masks/{image.stem}.* and no {image.stem}{_MASK_SUFFIX}.*."


def _lesion(file: File, axes: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    try:
        return _as_binary(_read_mask(file, axes), shape)
    except DataError as error:
        raise DataError(f"Its mask {file.path}: {error}") from error


def _read_mask(file: File, axes: NDArray[np.float64]) -> NDArray[Any]:
    """Decode a mask to ``(1, H, W)``; all but NIfTI lie on the pixels of their DICOM slice."""
    if file.name.endswith((".nii", ".nii.gz")):
        return _read_nifti_mask(file)
    with lenient():
        pixels = _DECODERS[file.name.rpartition(".")[2]](file)
    if pixels.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise DataError(f"It has shape {pixels.shape}; (rows, columns) was expected.")
    return display(pixels[np.newaxis], axes)


def _read_nifti_mask(file: File) -> NDArray[Any]:
    mask = read_nifti(file)
    return to_display(mask.array, mask.affine)


def _read_png(file: File) -> NDArray[Any]:
    with Image.open(io.BytesIO(file.read()), formats=("PNG",)) as image:
        return np.asarray(image.convert("L") if image.mode in ("P", "RGB", "RGBA") else image)


def _read_npy(file: File) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(file.read()), allow_pickle=False)
    return array.reshape(array.shape[-2:]) if array.shape[:-2] == (1,) else array


def _read_dicom_mask(file: File) -> NDArray[Any]:
    return stored_pixels(read_slice(file))


_DECODERS: Final = {"png": _read_png, "npy": _read_npy, "dcm": _read_dicom_mask}


def _as_binary(mask: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Take a mask's one value above 0 as lesion, be it 1, 255 or another."""
    if mask.shape != shape:
        raise DataError(f"It has shape {mask.shape[1:]}, the image {shape[1:]}.")
    highest = max(1, int(np.rint(mask.max()))) if np.isfinite(mask.max()) else 1
    return as_classes(mask, {highest: 1})


def _read_patients(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise MissingDataError(f"There is no file {path}; it was given as the table of patients.")
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"slice", "patient"} <= set(reader.fieldnames or ()):
            raise InputError(
                f"{path} has the columns {reader.fieldnames}; 'slice' and 'patient' were expected."
            )
        rows = [(row["slice"].lower().removesuffix(".dcm"), row["patient"]) for row in reader]
    return {slice_: patient for slice_, patient in rows if patient}


def _with_note_on_patients(dataset: Dataset, group_by: str | None) -> Dataset:
    patients, slices, _ = dataset.counts
    if group_by and patients == slices and len(dataset.slices) > 1:
        raise DataError(
            f"By {group_by}, each of the {slices} slices of data set B has a patient of its own: "
            "the tag does not tell patients apart. Pass another group_by or a table of patients."
        )
    note = f"Patients told apart by {group_by or 'the table given'}: {patients}"
    paper = INFO.paper.patients
    note += "." if patients == paper else f"; the paper has {paper}."
    return Dataset(dataset.name, dataset.slices, dataset.classes, dataset.problems, (note,))


INFO: Final = DatasetInfo(
    letter="B",
    name="COVID-CT-Rate",
    page="https://figshare.com/articles/dataset/COVID-CT-Rate_zip/18339416",
    licence="not stated in its public description: see the page",
    citation="Enshaei et al., Scientific Reports 12, 2022, doi:10.1038/s41598-022-06854-9",
    archives={"COVID-CT-Rate.zip": None},
    paper=Counts(patients=82, slices=433, infected=433),
    classes={1: "infection"},
    load=load,
)
