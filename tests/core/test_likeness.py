"""Whether a target's images are like the source's, by their intensities alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError, LabelledSample, Sample, SourceStatistics
from pladapt.errors import LabelledTargetError
from pladapt.source.likeness import measure_likeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.source.likeness import Likeness

FLAT = [0.0, 1, 2, 3, 4]  # a mean of 2 and a standard deviation of the square root of 2
SKEWED = [0.0, 0, 0, 0, 10]  # a mean of 2 and a standard deviation of 4


def samples(*images: Any) -> list[Sample]:
    return [
        Sample(f"s{index}", "p", np.asarray(image, np.float32))
        for index, image in enumerate(images)
    ]


def source_of(*channels: Sequence[float]) -> SourceStatistics:
    """Measure one image of a row for each channel, a quantile for each pixel."""
    image = [[row] for row in channels]
    return SourceStatistics.measure(samples(image), region=None, levels=len(channels[0]))


def likeness(source: Sequence[float], target: Sequence[float]) -> Likeness:
    return measure_likeness(samples([[target]]), source_of(source))


def test_the_distance_is_the_mean_one_of_the_quantiles_in_the_source_s_deviations() -> None:
    shifted = likeness(FLAT, [2.0, 3, 4, 5, 6])
    assert shifted.distance == pytest.approx(2 / np.sqrt(2))
    assert (shifted.shape, shifted.inverted) == pytest.approx((0, 0))
    wider = likeness(FLAT, [-2.0, 0, 2, 4, 6])
    assert wider.distance == pytest.approx((2 + 1 + 0 + 1 + 2) / 5 / np.sqrt(2))
    assert wider.shape == pytest.approx(0)
    assert shifted.reason is wider.reason is None


def test_images_like_the_source_s_are_at_no_distance() -> None:
    found = likeness(SKEWED, SKEWED[::-1])  # in other places
    assert (found.distance, found.shape) == (0, 0)
    assert found.reason is None


def test_an_inverted_polarity_is_named_with_its_distances() -> None:
    found = likeness(SKEWED, [10.0 - value for value in SKEWED])
    # standardised, the quantiles are -0.5 four times and 2, and -2 and 0.5 four times
    assert found.shape == pytest.approx((1.5 + 1 + 1 + 1 + 1.5) / 5)
    assert found.inverted == pytest.approx(0)
    assert found.reason is not None
    assert "the other way round" in found.reason
    assert "0.00 instead of 1.20 standard deviations" in found.reason


def test_intensities_far_from_the_source_s_are_named_with_their_distance() -> None:
    near, far = (likeness(FLAT, [value + by for value in FLAT]) for by in (2.8, 2.9))
    assert near.reason is None
    assert far.reason is not None
    assert "lie 2.1 standard deviations from the source's" in far.reason


def test_another_shape_alone_is_no_reason() -> None:
    rounder = likeness(SKEWED, [0.0, 4, 5, 6, 10])
    assert rounder.shape > 0.4
    assert rounder.inverted == pytest.approx(rounder.shape)
    assert rounder.reason is None


def test_a_target_of_one_value_has_no_polarity() -> None:
    skewed = 200 * SKEWED[:4] + [10.0]
    for value in (0.1, 3.3, -1e4):
        found = likeness(skewed, [value] * len(skewed))
        assert found.shape == pytest.approx(found.inverted)
        assert found.shape < 0.1


def test_of_several_channels_the_worst_decides() -> None:
    source = source_of(FLAT, SKEWED)
    inverted = [10 - value for value in SKEWED]
    found = measure_likeness(samples([[FLAT], [inverted]]), source)
    assert found == likeness(SKEWED, inverted)
    shifted = [value + 4 for value in FLAT]
    found = measure_likeness(samples([[shifted], [SKEWED]]), source)
    assert found.distance == likeness(FLAT, shifted).distance
    both = measure_likeness(samples([[shifted], [inverted]]), source)
    assert both.distance == likeness(FLAT, shifted).distance
    assert both.inverted == pytest.approx(0)


def test_a_constant_background_counts_where_the_source_s_does() -> None:
    inside = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    framed = np.pad(inside, ((0, 0), (8, 8), (8, 8)), constant_values=-9)
    for region, same in (("informative", True), (None, False)):
        source = SourceStatistics.measure(samples(inside), region=region)  # type: ignore[arg-type]  # a literal
        found = measure_likeness(samples(framed), source)
        assert (found.distance == 0) == same


@given(
    st.lists(st.lists(st.floats(-5, 5, width=16), min_size=6, max_size=6), min_size=4, max_size=4),
    st.permutations(range(4)),
    st.integers(1, 5),
)
def test_neither_the_order_nor_the_batches_matter(
    rows: list[list[float]], order: list[int], batch_size: int
) -> None:
    target, source = samples(*([[row]] for row in rows)), source_of(FLAT)
    found = measure_likeness([target[place] for place in order], source, batch_size=batch_size)
    assert found == measure_likeness(target, source)


@given(
    st.lists(st.integers(-20, 20), min_size=6, max_size=6),
    st.floats(0.25, 4),
    st.floats(-3, 3),
)
def test_scale_and_offset_change_no_shape_and_a_negative_swaps_it_with_the_inverted(
    row: list[int], gain: float, offset: float
) -> None:
    source = [0.0, 0, 1, 1, 2, 9]
    plain = likeness(source, row)
    moved = likeness(source, [gain * value + offset for value in row])
    assert (moved.shape, moved.inverted) == pytest.approx((plain.shape, plain.inverted), abs=1e-4)
    turned = likeness(source, [-value for value in row])
    assert (turned.shape, turned.inverted) == pytest.approx((plain.inverted, plain.shape), abs=1e-4)


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="have 2 channels and the source's have 1"):
        measure_likeness(samples([[FLAT], [FLAT]]), source_of(FLAT))


def test_masks_an_empty_target_and_what_is_not_finite_are_refused() -> None:
    source = source_of(FLAT)
    labelled: Any = [LabelledSample("s", "p", np.zeros((1, 1, 5)), np.zeros((1, 5), int))]
    with pytest.raises(LabelledTargetError, match="has a mask"):
        measure_likeness(labelled, source)
    with pytest.raises(InputError, match="no samples"):
        measure_likeness([], source)
    with pytest.raises(InputError, match="holds NaN"):
        measure_likeness(samples([[[0.0, 1, np.nan, 3, 4]]]), source)
