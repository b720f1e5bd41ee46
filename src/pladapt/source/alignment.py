"""Alignments: target images made to look like the source's, by stored numbers about the source.

An alignment is a callable from images ``(B, C, *S)`` to images of the same shape, dtype, library
and device. It is frozen and keeps no state: an image is aligned the same alone and in any batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from array_api_compat import array_namespace

from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.functional.intensities import (
    MonotoneMap,
    over_pixels,
    region_name,
    split,
)
from pladapt.source.measuring import RegionQuantiles, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
