"""Images magnified and reduced about their centre, in their own size.

Functions of the array API standard: images stay on their device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.types import Array

Outside: TypeAlias = Literal["edge", "zero"]
"""What lies beyond an image's margin: its nearest pixel, or 0."""


def scale_images(images: Array, factor: float, outside: Outside = "edge") -> Array:
    """Scale images ``(..., *S)`` about their centre, by linear interpolation.

    Args:
        images: Floating point, ``(B, C, *S)`` with two or three spatial axes.
        factor: 1.25 magnifies by a quarter, so that a fifth of each axis is no longer seen.
        outside: What a reduced image shows beyond its own margin.

    Returns:
        Images of the same shape and type.
    """
    xp = array_namespace(images)
    for axis in range(2, images.ndim):
        weights = _weights(images.shape[axis], factor, outside)
        matrix = xp.asarray(weights, dtype=images.dtype, device=device(images))
        last = xp.moveaxis(images, axis, -1)
        images = xp.moveaxis(xp.matmul(last, xp.permute_dims(matrix, (1, 0))), -1, axis)
    return images


@lru_cache(maxsize=64)
def _weights(length: int, factor: float, outside: Outside) -> NDArray[np.float64]:
    """Return the interpolation weights ``(length, length)``: a row for each new pixel."""
    centre = (length - 1) / 2
    place = (np.arange(length) - centre) / factor + centre
    if outside == "edge":
        place = np.clip(place, 0, length - 1)
    # the weight of an old pixel falls linearly to 0 at its neighbours
    weights: NDArray[np.float64] = 1 - np.abs(place[:, None] - np.arange(length))
    return weights.clip(0)
