"""Measuring images and predictions a batch at a time, in bounded memory and in any order."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from array_api_compat import array_namespace

from pladapt.data.batches import batches
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import certainty_index, hard_labels
from pladapt.functional.intensities import PooledQuantiles, quantiles, region_name, split
from pladapt.functional.uncertainty import foreground_entropy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.functional.intensities import Region
    from pladapt.types import Array, Prediction, Sample, Samples

_PAIR: Final = 2


class RegionQuantiles:
    """The pooled quantiles of a region's pixels and of the images' constant backgrounds.

    Args:
        region: Which pixels count.
        levels: How many quantiles.

    Raises:
        InputError: Fewer than two levels.
    """

    def __init__(self, region: Region, levels: int) -> None:
        if levels < _PAIR:
            raise InputError(f"levels is {levels}; at least 2 are needed, the least and the most.")
        self._region, self._levels = region, levels
        self._channels: list[PooledQuantiles] = []
        self._backgrounds: list[NDArray[Any]] = []
        self._pixels = 0

    def count(self, images: Array) -> Array:
        """Take note of images ``(B, C, *S)`` and return which of their pixels are in the region."""
        inside, constants = split(images, self._region)
        self._backgrounds.append(to_numpy(constants))
        self._channels = self._channels or [
            PooledQuantiles(self._levels) for _ in range(images.shape[1])
        ]
        for channel, values in zip(self._channels, _pixels(images, inside), strict=True):
            channel.count(values)
        self._pixels += int(np.count_nonzero(to_numpy(inside)))
        return inside

    def refined(
        self, again: Iterable[Array]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the quantiles of the pixels and of the backgrounds, ``(C, Q)`` each.

        Args:
            again: All the images that `count` saw.

        Raises:
            InputError: No pixel is in the region.
        """
        if not self._pixels:
            raise InputError(
                f"No pixel of any image is in the region {region_name(self._region)!r}. Where that "
                "is 'informative' every image is constant: look at how they were read. Else give "
                "another region, or region=None for all pixels."
            )
        for images in again:
            inside, _ = split(images, self._region)
            for channel, values in zip(self._channels, _pixels(images, inside), strict=True):
                channel.refine(values)
        return np.stack([channel.result() for channel in self._channels]), self._background()

    def _background(self) -> NDArray[np.float32] | None:
        known = np.concatenate(self._backgrounds).astype(np.float32)
        known = known[~np.isnan(known).any(axis=1)]
        return quantiles(known.T, self._levels) if known.size else None


def _pixels(images: Array, inside: Array) -> Iterator[NDArray[np.float32]]:
    """Yield each channel's values in the region, of all images together."""
    mask, values = to_numpy(inside), to_numpy(images)
    return (values[:, index][mask].astype(np.float32) for index in range(values.shape[1]))


def checked(samples: Samples[Sample], batch_size: int) -> Iterator[tuple[Sequence[Sample], Array]]:
    """Yield samples with their images ``(B, C, *S)``, and refuse what cannot be measured.

    Raises:
        InputError: There are no samples, an image is not finite, or one has another number of
            channels than the first.
    """
    if len(samples) == 0:
        raise InputError("There are no samples to measure; give at least one.")
    channels = samples[0].image.shape[0]
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        _check(batch, images, channels)
        yield batch, images


def _check(batch: Sequence[Sample], images: Array, channels: int) -> None:
    if images.shape[1] != channels:
        raise InputError(
            f"Sample {batch[0].id!r} has {images.shape[1]} channels and the first one {channels}; "
            "give images of one kind."
        )
    xp = array_namespace(images)
    finite = xp.all(xp.reshape(xp.isfinite(images), (images.shape[0], -1)), axis=1)
    for index, sample in enumerate(batch):
        if not bool(finite[index]):
            raise InputError(
                f"The image of sample {sample.id!r} holds NaN or infinite values; repair it, or "
                "leave it out."
            )


class PredictionStatistics:
    """What predictions are like, a number for each sample and class."""

    def __init__(self, cutoff: Cutoff) -> None:
        self._cutoff = cutoff
        self._parts: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, prediction: Prediction, inside: Array) -> None:
        """Take note of a batch's prediction, and of where the region is."""
        probabilities = prediction.probabilities
        certainty, count = certainty_index(probabilities, self._cutoff)
        labels = to_numpy(hard_labels(probabilities, self._cutoff))
        found = np.stack([labels == class_ for class_ in range(1, count.shape[1] + 1)], axis=1)
        mask = to_numpy(inside)
        axes = tuple(range(2, found.ndim))
        self._parts["certainty"].append(to_numpy(certainty))
        self._parts["entropy"].append(to_numpy(foreground_entropy(probabilities, self._cutoff)[0]))
        self._parts["pixels"].append(found.sum(axis=axes))
        self._parts["pixels_inside"].append((found & mask[:, None]).sum(axis=axes))
        self._parts["all"].append(np.full(1, mask.size))
        self._parts["all_inside"].append(np.full(1, mask.sum()))

    def summary(self) -> Mapping[str, Any]:
        """Return the fields of `SourceStatistics` that these are."""
        if not self._parts:
            return {}
        parts = {name: np.concatenate(values) for name, values in self._parts.items()}
        return {
            "fraction": parts["pixels_inside"].sum(axis=0) / parts["all_inside"].sum(),
            "foreground_fraction": parts["pixels"].sum(axis=0) / parts["all"].sum(),
            "certainty": _mean(parts["certainty"]),
            "certainty_std": _std(parts["certainty"]),
            "entropy": _mean(parts["entropy"]),
        }


def _mean(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each column's mean without its NaN, the same for every order of the rows."""
    columns = [column[~np.isnan(column)] for column in rows.T]
    return np.array(
        [math.fsum(column) / column.size if column.size else math.nan for column in columns]
    )


def _std(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.sqrt(_mean((rows - _mean(rows)) ** 2))
