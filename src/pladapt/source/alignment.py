"""Alignments: target images made to look like the source's, by stored numbers about the source.

An alignment is a callable from images ``(B, C, *S)`` to images of the same shape, dtype, library
and device. It is frozen and keeps no state: an image is aligned the same alone and in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.functional.certainty import widest_float
from pladapt.functional.intensities import (
    MonotoneMap,
    check_images,
    interpolate,
    over_pixels,
    region_name,
    split,
)
from pladapt.functional.spectra import add_low_frequencies, half_width, low_frequencies
from pladapt.source.measuring import MAX_FREQUENCY, RegionQuantiles, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pladapt.functional.intensities import Region
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Array, Sample, Samples


@dataclass(frozen=True, eq=False)
class QuantileMatching:
    """Maps the target's intensities to the source's by one monotone map for the whole target.

    In the region, the target's quantiles go to the source's, and what lies between to between; an
    intensity beyond any that the fit has seen goes to the source's end. What one intensity means
    stays the same in every image, so differences between images remain.

    Outside the region pixels stay as they are. Only the constant background, which differs from
    image to image where images are normalised one by one, is mapped as well: the target's
    backgrounds, one number an image, to the source's, by their quantiles. So a monotone change of
    the target's intensities changes nothing.

    Made by `fit`.

    Args:
        intensities: The map of the pixels in the region.
        background: The map of the backgrounds, or None where the source or the target has none.
        region: Which pixels are mapped.
    """

    intensities: MonotoneMap
    background: MonotoneMap | None
    region: Region = "informative"

    @classmethod
    def fit(
        cls,
        target: Samples[Sample],
        source: SourceStatistics,
        *,
        region: Callable[[Any], Any] | None = None,
        batch_size: int = 8,
    ) -> Self:
        """Measure the target's quantiles, in two passes over it and bounded memory.

        The result does not depend on the samples' order, nor on the size of the batches.

        Args:
            target: Images without masks, prepared as the source's were.
            source: What the source is like.
            region: The function that the source was measured with, where it was one.
            batch_size: How many samples are read at once.

        Raises:
            InputError: There are no samples, or none has a pixel in the region; an image is not
                finite, or has other channels than the source's; or the region is not the source's.
            LabelledTargetError: A sample has a mask.
        """
        chosen = _same_region(source, region)
        pooled = RegionQuantiles(chosen, source.quantiles.shape[1])
        for images in _images(target, source, batch_size):
            pooled.count(images)
        knots, backgrounds = pooled.refined(_images(target, source, batch_size))
        background = None
        if backgrounds is not None and source.background is not None:
            background = MonotoneMap(backgrounds, source.background)
        return cls(MonotoneMap(knots, source.quantiles), background, chosen)

    def __call__(self, images: Array, /) -> Array:
        """Return images ``(B, C, *S)`` with their intensities mapped.

        Raises:
            InputError: Other channels than those of the fit, or not floating point of that shape.
        """
        inside, constants = split(images, self.region)
        return _put_together(images, self.intensities(images), inside, constants, self.background)


@dataclass(frozen=True, eq=False)
class HistogramMatching:
    """Gives every image, by itself, the source's distribution of intensities.

    A pixel's intensity becomes the source's quantile at the fraction of the image's own region that
    lies below it (of equal ones, half counts). In contrast to `QuantileMatching` each image has a
    map of its own, so differences between images go, those that mean something included: an image
    without a lesion gets as many bright pixels as the source has on average. The constant
    background becomes the source's median one; what else is outside the region stays as it is.

    Made by `fit`.

    Args:
        quantiles: ``(C, Q)``, the source's, at evenly spaced levels from 0 to 1.
        background: The map of the backgrounds, or None where the source has none.
        region: Which pixels are mapped.
    """

    quantiles: NDArray[np.floating]
    background: MonotoneMap | None
    region: Region = "informative"

    @classmethod
    def fit(
        cls,
        target: Samples[Sample],
        source: SourceStatistics,
        *,
        region: Callable[[Any], Any] | None = None,
    ) -> Self:
        """Take the source's distribution; the target's first image is compared with it.

        Args:
            target: Images without masks, prepared as the source's were.
            source: What the source is like.
            region: The function that the source was measured with, where it was one.

        Raises:
            InputError: There are no samples, the first has other channels than the source's, or
                the region is not the source's.
            LabelledTargetError: The first sample has a mask.
        """
        _first(target, source)
        middle = None
        if source.background is not None:
            place = (source.background.shape[1] - 1) // 2
            median = source.background[:, place : place + 1]
            middle = MonotoneMap(median, median)
        return cls(source.quantiles, middle, _same_region(source, region))

    def __call__(self, images: Array, /) -> Array:
        """Return images ``(B, C, *S)``, each with the source's distribution.

        Raises:
            InputError: Other channels than those of the fit, or not floating point of that shape.
        """
        inside, constants = split(images, self.region)
        _check_channels(images.shape[1], len(self.quantiles))
        xp = array_namespace(images)
        mapped = [
            xp.stack(
                [
                    _matched(images[index, channel, ...], inside[index, ...], quantiles)
                    for channel, quantiles in enumerate(self.quantiles)
                ]
            )
            for index in range(images.shape[0])
        ]
        return _put_together(images, xp.stack(mapped), inside, constants, self.background)


@dataclass(frozen=True, eq=False)
class FourierAmplitude:
    """Gives images the source's mean amplitude at the lowest frequencies, and leaves the phase.

    The low frequencies are what light, contrast and coil or detector make of a picture; what is
    where is in the phase. They are counted in cycles per image, so images of another size than the
    source's can be aligned, if they show as much. The whole image is changed, whatever the region:
    a constant background does not stay constant. Source: Y. Yang and S. Soatto, "FDA: Fourier
    Domain Adaptation for Semantic Segmentation", CVPR 2020, with the mean over the source in the
    place of one of its images.

    Made by `fit`.

    Args:
        amplitude: ``(C, 2 h + 1, ...)``, the source's, up to ``h`` cycles per image along each
            axis, as `pladapt.functional.spectra.low_frequencies` orders and scales them.
    """

    amplitude: NDArray[np.floating]

    @classmethod
    def fit(
        cls, target: Samples[Sample], source: SourceStatistics, *, fraction: float = 0.01
    ) -> Self:
        """Take the source's amplitude; the target's first image is compared with it.

        Args:
            target: Images without masks, prepared as the source's were.
            source: What the source is like.
            fraction: The highest frequency that is replaced, as a fraction of the source images'
                shortest axis, in [0, 0.1]; rounded down. 0 replaces the mean alone.

        Raises:
            InputError: The fraction is outside that range; the source's images were of several
                shapes; there are no samples, or the first has other channels or axes than the
                source's.
            LabelledTargetError: The first sample has a mask.
        """
        if not 0 <= fraction <= MAX_FREQUENCY:
            raise InputError(f"fraction is {fraction}; it must lie in [0, {MAX_FREQUENCY}].")
        if source.amplitude is None or source.shape is None:
            raise InputError(
                "The source has no amplitude, as its images were of several shapes; measure it on "
                "images of one shape."
            )
        if _first(target, source).image.ndim != 1 + len(source.shape):
            raise InputError(
                f"The target's images have shape {tuple(target[0].image.shape)} and the source's "
                f"spatial shape was {source.shape}; give images with as many axes."
            )
        stored, half = source.amplitude.shape[1] // 2, half_width(fraction, source.shape)
        window = (slice(stored - half, stored + half + 1),) * len(source.shape)
        return cls(source.amplitude[:, *window])

    def __call__(self, images: Array, /) -> Array:
        """Return images ``(B, C, *S)`` with the source's amplitude at low frequencies.

        Raises:
            InputError: Other channels or axes than those of the fit, too few pixels along an axis
                for these frequencies, or not floating point of that shape.
        """
        check_images(images)
        _check_channels(images.shape[1], len(self.amplitude))
        window = self.amplitude.shape[1:]
        if images.ndim - 2 != len(window) or min(images.shape[2:]) < window[0]:
            raise InputError(
                f"The images have shape {tuple(images.shape)}; expected {len(window)} spatial axes "
                f"of at least {window[0]} pixels."
            )
        xp = array_namespace(images)
        before = low_frequencies(images, window[0] // 2)
        modulus = xp.abs(before)
        wished = xp.asarray(self.amplitude, dtype=modulus.dtype, device=device(before))
        still = modulus == 0  # no phase: the wave starts at its crest
        phase = before / xp.where(still, xp.ones_like(modulus), modulus)
        after = xp.where(still, xp.ones_like(before), phase) * wished
        return add_low_frequencies(images, after - before)


def _put_together(
    images: Array, mapped: Array, inside: Array, constants: Array, background: MonotoneMap | None
) -> Array:
    """Take the mapped pixels in the region, and the images' own or their mapped background."""
    xp = array_namespace(images)
    outside = images
    if background is not None:
        moved = xp.where(xp.isnan(constants), constants, background(constants))
        moved = over_pixels(moved, images.ndim)
        outside = xp.where(xp.isnan(moved), images, moved)
    return xp.where(xp.expand_dims(inside, axis=1), mapped, outside)


