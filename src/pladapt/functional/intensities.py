"""Where an image shows something, which values it has there, and monotone maps between values.

Regions and maps follow the array API standard: arrays stay on their device. Quantiles are made on
the host, exactly and in bounded memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.types import Array

Region: TypeAlias = Literal["informative"] | Callable[[Any], Any] | None
"""Which pixels count: what is not `background`, all (None), or images -> bool ``(B, *S)``."""

BACKGROUND_SHARE: Final = 0.05
"""The fraction of an image's pixels that must have one and the same value to be its background."""

_FINE_BITS: Final = 12  # of 32: two passes count 2**20 and at most 2**12 a level numbers
_SIGN: Final = 1 << 31


def background(images: Array) -> Array:
    """Return each image's constant background.

    That is its most frequent exact value, where at least 5 % of its pixels, and two of them, have
    it, and twice as many as any other value: what an image is that was masked to an organ, or
    padded. The commonest of the grey levels of an 8-bit image is none, as its neighbours are as
    common. In several channels these pixels must have each channel's most frequent value.

    Args:
        images: ``(B, C, *S)``, floating point.

    Returns:
        ``(B, C)``, NaN where an image has no such background.
    """
    xp = array_namespace(images)
    flat = xp.reshape(images, (*images.shape[:2], -1))
    least = max(2, math.ceil(BACKGROUND_SHARE * flat.shape[-1]))
    constant, dominant = _most_frequent(flat, math.ceil(least / 2))
    equal = xp.all(flat == xp.expand_dims(constant, axis=-1), axis=1)
    enough = xp.all(dominant, axis=1) & (_count(equal) >= least)
    return xp.where(xp.expand_dims(enough, axis=-1), constant, xp.full_like(constant, xp.nan))


def _most_frequent(flat: Array, least: int) -> tuple[Array, Array]:
    """Return the most frequent of the values ``(B, C, N)`` that at least so many pixels have.

    So many equal values in a row, once sorted, hold every so-manieth place: few candidates.

    Returns:
        The value ``(B, C)``, NaN where there is none, and whether it is twice as frequent as each
        of the others.
    """
    xp = array_namespace(flat)
    candidates = xp.sort(flat, axis=-1)[..., least - 1 :: least]
    best = xp.full(flat.shape[:2], xp.nan, dtype=flat.dtype, device=device(flat))
    most = xp.zeros(flat.shape[:2], dtype=xp.int64, device=device(flat))
    second = most
    for index in range(candidates.shape[-1]):
        candidate = candidates[..., index]
        count = _count(flat == xp.expand_dims(candidate, axis=-1))
        other = xp.where(candidate == best, second, xp.minimum(count, most))
        second = xp.maximum(second, other)
        best = xp.where(count > most, candidate, best)
        most = xp.maximum(count, most)
    return best, most >= 2 * second


def _count(flags: Array) -> Array:
    xp = array_namespace(flags)
    return xp.sum(xp.astype(flags, xp.int8), axis=-1, dtype=xp.int64)


def split(images: Array, region: Region) -> tuple[Array, Array]:
    """Tell which pixels of images lie in a region, and what is constant outside.

    Args:
        images: ``(B, C, *S)``, floating point.
        region: ``informative``, None for all pixels, or a function of the images.

    Returns:
        Whether a pixel lies in the region, ``(B, *S)``, and the images' `background` ``(B, C)``,
        which is NaN for every region but ``informative``.

    Raises:
        InputError: The images are not floating point ``(B, C, *S)`` with two or three spatial
            axes, the region is unknown, or its function returned something else than that.
    """
    check_images(images)
    xp = array_namespace(images)
    shape = (images.shape[0], *images.shape[2:])
    if region == "informative":
        constant = background(images)
        return ~xp.all(images == over_pixels(constant, images.ndim), axis=1), constant
    constant = xp.full(images.shape[:2], xp.nan, dtype=images.dtype, device=device(images))
    if region is None:
        return xp.ones(shape, dtype=xp.bool, device=device(images)), constant
    if not callable(region):
        raise InputError(f"No region {region!r}; give 'informative', None or a function.")
    inside = region(images)
    if tuple(inside.shape) != shape or inside.dtype != xp.bool:
        raise InputError(
            f"The region {region_name(region)} returned {inside.dtype} of shape "
            f"{tuple(inside.shape)}; expected bool of shape {shape}."
        )
    return inside, constant


