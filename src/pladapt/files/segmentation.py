"""DICOM segmentations, through highdicom."""

from __future__ import annotations

import hashlib
import io
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.dicom import read_dataset
from pladapt.files.frames import order_of_frames
from pladapt.files.series import Series, files_of, order_of
from pladapt.optional import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.files.series import Source

EXTRA: Final = "dicom-seg"
_MAY_BE_EMPTY: Final = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""What a DICOM-SEG repeats of its images, and the standard lets them leave empty."""


def check_highdicom() -> None:
    """Make sure that DICOM-SEG can be written.

    Raises:
        MissingDependencyError: The extra ``dicom-seg`` is not installed.
    """
    with needs(EXTRA, "highdicom"):
        import highdicom  # noqa: F401, PLC0415 - an extra


def encode_segmentation(
    labels: NDArray[np.uint8], source: Source, classes: Sequence[str], model: str
) -> bytes:
    """Return the DICOM-SEG of one file, or of a series as a whole.

    Its UIDs depend on the images, the model and the mask alone.

    Args:
        labels: ``(Z, Y, X)``, 0 to F, in the order in which the source is read.
        source: The images that it is of.
        classes: The names of the F classes, the segments.
        model: What tells the model from others: its SHA-256, say.

    Raises:
        DataError: The images lack what a DICOM-SEG must repeat of them.
    """
    datasets = [read_dataset(path, stop_before_pixels=True) for path in files_of(source)]
    _complete(datasets)
    if isinstance(source, Series):
        datasets = [datasets[index] for index in order_of(source, datasets)]
    else:
        labels = _as_framed(labels, datasets[0])
    try:
        return _encoded(labels, datasets, classes, model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"No DICOM-SEG can be made of it ({type(error).__name__}: {error}). Convert it to "
            "NIfTI, or frames without a place to pictures."
        ) from error


def _complete(datasets: list[Any]) -> None:
    """Give images what a DICOM-SEG repeats and they lack, as those do that lost it on their way.

    The UIDs depend on the images alone, so that masks of one study stay together.
    """
    from pydicom.uid import generate_uid  # noqa: PLC0415 - whoever has a data set has it

    instances = [str(dataset.get("SOPInstanceUID", "")) for dataset in datasets]
    for dataset in datasets:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, None)
        placed = ["FrameOfReferenceUID"] if "ImagePositionPatient" in dataset else []
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", *placed):
            if keyword not in dataset:
                setattr(dataset, keyword, generate_uid(entropy_srcs=[keyword, *instances]))


def _as_framed(labels: NDArray[np.uint8], dataset: Any) -> NDArray[np.uint8]:
    """Return the masks of a file's frames in the order of the frames."""
    order = order_of_frames(dataset, len(labels)) if len(labels) > 1 else None
    if order is None:
        return labels
    framed = np.empty_like(labels)
    framed[order] = labels
    return framed


def _encoded(
    labels: NDArray[np.uint8], datasets: list[Any], classes: Sequence[str], model: str
) -> bytes:
    with warnings.catch_warnings():
        # says the patient's name, which nothing that we print may do
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent")
        made = _segmentation(labels, datasets, classes, model)
    file = io.BytesIO()
    made.save_as(file)
    return file.getvalue()


def _segmentation(
    labels: NDArray[np.uint8], datasets: list[Any], classes: Sequence[str], model: str
) -> Any:
    import highdicom  # noqa: PLC0415 - `check_highdicom` says what is missing

    return highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(n, name) for n, name in enumerate(classes, start=1)],
        series_instance_uid=_uid("series", datasets, labels, model),
        series_number=100,
        sop_instance_uid=_uid("instance", datasets, labels, model),
        instance_number=1,
        manufacturer="pladapt",
        manufacturer_model_name="pladapt",
        software_versions=version("pladapt"),
        device_serial_number=model[:16],
        omit_empty_frames=bool(labels.any()),
    )


def _segment(number: int, name: str) -> Any:
    import highdicom  # noqa: PLC0415 - the same
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - the same

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        # what a class is in medical codes, nobody has said
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="pladapt", family=codes.DCM.ArtificialIntelligence, version=version("pladapt")
        ),
    )


def _uid(what: str, datasets: list[Any], labels: NDArray[np.uint8], model: str) -> str:
    from pydicom.uid import generate_uid  # noqa: PLC0415 - the same

    images = [str(dataset.SOPInstanceUID) for dataset in datasets]
    mask = hashlib.sha256(labels.tobytes()).hexdigest()
    return str(generate_uid(entropy_srcs=[what, *images, model, mask]))
