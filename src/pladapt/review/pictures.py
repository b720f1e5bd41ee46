"""Images as pictures of 8 bits, for people and their tools."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.files.stored import EXTRA
from pladapt.functional.arrays import to_numpy
from pladapt.optional import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.types import Array

_INSIDE: Final = (0.5, 99.5)  # percentiles that are neither black nor white
_COLOURS: Final = 3


def value_range(image: Array) -> tuple[float, float]:
    """Return from where to where an image's values are worth showing; never an empty range."""
    values = to_numpy(image)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _INSIDE) if finite.size else (0.0, 1.0)
    if high <= low:
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def picture(plane: Array, window: tuple[float, float]) -> NDArray[np.uint8]:
    """Return ``(H, W)`` or ``(H, W, 3)`` of a plane ``(C, H, W)``.

    Args:
        plane: Three channels are colours, of any other number the first is shown.
        window: The values that become black and white.
    """
    values = np.nan_to_num(to_numpy(plane).astype(np.float64))
    scaled = np.clip((values - window[0]) / (window[1] - window[0]), 0, 1)
    levels = np.rint(255 * scaled).astype(np.uint8)
    return np.moveaxis(levels, 0, -1) if len(levels) == _COLOURS else levels[0]


def png(array: NDArray[np.uint8], colours: list[int] | None = None) -> bytes:
    """Return a picture as PNG; with colours, red, green and blue of each value, its values stay."""
    with needs(EXTRA, "PIL"):
        from PIL import Image  # noqa: PLC0415 - an extra
    file = io.BytesIO()
    made: Any = Image.fromarray(array)
    if colours is not None:
        made = made.convert("P") if made.mode != "L" else made
        made.putpalette(colours)
    made.save(file, "PNG")
    return file.getvalue()


def read_png(content: bytes) -> NDArray[np.uint8]:
    """Return the values of a picture ``(H, W)``: of a palette the indices."""
    with needs(EXTRA, "PIL"):
        from PIL import Image  # noqa: PLC0415 - an extra
    with Image.open(io.BytesIO(content)) as made:
        return np.asarray(made, np.uint8)