def over_pixels(values: Array, ndim: int) -> Array:
    """Give values ``(B, C)`` axes of length one for the spatial ones: ``(B, C, 1, ...)``."""
    xp = array_namespace(values)
    return xp.reshape(values, (*values.shape, *(1,) * (ndim - 2)))


def region_name(region: Region) -> str | None:
    """Return what a file says of a region: a function goes by its name."""
    if region is None or isinstance(region, str):
        return region
    named = region if hasattr(region, "__qualname__") else type(region)
    return f"{named.__module__}.{named.__qualname__}"


def check_images(images: Array) -> None:
    """Refuse what is not images.

    Raises:
        InputError: Not floating point, or not ``(B, C, *S)`` with two or three spatial axes.
    """
    if images.ndim not in (4, 5) or not array_namespace(images).isdtype(
        images.dtype, "real floating"
    ):
        raise InputError(
            f"The images are {images.dtype} of shape {tuple(images.shape)}; expected floating "
            "point (batch, channel, *spatial) with two or three spatial axes."
        )


class PooledQuantiles:
    """Exact quantiles of any number of values, in two passes and bounded memory.

    The bits of a float, read as an integer, keep its order. The first pass counts the values by
    their leading bits; the second counts by the others those few that can be a quantile. Counts do
    not depend on the order of the values, nor on the parts that they come in. The quantile at a
    level is the smallest value that at least this fraction of the values does not exceed, hence one
    of the values: a monotone map of the values maps the quantiles.

    Args:
        levels: How many quantiles, at evenly spaced levels from 0 (the least) to 1 (the largest).
    """

    def __init__(self, levels: int) -> None:
        self._levels = levels
        self._coarse = np.zeros(2 ** (32 - _FINE_BITS), np.int64)
        self._fine = np.zeros((0, 2**_FINE_BITS), np.int64)  # has rows once all are counted

    def count(self, values: NDArray[np.float32]) -> None:
        """Take note of values: first of all of them."""
        np.add.at(self._coarse, _ordered(values) >> _FINE_BITS, 1)

    def refine(self, values: NDArray[np.float32]) -> None:
        """Take note of the same values again: of all, once `count` has seen all."""
        if not self._fine.size:
            self._prepare()
        keys = _ordered(values)
        row = self._row[keys >> _FINE_BITS]
        found = row >= 0
        np.add.at(self._fine, (row[found], keys[found] & (2**_FINE_BITS - 1)), 1)

    def _prepare(self) -> None:
        below = np.cumsum(self._coarse)
        rank = _ranks(below[-1], self._levels)
        bucket = np.searchsorted(below, rank)
        self._within = rank - (below - self._coarse)[bucket]
        self._buckets, self._place = np.unique(bucket, return_inverse=True)
        self._row = np.full(self._coarse.size, -1, np.int32)
        self._row[self._buckets] = np.arange(self._buckets.size)
        self._fine = np.zeros((self._buckets.size, self._fine.shape[1]), np.int64)

    def result(self) -> NDArray[np.float32]:
        """Return the quantiles, once `refine` has seen all values, of which there was one."""
        below = np.cumsum(self._fine, axis=1)[self._place]
        last = np.argmax(below >= self._within[:, None], axis=1)
        keys = (self._buckets[self._place] << _FINE_BITS) + last
        return _floats(keys.astype(np.uint32))


def quantiles(values: NDArray[np.floating], levels: int) -> NDArray[np.floating]:
    """Return the quantiles ``(C, levels)`` of values ``(C, n)``, as `PooledQuantiles` does."""
    return np.sort(values, axis=1)[:, _ranks(values.shape[1], levels) - 1]


def _ranks(count: int, levels: int) -> NDArray[np.int64]:
    """Return which of so many ordered values, from 1, are the quantiles."""
    return np.maximum(-(-np.arange(levels) * count // (levels - 1)), 1)


def _ordered(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return integers in the order of the floats."""
    bits = (values + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
    return np.where(bits >= _SIGN, ~bits, bits | np.uint32(_SIGN))


def _floats(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the floats that `_ordered` made integers of."""
    return np.where(keys >= _SIGN, keys & np.uint32(_SIGN - 1), ~keys).view(np.float32)
