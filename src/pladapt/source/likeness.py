"""How unlike the source's images a target's are, without a model's view of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.source.features import FeatureCounter
from pladapt.source.measuring import RegionQuantiles, checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.functional.intensities import Region
    from pladapt.source.features import ImageFeatures
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Array, Sample, Samples

FAR: Final = 2.0
"""The distance beyond which images are not what a model was trained on, in standard deviations."""

NEARER: Final = 0.7
"""How much nearer negated intensities must be for bright and dark to have changed places."""

OTHER_SHAPE: Final = 0.4
"""The distance of standardised intensities beyond which their polarity is looked at."""

FLAT: Final = 0.5
"""The contrast below which images show hardly more than noise, which has no polarity."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Distances of a target's images from the source's.

    Those of the intensities are the mean distances of the two quantile functions (the Wasserstein-1
    distance); of several channels the largest.

    Args:
        distance: As they are, in standard deviations of the source's pixels.
        shape: With both standardised to mean 0 and standard deviation 1.
        inverted: The same, with the target's intensities negated.
        shift: How far the mean image's intensities, contrast and texture lie from the source's, in
            standard deviations of the source's images (`pladapt.source.ImageFeatures`);
            NaN where that was not measured.
        contrast: The standard deviation of the pixels, over that of the source's, where the shape
            was measured.
    """

    distance: float
    shape: float
    inverted: float
    shift: float = math.nan
    contrast: float = 1.0

    @property
    def reason(self) -> str | None:
        """Why a model of the source is not fit for such images; None where nothing says so."""
        other = self.contrast >= FLAT and self.shape > OTHER_SHAPE
        if other and self.inverted < NEARER * self.shape:
            return (
                "bright and dark are the other way round than in the source's images (with the "
                f"intensities negated they are nearer, {self.inverted:.2f} instead of "
                f"{self.shape:.2f} standard deviations)"
            )
        if self.distance > FAR:
            return (
                f"the intensities lie {self.distance:.1f} standard deviations from the source's on "
                "average; look whether the images are prepared as the source's were"
            )
        return None


def measure_likeness(
    target: Samples[Sample], source: SourceStatistics, *, batch_size: int = 8
) -> Likeness:
    """Compare a target's intensities with the source's, in two passes and bounded memory.

    Args:
        target: Images without masks, prepared as the source's were.
        source: What the source is like, measured over all pixels or the informative ones.
        batch_size: How many samples are read at once.

    Raises:
        InputError: There are no samples, an image is not finite, or the images have another number
            of channels than the source's.
        LabelledTargetError: A sample has a mask.
    """
    region: Region = None if source.region is None else "informative"
    pooled, features = RegionQuantiles(region, source.quantiles.shape[1]), FeatureCounter()
    for batch, images in _images(target, source, batch_size):
        features.add(batch, images, pooled.count(images))
    again = (images for _, images in _images(target, source, batch_size))
    quantiles, _ = pooled.refined(again)
    found = [_distances(s, t) for s, t in zip(source.quantiles, quantiles, strict=True)]
    worst = max(range(len(found)), key=lambda channel: found[channel].distance)
    shaped = max(range(len(found)), key=lambda channel: found[channel].shape)
    return Likeness(
        found[worst].distance,
        found[shaped].shape,
        found[shaped].inverted,
        _shift(source.features, features.result()),
        found[shaped].contrast,
    )


def _shift(source: ImageFeatures | None, target: ImageFeatures | None) -> float:
    return math.nan if source is None or target is None else source.distance(target)


def _distances(source: NDArray[np.floating], target: NDArray[np.floating]) -> Likeness:
    """Compare two quantile functions ``(Q,)`` at the same levels."""
    old, new = source.astype(np.float64), target.astype(np.float64)
    scale = max(float(old.std()), np.finfo(np.float32).tiny)
    standard, other = _standardised(old), _standardised(new)
    return Likeness(
        float(np.abs(new - old).mean() / scale),
        float(np.abs(other - standard).mean()),
        float(np.abs(-other[::-1] - standard).mean()),
        contrast=float(new.std() / scale),
    )


def _standardised(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = max(float(quantiles.std()), np.finfo(np.float32).tiny)
    standardised: NDArray[np.float64] = (quantiles - quantiles.mean()) / spread
    return standardised


def _images(
    target: Samples[Sample], source: SourceStatistics, batch_size: int
) -> Iterator[tuple[Sequence[Sample], Array]]:
    expected = len(source.quantiles)
    for batch, images in checked(target, batch_size):
        for sample in batch:
            check_unlabelled(sample)
        if images.shape[1] != expected:
            raise InputError(
                f"The images have {images.shape[1]} channels and the source's have {expected}; "
                "give images prepared as the source's were."
            )
        yield batch, images
