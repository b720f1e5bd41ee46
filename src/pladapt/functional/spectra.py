"""The low spatial frequencies of images, as functions of the array API standard.

They are few, so they are computed as sums and not by a fast Fourier transform, which is an
extension that a library need not have.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.types import Array


def half_width(fraction: float, shape: Sequence[int]) -> int:
    """Return how many frequencies on either side of zero a fraction of the shortest axis is."""
    return math.floor(fraction * min(shape))


def low_frequencies(images: Array, half: int) -> Array:
    """Return the Fourier coefficients of the lowest frequencies.

    Args:
        images: ``(B, C, *S)``, floating point.
        half: The highest frequency, in cycles per image along each axis.

    Returns:
        Complex ``(B, C, 2 half + 1, ...)``, from ``-half`` to ``half`` along each spatial axis,
        divided by the number of pixels, so that images of another size compare: the one in the
        middle is the mean.
    """
    xp = array_namespace(images)
    result = images * xp.ones((), dtype=_complex(images), device=device(images))
    for axis in range(2, images.ndim):
        size = images.shape[axis]
        waves = _asarray(_waves(half, size).T / size, images)
        result = _along(result, waves, axis)
    return result


def add_low_frequencies(images: Array, coefficients: Array) -> Array:
    """Add waves to images, given by coefficients as `low_frequencies` returns them.

    Args:
        images: ``(B, C, *S)``, floating point.
        coefficients: Complex ``(B, C, 2 half + 1, ...)``, those of a real image.

    Returns:
        ``(B, C, *S)``, of the images' dtype.
    """
    xp = array_namespace(images)
    half = (coefficients.shape[2] - 1) // 2
    result = coefficients
    for axis in range(2, images.ndim):
        waves = _asarray(np.conj(_waves(half, images.shape[axis])), images)
        result = _along(result, waves, axis)
    return xp.astype(images + xp.real(result), images.dtype)


def _waves(half: int, size: int) -> NDArray[np.complex128]:
    """Return ``(2 half + 1, size)``: a wave for each frequency."""
    cycles = np.outer(np.arange(-half, half + 1), np.arange(size)) % size  # exact before the sine
    waves: NDArray[np.complex128] = np.exp(-2j * np.pi / size * cycles)
    return waves


def _along(array: Array, matrix: Array, axis: int) -> Array:
    """Multiply one axis of an array by a matrix (rows: the axis as it is)."""
    xp = array_namespace(array)
    return xp.moveaxis(xp.matmul(xp.moveaxis(array, axis, -1), matrix), -1, axis)


def _complex(images: Array) -> object:
    xp = array_namespace(images)
    return xp.complex128 if images.dtype == xp.float64 else xp.complex64


def _asarray(matrix: NDArray[np.complex128], images: Array) -> Array:
    xp = array_namespace(images)
    return xp.asarray(matrix, dtype=_complex(images), device=device(images))
