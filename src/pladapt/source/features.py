"""A few numbers about each image, and how far the mean of some images lies from that of others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.types import Array, Sample

_LEVELS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_LAGS: Final = (1, 2, 4)  # in pixels
_SPREAD: Final = len(_LEVELS)  # the place of the standard deviation's logarithm
_EACH: Final = _SPREAD + 1 + len(_LAGS)  # numbers of a channel
_FLOOR: Final = 0.05  # images that differ by less than this do not differ
_RIDGE: Final = 0.1  # of correlations, which few images give badly
_TINY: Final = 1e-6


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The mean of some images' features, and how the images vary about it.

    The features of a channel are five quantiles of its intensities, the logarithm of their standard
    deviation, and that of its structure function at distances of 1, 2 and 4 pixels: the root mean
    square difference of two pixels so far apart, in standard deviations. Only pixels of the region
    count.

    Args:
        mean: ``(K,)``, with nine features for each channel.
        covariance: ``(K, K)``, of the images.
        groups: How many groups the images are from.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    groups: int

    def distance(self, other: ImageFeatures) -> float:
        """Return how far the mean of other images lies from that of these.

        It is Mahalanobis' distance, in standard deviations of these images, less what is expected
        of two such means of as many groups where nothing differs (as in Hotelling's test); at
        least 0. A tenth of these images, chosen by any one quality, lies 1.75 from all of them
        where qualities are distributed normally.
        """
        deviation = np.maximum(np.sqrt(np.diag(self.covariance)), self._floor)
        correlation = self.covariance / np.outer(deviation, deviation)
        away = (other.mean - self.mean) / deviation
        whitened = np.linalg.solve(correlation + _RIDGE * np.eye(len(away)), away)
        expected = len(away) * (1 / self.groups + 1 / other.groups)
        return math.sqrt(max(float(away @ whitened) - expected, 0.0))

    @property
    def _floor(self) -> NDArray[np.float64]:
        """The least that the images' standard deviations are taken for: ``(K,)``."""
        spread = np.repeat(np.exp(self.mean[_SPREAD::_EACH]), _EACH)
        intensities = np.arange(len(self.mean)) % _EACH < _SPREAD
        return _FLOOR * np.where(intensities, spread, 1.0)


class FeatureCounter:
    """Takes note of images a batch at a time."""

    def __init__(self) -> None:
        self._rows: list[list[float]] = []
        self._groups: set[str] = set()

    def add(self, batch: Sequence[Sample], images: Array, inside: Array) -> None:
        """Take note of samples with their images ``(B, C, *S)``, and of where the region is."""
        for sample, image, mask in zip(batch, to_numpy(images), to_numpy(inside), strict=True):
            row = list(_features(image.astype(np.float64), mask))
            if all(map(math.isfinite, row)):  # else it is constant, and like any other
                self._rows.append(row)
                self._groups.add(sample.group)

    def result(self) -> ImageFeatures | None:
        """Return what was seen, whatever the order; None where every image is constant."""
        if not self._rows:
            return None
        rows = np.array(sorted(self._rows))
        away = rows - rows.mean(axis=0)
        return ImageFeatures(rows.mean(axis=0), away.T @ away / len(rows), len(self._groups))


def _features(image: NDArray[np.float64], mask: NDArray[np.bool_]) -> Iterator[float]:
    for channel in image:
        values = channel[mask]
        spread = float(values.std()) if values.size else 0.0
        if spread <= _TINY * float(np.abs(values).max(initial=0.0)):
            yield math.nan
            continue
        yield from np.quantile(values, _LEVELS).tolist()
        yield math.log(spread)
        for lag in _LAGS:
            yield math.log(_structure(channel, mask, lag) / spread + _TINY)


def _structure(channel: NDArray[np.float64], mask: NDArray[np.bool_], lag: int) -> float:
    """Return the root mean square difference of pixels of the region so far apart."""
    total, count = 0.0, 0
    for axis in range(channel.ndim):
        near, far = _apart(channel, axis, lag)
        both = np.logical_and(*_apart(mask, axis, lag))
        total += float(np.sum((far - near)[both] ** 2))
        count += int(np.count_nonzero(both))
    return math.sqrt(total / count) if count else 0.0


def _apart(values: NDArray[Any], axis: int, lag: int) -> tuple[NDArray[Any], NDArray[Any]]:
    moved = np.moveaxis(values, axis, 0)
    return moved[:-lag], moved[lag:]
