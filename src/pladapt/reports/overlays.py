"""Samples with the outlines of masks drawn over them."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.functional.arrays import to_numpy
from pladapt.optional import needs
from pladapt.types import IGNORE

with needs("report", "contourpy", "PIL"):
    from contourpy import contour_generator
    from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pladapt.types import Array

_MOST_PIXELS: Final = 256  # of an image's longer side; the outlines keep all of theirs
_PERCENTILES: Final = (0.5, 99.5)  # a few hot pixels must not darken the rest


def overlay(
    image: Array, outlines: dict[str, Array], *, channel: int = 0, at: int | None = None
) -> str:
    """Return an image with the outlines of masks as an SVG element.

    Outlines have the classes
    ``outline``, their name, and ``class-1``, ``class-2`` …, by which a page gives them colours.

    Args:
        image: ``(C, *S)``, with two or three spatial axes.
        outlines: Masks ``(*S)`` by name: 0 the background, then one value per class; 255 counts
            as background.
        channel: Which channel of the image is shown.
        at: Which slice along the first axis of a volume; the middle one where nothing is said.
    """
    plane = _slice(to_numpy(image)[channel], at)
    height, width = plane.shape
    paths = [
        f'<path class="outline {name} class-{class_}" d="{path}"/>'
        for name, mask in outlines.items()
        for class_, path in _outlines(_slice(to_numpy(mask), at))
    ]
    return (
        f'<svg class="overlay" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" href="{png(plane)}"/>{"".join(paths)}</svg>'
    )


def _slice(array: NDArray[Any], at: int | None) -> NDArray[Any]:
    return middle(array) if at is None else array[at]


def middle(array: NDArray[Any]) -> NDArray[Any]:
    """Return a plane as it is, and the middle slice of a volume."""
    return array[len(array) // 2] if array.ndim == 3 else array  # noqa: PLR2004 - spatial axes


def _outlines(mask: NDArray[np.integer]) -> Iterator[tuple[int, str]]:
    """Yield each class of a mask with the path around it."""
    for class_ in np.unique(mask):
        if class_ not in (0, IGNORE):
            yield int(class_), _path(mask == class_)


def _path(mask: NDArray[np.bool_]) -> str:
    # a border of background closes what the image's border cuts; half a pixel is a pixel's centre
    lines: Any = contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5)
    return "".join(
        "M" + "L".join(f"{x - 0.5:g} {y - 0.5:g}" for x, y in line[:-1]) + "Z" for line in lines
    )


def png(plane: NDArray[Any]) -> str:
    """Return a plane of any range as the address of a grey PNG that holds its own data."""
    picture = Image.fromarray(_grey(plane.astype(np.float32)))
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _grey(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, _PERCENTILES) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(plane, nan=low) - low) / max(high - low, 1e-12)
    return np.asarray(255 * np.clip(scaled, 0, 1), np.uint8)
