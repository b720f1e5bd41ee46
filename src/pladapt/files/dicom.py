"""DICOM through pydicom: a picture, the frames of one file, or the files of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.frames import by_position, frame_item
from pladapt.files.stored import EXTRA, Stored, one_if_grey
from pladapt.optional import needs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.stored import Decoding

_BYTE: Final = 8
_NAMES: Final = ("Rows", "Columns")
_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
_ENHANCED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.1"


def read_dicom(path: Path, how: Decoding) -> Stored:
    """Read a file: its frames by position where they have one, in the units that it says.

    Raises:
        DataError: It holds no image, or one whose values could be read in two ways.
    """
    dataset = read_dataset(path)
    array, axes = _values(dataset, how)
    if array.ndim == len(axes):
        return Stored(array, axes, certain=True)
    return by_position(Stored(array, f"Z{axes}", certain=True), dataset)


def read_series(
    paths: Sequence[Path], how: Decoding, names: Sequence[str]
) -> tuple[list[Any], Stored]:
    """Read the files of a series, in the order given, and return their data sets as well.

    Raises:
        DataError: One of them cannot be used, or they do not fit each other.
    """
    slices: list[NDArray[Any]] = []
    datasets: list[Any] = []
    axes = ""
    for path, name in zip(paths, names, strict=True):
        dataset = read_dataset(path)
        how.check_size([dataset.get(name, 0) for name in _NAMES], len(paths))
        array, axes = _values(dataset, how)
        if slices and array.shape != slices[0].shape:
            raise DataError(f"{name} has shape {array.shape}, others {slices[0].shape}.")
        slices.append(array)
        for keyword in _PIXELS:
            if keyword in dataset:
                del dataset[keyword]
        datasets.append(dataset)
    return datasets, Stored(np.stack(slices), f"Z{axes}", certain=True)


def read_dataset(path: Path, **options: Any) -> Any:
    """Read a data set, also where the preamble is missing.

    Raises:
        DataError: It is no DICOM.
    """
    with needs(EXTRA, "pydicom"):
        import pydicom  # noqa: PLC0415 - an extra
    try:
        return pydicom.dcmread(path, **options)
    except pydicom.errors.InvalidDicomError:
        pass
    try:
        dataset = pydicom.dcmread(path, force=True, **options)
        found = "Rows" in dataset or "SOPClassUID" in dataset
    except Exception:  # noqa: BLE001 - what is no DICOM makes it raise all kinds of errors
        found = False
    if not found:
        raise DataError("It is no DICOM: it has neither the preamble nor an image's elements.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian
            if implicit
            else (pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian)
        )
    return dataset


def _values(dataset: Any, how: Decoding) -> tuple[NDArray[Any], str]:
    """Return an image's values in their units, and the axes of a frame."""
    kind = dataset.get("SOPClassUID", "")
    if not any(keyword in dataset for keyword in _PIXELS):
        raise DataError(f"It holds no image: it is {getattr(kind, 'name', kind) or 'of no class'}.")
    if kind == _SEGMENTATION:
        raise DataError("It is a DICOM segmentation; convert it to NIfTI, such as with dcmqi.")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    samples = int(dataset.get("SamplesPerPixel", 1))
    how.check_size([dataset.get(name, 0) for name in _NAMES], frames * samples)
    array: NDArray[Any] = dataset.pixel_array
    photometric = dataset.get("PhotometricInterpretation", "")
    if photometric == "PALETTE COLOR" and not how.labels:
        return _coloured(array, dataset)
    if photometric == "MONOCHROME1":
        array = _black_as_0(array, dataset, how)
    return _in_units(array, dataset), "YXC" if samples > 1 else "YX"


def _coloured(array: NDArray[Any], dataset: Any) -> tuple[NDArray[Any], str]:
    """Return the colours of a palette, of 8 bits where the indices have as many."""
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415 - an extra

    colours = apply_color_lut(array, dataset)[..., :3]
    if dataset.BitsAllocated == _BYTE and colours.dtype.itemsize > 1:
        palette = apply_color_lut(np.arange(2**_BYTE, dtype=np.uint8), dataset)
        shift = _BYTE if palette.max() >= 2**_BYTE else 0  # some keep 8 bits in 16
        colours = (colours >> shift).astype(np.uint8)
    grey = one_if_grey(colours)
    return grey, "YX" if grey.ndim < colours.ndim else "YXC"


def _black_as_0(array: NDArray[Any], dataset: Any, how: Decoding) -> NDArray[Any]:
    """Invert stored values of which the lowest is shown as white."""
    scaled = "ModalityLUTSequence" in dataset or set(_transforms(dataset)) != {(1.0, 0.0)}
    if how.labels or scaled:
        raise DataError(
            "It is MONOCHROME1, stored with its lowest value as white, and has a unit or is a "
            "mask: it cannot be told which way its values are meant. Convert it to MONOCHROME2."
        )
    bits = int(dataset.BitsStored)
    total = -1 if dataset.get("PixelRepresentation", 0) else 2**bits - 1
    return (total - array.astype(np.int64)).astype(array.dtype)


def _in_units(array: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Apply the modality LUT, or the slope and intercept of the file or of each frame."""
    from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415 - an extra

    if "ModalityLUTSequence" in dataset:
        looked_up: NDArray[Any] = apply_modality_lut(array, dataset)
        return looked_up
    transforms = _transforms(dataset)
    if set(transforms) == {(1.0, 0.0)}:
        return array
    slopes, intercepts = np.array(transforms, np.float32).T
    if len(transforms) > 1:
        shape = (-1,) + (1,) * (array.ndim - 1)
        slopes, intercepts = slopes.reshape(shape), intercepts.reshape(shape)
    scaled: NDArray[Any] = array.astype(np.float32) * slopes + intercepts
    return scaled


def _transforms(dataset: Any) -> list[tuple[float, float]]:
    """Return slope and intercept, one pair for all or one for each frame."""
    if "RescaleSlope" in dataset or "RescaleIntercept" in dataset:
        return [(float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0)))]
    found = []
    for index in range(int(dataset.get("NumberOfFrames", 1) or 1)):
        item = frame_item(dataset, index, "PixelValueTransformationSequence")
        if item is None and dataset.get("SOPClassUID", "") == _ENHANCED_CT:
            raise DataError("It is an enhanced multi-frame image that does not say its units.")
        pair = (1, 0) if item is None else (item.RescaleSlope, item.RescaleIntercept)
        found.append((float(pair[0]), float(pair[1])))
    return found