def _matched(plane: Array, inside: Array, quantiles: NDArray[np.floating]) -> Array:
    """Give the pixels of a plane ``(*S)`` that are inside the distribution with these quantiles."""
    xp = array_namespace(plane)
    values = xp.astype(xp.reshape(plane, (-1,)), xp.result_type(plane.dtype, xp.float32))
    mask = xp.reshape(inside, (-1,))
    # what is outside stands behind the rest, where it changes no rank
    rising = xp.sort(xp.where(mask, values, xp.full_like(values, xp.inf)))
    ranks = [xp.searchsorted(rising, values, side=side) for side in ("left", "right")]
    pixels = max(1, int(xp.sum(xp.astype(mask, xp.int64))))
    fraction = xp.astype(ranks[0] + ranks[1], widest_float(values)) / (2 * pixels)
    matched = interpolate(fraction, np.linspace(0, 1, len(quantiles)), quantiles)
    return xp.astype(xp.reshape(matched, plane.shape), plane.dtype)


def _same_region(source: SourceStatistics, given: Callable[[Any], Any] | None) -> Region:
    """Return the region that the source was measured over."""
    if given is None and source.region == "informative":
        return "informative"
    if region_name(given) != source.region:
        raise InputError(
            f"The source was measured over the region {source.region!r} and region is "
            f"{region_name(given)!r}; give the function that the source was measured with, or none "
            "where it was none."
        )
    return given


def _first(target: Samples[Sample], source: SourceStatistics) -> Sample:
    """Return the target's first sample, if it can be aligned with the source."""
    if len(target) == 0:
        raise InputError("The target is empty; give at least one unlabelled sample.")
    check_unlabelled(target[0])
    _check_channels(target[0].image.shape[0], len(source.quantiles))
    return target[0]


def _images(target: Samples[Sample], source: SourceStatistics, batch_size: int) -> Iterator[Array]:
    _first(target, source)
    for batch, images in checked(target, batch_size):
        for sample in batch:
            check_unlabelled(sample)
        yield images


def _check_channels(given: int, expected: int) -> None:
    if given != expected:
        raise InputError(
            f"The images have {given} channels and the source's have {expected}; give images "
            "prepared as the source's were."
        )
