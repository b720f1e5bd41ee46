"""What is in a file: an array, and what its axes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pladapt.errors import DataError, MissingDependencyError
from pladapt.files.dicom import read_dicom
from pladapt.files.itk import read_itk
from pladapt.files.nifti import read_nifti
from pladapt.files.npy import read_npy
from pladapt.files.pictures import read_picture
from pladapt.files.series import Series, files_of, read_volume
from pladapt.files.stored import Decoding
from pladapt.files.tiff import read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePath

    from pladapt.files.series import Source
    from pladapt.files.stored import Stored

_DICOM_MAGIC: Final = (128, b"DICM")
_NO_IMAGE: Final = "dicomdir"  # is DICOM, and lists the files beside it


def decode(source: Source, how: Decoding | None = None) -> Stored:
    """Decode a file, or the files of a series, by their format.

    Raises:
        DataError: It is truncated, malformed, or holds no image.
        MissingDependencyError: The extra ``files`` is not installed.
    """
    asked = how or Decoding()
    try:
        if isinstance(source, Series):
            return read_volume(source, asked)
        return decoder_of(source)(source, asked)
    except (DataError, MissingDependencyError):
        raise
    except Exception as error:  # mangled files make the decoders raise all kinds of errors
        said = str(error)
        for path in files_of(source):  # whose folders may say whose it is
            said = said.replace(str(path), path.suffix)
        raise DataError(f"It cannot be read: {type(error).__name__}: {said}") from error


def extension(path: PurePath) -> str:
    """Return a known extension of the name in lower case, or nothing."""
    name = path.name.lower()
    return next((known for known in _DECODERS if name.endswith(known)), "")


def decoder_of(path: Path) -> Callable[[Path, Decoding], Stored]:
    """Return what decodes a file that `is_image`."""
    return _DECODERS[extension(path) or ".dcm"]


def is_dicom(path: Path) -> bool:
    """Tell whether a file that `is_image` would be read as DICOM."""
    return decoder_of(path) is read_dicom


def is_image(path: Path) -> bool:
    """Tell whether the name has a known extension, or the file is DICOM by its content."""
    if extension(path):
        return True
    if path.name.lower() == _NO_IMAGE:
        return False
    place, magic = _DICOM_MAGIC
    with path.open("rb") as file:
        start = file.read(place + len(magic))
    if start[place:] == magic:
        return True
    # hospitals name files by their UID, or by a number
    nameless = not path.suffix or path.suffix[1:].isdigit()
    return nameless and _starts_as_dicom(start)


def _starts_as_dicom(start: bytes) -> bool:
    """Tell whether bytes look like a first element of DICOM, without the preamble."""
    group, kind, length = start[:2], start[4:6], start[6:8]
    known = group in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\0"
    return known and ((kind.isalpha() and kind.isupper()) or length == b"\0\0")


_DECODERS: Final[dict[str, Callable[[Path, Decoding], Stored]]] = {
    ".npy": read_npy,
    ".npz": read_npy,
    ".nii.gz": read_nifti,
    ".nii": read_nifti,
    ".mgz": read_nifti,
    ".mgh": read_nifti,
    ".nrrd": read_itk,
    ".nhdr": read_itk,
    ".mha": read_itk,
    ".mhd": read_itk,
    ".dicom": read_dicom,
    ".dcm": read_dicom,
    ".ima": read_dicom,
    ".ome.tiff": read_tiff,
    ".ome.tif": read_tiff,
    ".tiff": read_tiff,
    ".tif": read_tiff,
    ".png": read_picture,
    ".jpeg": read_picture,
    ".jpg": read_picture,
    ".jfif": read_picture,
    ".bmp": read_picture,
    ".gif": read_picture,
    ".webp": read_picture,
    ".pgm": read_picture,
    ".ppm": read_picture,
    ".pbm": read_picture,
    ".pnm": read_picture,
    ".pfm": read_picture,
}
