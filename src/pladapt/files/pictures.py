"""Pictures through Pillow: PNG, JPEG, BMP, GIF, WebP and the PNM family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.files.itk import array_of, read_with
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
    from PIL.ImageFile import ImageFile

    from pladapt.files.stored import (
        Decoding,
    )

# never all that Pillow knows: EPS would run Ghostscript on what a stranger wrote
_FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_NO_GREY: Final = ("GIF", "WEBP")
_OTHER_COLOURS: Final = ("CMYK", "YCbCr", "HSV", "LAB", "RGBX")
_ALPHA: Final = ("RGBA", "LA", "RGBa", "La")
_LOSSY: Final = ("JPEG", "MPO", "WEBP")
_STEPS: Final = {"L;2": 85, "L;4": 17}  # to which Pillow stretches few bits
_ORIENTATION: Final = 0x0112


def read_picture(path: Path, how: Decoding) -> Stored:
    """Read a picture, or the frames of an animated one, turned as its EXIF data say.

    Raises:
        DataError: It is too large, or has 16 bits per colour in a format whose reader keeps 8.
    """
    with needs(EXTRA, "PIL"):
        from PIL import Image  # noqa: PLC0415 - an extra
    allow(how)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            array = _deep(path, image, how) if loses_bits(image) else _frames(image, how)
            # some formats keep their EXIF data behind the pixels
            orientation = image.getexif().get(_ORIENTATION, 1)
            lossy = image.format in _LOSSY
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"It is larger than is read at once: {error} If it is sound, raise max_values "
            "(--max-values)."
        ) from error
    pages = array if isinstance(array, list) else [array]
    stack = np.stack([turned(page, orientation) for page in pages])
    axes = "ZYXC"[: stack.ndim]
    if len(pages) == 1:
        return Stored(stack[0], axes[1:], certain=True, lossy=lossy)
    return Stored(stack, axes, certain=True, lossy=lossy)


def allow(how: Decoding) -> None:
    """Raise Pillow's own limit, which is one for all, where a larger one was asked for."""
    from PIL import Image  # noqa: PLC0415 - an extra

    limit = Image.MAX_IMAGE_PIXELS
    if how.max_values is not None and limit is not None and how.max_values > limit:
        Image.MAX_IMAGE_PIXELS = how.max_values


def loses_bits(image: ImageFile) -> bool:
    """Tell whether Pillow would cut colours of 16 bits to 8."""
    if not image.tile or image.mode[0] in "IF":
        return False
    arguments = image.tile[0].args
    if isinstance(arguments, str):
        return ";16" in arguments
    deep = any(isinstance(each, str) and ";16" in each for each in arguments or ())
    return deep or _largest(image) > np.iinfo(np.uint8).max


def _largest(image: ImageFile) -> int:
    """Return the largest value that a PNM file says to have, or 0."""
    tile = image.tile[0] if image.tile else None
    if tile is None or not isinstance(tile.args, tuple) or not tile.codec_name.startswith("ppm"):
        return 0
    return int(tile.args[1])


def _deep(path: Path, image: ImageFile, how: Decoding) -> NDArray[Any]:
    """Return colours of 16 bits."""
    veiled_grey = str(image.tile[0].args).startswith("LA")
    if image.format != "PNG" or veiled_grey or getattr(image, "n_frames", 1) > 1:
        raise DataError(
            f"It has 16 bits per colour, of which only 8 would be read from such a {image.format}; "
            "save it without transparency as PNG, or as TIFF or NPY."
        )
    array, _ = array_of(read_with("PNGImageIO", path, how))
    return without_opaque_alpha(array) if array.shape[-1] in (2, 4) else array


def _frames(image: ImageFile, how: Decoding) -> list[NDArray[Any]]:
    # of several pictures in a JPEG the first is the photograph, the others are its helpers
    number = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    how.check_size(image.size, 1 if number == 1 else number * len(image.getbands()))
    first, largest = image.size, _largest(image)
    without_grey = image.mode == "P" or image.format in _NO_GREY
    pages = []
    for index in range(number):
        if number > 1:
            image.seek(index)
            if image.size != first:
                raise DataError(
                    f"Frame {index + 1} has {image.width} x {image.height} pixels, and the first "
                    f"{first[0]} x {first[1]}; save the frames as files of their own."
                )
        pages.append(frame(image, labels=how.labels, several=number > 1))
    if without_grey and all(page.ndim > 2 for page in pages):  # noqa: PLR2004 - colours
        greys = [one_if_grey(page) for page in pages]
        pages = greys if all(page.ndim == 2 for page in greys) else pages  # noqa: PLR2004 - grey
    if largest:
        pages = [_as_counted(page, largest) for page in pages]
    return pages


def frame(image: ImageFile, *, labels: bool, several: bool = False) -> NDArray[Any]:
    """Return a frame's values: a palette's colours, but for labels its indices.

    Args:
        image: What is read.
        labels: Whether it is a mask. The palette of a GIF is one of greys or of colours; only
            the latter stands for classes.
        several: Whether other frames follow, which may have other palettes.
    """
    if image.mode in ("P", "PA"):
        indices, colours = np.array(image), np.array(image.convert("RGB"))
        grey = image.format == "GIF" and one_if_grey(colours).ndim == 2  # noqa: PLR2004 - no axis
        if labels and not several and not grey:
            return indices[..., 0] if image.mode == "PA" else indices
        return colours
    if several and image.mode in ("L", "RGBA") and image.format in _NO_GREY:
        return np.array(image.convert("RGB"))
    if image.mode in _OTHER_COLOURS:
        return np.array(image.convert("RGB"))
    step = _STEPS.get(str(image.tile[0].args), 1) if labels and len(image.tile) == 1 else 1
    array = np.array(image) if step == 1 else np.array(image) // step
    return without_opaque_alpha(array) if image.mode in _ALPHA else array


def _as_counted(page: NDArray[Any], largest: int) -> NDArray[Any]:
    """Undo that Pillow stretches values to those of a type."""
    stretched = np.iinfo(np.uint8 if page.dtype == np.uint8 else np.uint16).max
    kind = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
    return np.rint(page * (largest / stretched)).astype(kind)
