"""What is in a file: an array, and what its axes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pladapt.errors import DataError, MissingDependencyError
from pladapt.optional import needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_EXTRA: Final = "files"
_DICOM_MAGIC: Final = (128, b"DICM")


class Stored(NamedTuple):
    """A decoded file.

    Args:
        array: As stored.
        axes: A letter for each of its axes, of ``Z`` (slices), ``C`` (channels), ``Y`` (rows) and
            ``X`` (columns); empty where nothing says.
        certain: Whether the format says what its axes are.
    """

    array: NDArray[Any]
    axes: str
    certain: bool


def decode(path: Path) -> Stored:
    """Decode a file by its format.

    Raises:
        DataError: It is truncated, malformed, or holds no image.
        MissingDependencyError: The extra ``files`` is not installed.
    """
    try:
        return _DECODERS[extension(path) or ".dcm"](path)
    except (DataError, MissingDependencyError):
        raise
    except Exception as error:  # mangled files make the decoders raise all kinds of errors
        raise DataError(f"It cannot be read: {type(error).__name__}: {error}") from error


def extension(path: Path) -> str:
    """Return a known extension of the name in lower case, or nothing."""
    name = path.name.lower()
    return next((known for known in _DECODERS if name.endswith(known)), "")


def is_image(path: Path) -> bool:
    """Tell whether the name has a known extension, or has none and the file is DICOM."""
    if extension(path):
        return True
    if path.suffix and not path.suffix[1:].isdigit():  # hospitals name files by their UID
        return False
    place, magic = _DICOM_MAGIC
    with path.open("rb") as file:
        file.seek(place)
        return file.read(len(magic)) == magic


def _npy(path: Path) -> Stored:
    return Stored(np.load(path, allow_pickle=False), "", certain=False)


def _nifti(path: Path) -> Stored:
    with needs(_EXTRA, "nibabel"):
        import nibabel  # noqa: PLC0415 - an extra
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise DataError(f"It is a {type(image).__name__}; expected a NIfTI image.")
    array = np.asanyarray(image.dataobj)
    while array.ndim > 3 and array.shape[-1] == 1:  # noqa: PLR2004 - x, y and z
        array = array[..., 0]
    return Stored(array, "XYZC"[: array.ndim], certain=False)


def _dicom(path: Path) -> Stored:
    with needs(_EXTRA, "pydicom"):
        import pydicom  # noqa: PLC0415 - an extra
        from pydicom.pixels.processing import apply_modality_lut  # noqa: PLC0415 - the same
    dataset = pydicom.dcmread(path)
    array = apply_modality_lut(dataset.pixel_array, dataset)
    axes = "YXC" if dataset.get("SamplesPerPixel", 1) > 1 else "YX"
    return Stored(array, f"Z{axes}" if array.ndim > len(axes) else axes, certain=True)


def _picture(path: Path) -> Stored:
    with needs(_EXTRA, "PIL"):
        from PIL import Image, ImageSequence  # noqa: PLC0415 - an extra
    with Image.open(path) as image:
        frames = [np.array(frame) for frame in ImageSequence.Iterator(image)]
    axes = "YXC"[: frames[0].ndim]
    if len(frames) == 1:
        return Stored(frames[0], axes, certain=True)
    return Stored(np.stack(frames), f"Z{axes}", certain=True)


_DECODERS: Final[dict[str, Callable[[Path], Stored]]] = {
    ".npy": _npy,
    ".nii.gz": _nifti,
    ".nii": _nifti,
    ".dicom": _dicom,
    ".dcm": _dicom,
    ".png": _picture,
    ".tiff": _picture,
    ".tif": _picture,
    ".jpeg": _picture,
    ".jpg": _picture,
    ".bmp": _picture,
}
