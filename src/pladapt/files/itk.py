"""NRRD and MetaImage, and colours of 16 bits, through SimpleITK."""

from __future__ import annotations

import re
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
_READERS: Final = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_HEADER_BYTES: Final = 65_536
# where a header says in which other file the values are
_DETACHED: Final = re.compile(
    rb"^(?:data ?file *:=?|ElementDataFile *=) *(.+?) *\r?$", re.MULTILINE | re.IGNORECASE
)
_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path, how: Decoding) -> Stored:
    """Read a volume or picture, in the order of its axes: slices, rows, columns, components.

    Raises:
        DataError: It is too large, or its values are in a file of another folder.
    """
    _check_data_file(path)
    image = read_with(_READERS[path.suffix.lower()], path, how)
    array, axes = array_of(image)
    return Stored(array, axes, certain=False, affine=_affine(image))


def read_with(reader_name: str, path: Path, how: Decoding) -> Any:
    """Read an image with one of SimpleITK's readers and no other."""
    with needs(EXTRA, "SimpleITK"):
        import SimpleITK  # noqa: PLC0415 - an extra
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(reader_name)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = reader.GetSize()
    how.check_size(size[:2], prod([reader.GetNumberOfComponents(), *size[2:]]))
    return reader.Execute()


def array_of(image: Any) -> tuple[NDArray[Any], str]:
    """Return an image's values, and their axes."""
    import SimpleITK  # noqa: PLC0415 - whoever has an image has it

    array: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    dimensions = image.GetDimension()
    return array, "TZYX"[-dimensions:] + "C" * (array.ndim - dimensions)


def _affine(image: Any) -> NDArray[np.float64] | None:
    dimensions = image.GetDimension()
    if dimensions < _SPATIAL:
        return None
    direction = np.array(image.GetDirection()).reshape(dimensions, dimensions)
    affine = np.eye(4)
    affine[:3, :3] = (direction * np.array(image.GetSpacing()))[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine


def _check_data_file(path: Path) -> None:
    """Refuse a header that would have another folder's files read as an image."""
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES).split(b"\n\n")[0]
    for match in _DETACHED.finditer(head):
        name = match[1].decode("utf-8", "replace")
        if "/" in name or "\\" in name or name.startswith("."):
            raise DataError(
                f"Its values are in {name!r}, in another folder; put header and values into one."
            )
