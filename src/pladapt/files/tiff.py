"""TIFF through tifffile, by the file's own axes: OME, ImageJ, or pages."""

from __future__ import annotations

from math import prod
from os import SEEK_END
from struct import calcsize, unpack
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.pictures import allow, frame, loses_bits, read_picture
from pladapt.files.stored import (
    EXTRA,
    Stored,
    one_if_grey,
    turned,
    without_opaque_alpha,
)
from pladapt.optional import needs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.stored import (
        Decoding,
    )

_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LETTERS: Final = str.maketrans("SIQ", "CZZ")  # samples; pages, and what nothing says, are slices
_ORIENTATION: Final = 274
_EXTRA_SAMPLES: Final = 338
_WHITE_IS_0, _RGB, _PALETTE = 0, 2, 3


def read_tiff(path: Path, how: Decoding) -> Stored:
    """Read the pages that belong together, by the axes that the file gives.

    Raises:
        DataError: It holds images of different sizes, or only a part of one, or is too large.
    """
    with path.open("rb") as file:
        if file.read(4) not in _MAGIC:  # a picture by that name
            return read_picture(path, how)
        _check_chain(file)
    with needs(EXTRA, "tifffile"):
        import tifffile  # noqa: PLC0415 - an extra
    with tifffile.TiffFile(path) as file:
        series = _only(file.series)
        axes = series.axes.translate(_LETTERS)
        _check(series, axes, how)
        page = series.keyframe
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):  # which has the rarer compressions
                raise
            array, axes = _by_pillow(path, series, axes, how)
        else:
            array, axes = _as_seen(array, axes, page, how)
    if len(set(axes)) < len(axes):
        raise DataError(f"It has the axes {series.axes}; save it with one of slices and channels.")
    return Stored(array, axes, certain=array.ndim == len("YX"))


def _check_chain(file: BinaryIO) -> None:
    """Refuse pages of which one names an earlier one as the next: tifffile may read them for ever.

    Raises:
        DataError: They do.
    """
    size = file.seek(0, SEEK_END)
    file.seek(0)
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    big = header[2:4] in (b"+\0", b"\0+")
    tags, tag, place, first = ("Q", 20, "Q", 8) if big else ("H", 12, "I", 4)
    offset, seen = _number(order + place, header[first:]), set[int]()
    while 0 < offset < size:
        if offset in seen:
            raise DataError(
                f"After {len(seen)} pages it begins again, at byte {offset}; it is damaged, or "
                "made to be read for ever."
            )
        seen.add(offset)
        file.seek(offset)
        number = _number(order + tags, file.read(8))
        file.seek(min(size, offset + calcsize("=" + tags) + number * tag))
        offset = _number(order + place, file.read(8))


def _number(kind: str, stored: bytes) -> int:
    """Return the number that some bytes begin with; 0 where they are too few."""
    size = calcsize(kind)
    return int(unpack(kind, stored[:size])[0]) if len(stored) >= size else 0


def _only(found: list[Any]) -> Any:
    """Return the one image; smaller copies of it do not count."""
    series = [each for each in found if not each.keyframe.is_reduced]
    if len(series) != 1:
        shapes = ", ".join(" x ".join(map(str, each.shape)) for each in series[:5])
        raise DataError(
            f"It holds {len(series)} images of different sizes ({shapes}); save each in a file."
        )
    if getattr(series[0], "is_multifile", False):
        raise DataError("Parts of it are in other files; save it as one.")
    return series[0]


def _check(series: Any, axes: str, how: Decoding) -> None:
    lengths = dict(zip(axes, series.shape, strict=True))
    if not {"Y", "X"} <= lengths.keys():
        raise DataError(f"It has the axes {series.axes}; expected Y and X among them.")
    plane = (lengths["Y"], lengths["X"])
    how.check_size(plane, prod(series.shape) // max(1, prod(plane)))


def _as_seen(array: NDArray[Any], axes: str, page: Any, how: Decoding) -> tuple[NDArray[Any], str]:
    """Return values as whoever opens the picture sees them: turned, coloured, black as 0."""
    places = (axes.index("Y"), axes.index("X"))
    orientation = int(page.tags.valueof(_ORIENTATION, 1))
    array = np.moveaxis(turned(np.moveaxis(array, places, (0, 1)), orientation), (0, 1), places)
    if page.photometric == _WHITE_IS_0:
        array = _black_as_0(array, page.bitspersample, how)
    if page.photometric == _PALETTE and page.colormap is not None and not how.labels:
        colours = (page.colormap.T >> 8).astype(np.uint8)[array]
        array = one_if_grey(colours)
        axes += "C" * (array.ndim - len(axes))
    if "C" in axes and page.photometric == _RGB and page.tags.get(_EXTRA_SAMPLES) is not None:
        place = axes.index("C")
        array = np.moveaxis(without_opaque_alpha(np.moveaxis(array, place, -1)), -1, place)
    return array, axes


def _black_as_0(array: NDArray[Any], bits: int, how: Decoding) -> NDArray[Any]:
    if how.labels:
        raise DataError(
            "It is stored with 0 as white, and it cannot be told whether 0 or its largest value "
            "is the background; save it with 0 as black."
        )
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind != "u":
        raise DataError("It is stored with 0 as white, in numbers that have no largest one.")
    inverted: NDArray[Any] = (2**bits - 1 - array.astype(np.int64)).astype(array.dtype)
    return inverted


def _by_pillow(path: Path, series: Any, axes: str, how: Decoding) -> tuple[NDArray[Any], str]:
    """Return the pages as Pillow decodes and turns them."""
    with needs(EXTRA, "PIL"):
        from PIL import Image  # noqa: PLC0415 - an extra
    allow(how)
    pages = []
    with Image.open(path, formats=("TIFF",)) as image:
        for page in series.pages:
            image.seek(page.index)
            white_is_0 = series.keyframe.photometric == _WHITE_IS_0
            if loses_bits(image) or (white_is_0 and how.labels):
                raise DataError("Its compression needs imagecodecs: pip install imagecodecs.")
            pages.append(frame(image, labels=how.labels))
    stack = np.stack(pages)
    outer = "".join(axis for axis in axes if axis not in "YX")
    if pages[0].ndim > len("YX"):
        colours, outer = "C", outer.replace("C", "")
    else:
        colours = ""
    lengths = [n for axis, n in zip(axes, series.shape, strict=True) if axis in outer]
    return stack.reshape(*lengths, *pages[0].shape), f"{outer}YX{colours}"
