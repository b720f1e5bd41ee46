from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def _nifti(path: Path, array: NDArray[Any]) -> None:
    """Write ``(Z, Y, X)`` as NIfTI stores it: x first."""
    nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
    image = nibabel.Nifti1Image(np.atleast_3d(array.T), np.eye(4), dtype=array.dtype)
    image.to_filename(path)


def _dicom(path: Path, array: NDArray[Any]) -> None:
    """Write ``(Y, X)`` or ``(frame, Y, X)`` whose stored values are 1024 above the real ones."""
    pydicom = pytest.importorskip("pydicom", reason="the extra files is not installed")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = array.shape[-2:]
    if array.ndim == 3:
        dataset.NumberOfFrames = len(array)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = (array.astype(np.int32) + 1024).astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def _picture(path: Path, array: NDArray[Any]) -> None:
    """Write ``(Y, X)``, ``(Y, X, 3)``, or the pages ``(Z, Y, X)``."""
    image = pytest.importorskip("PIL.Image", reason="the extra files is not installed")
    if array.ndim == 3 and array.shape[-1] != 3:
        first, *rest = [image.fromarray(page) for page in array]
        first.save(path, save_all=True, append_images=rest)
    else:
        image.fromarray(array).save(path)


_WRITERS: dict[str, Callable[[Path, NDArray[Any]], None]] = {
    ".npy": np.save,
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".dcm": _dicom,
    "": _dicom,
    ".png": _picture,
    ".tif": _picture,
    ".bmp": _picture,
}


@pytest.fixture(scope="session")
def write() -> Callable[[Path, NDArray[Any]], Path]:
    """Write an array in the format that the path's extension names; without one, DICOM."""

    def write(path: Path, array: NDArray[Any]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        extension = path.name[path.name.index(".") :] if "." in path.name else ""
        _WRITERS[extension](path, array)
        return path

    return write
