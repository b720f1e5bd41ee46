"""Whether a target's images are like the source's, by their intensities alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis

from pladapt import InputError, LabelledSample, Sample, SourceStatistics
from pladapt.errors import LabelledTargetError
from pladapt.source.likeness import measure_likeness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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


@pytest.mark.parametrize(("contrast", "named"), [(0.55, True), (0.45, False)])
def test_images_that_show_little_have_no_polarity(contrast: float, *, named: bool) -> None:
    found = likeness(SKEWED, [2 - contrast * (value - 2) for value in SKEWED])
    assert found.contrast == pytest.approx(contrast)
    assert (found.shape, found.inverted) == pytest.approx((1.2, 0), abs=1e-6)
    assert (found.reason is not None) == named


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
    assert replace(found, shift=0) == replace(likeness(SKEWED, inverted), shift=0)
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


# How far the mean image lies from the source's


def textured(count: int, *, scale: float = 1, blur: int = 1, offset: float = 0) -> list[Sample]:
    """Make images of noise, each of another mean and contrast, as blurred as is asked for."""
    rng = np.random.default_rng(count)
    made = []
    for index in range(count):
        noise = rng.normal(size=(24, 24))
        kernel = np.ones(blur) / blur
        for axis in (0, 1):
            noise = np.apply_along_axis(np.convolve, axis, noise, kernel, mode="same")
        level, contrast = rng.normal(0, 0.5), np.exp(rng.normal(0, 0.2))
        image = offset + level + scale * contrast * noise / noise.std()
        made.append(Sample(f"i{index}", f"g{index}", image[None].astype(np.float32)))
    return made


def shift(source: Sequence[Sample], target: Sequence[Sample]) -> float:
    return measure_likeness(target, SourceStatistics.measure(source, region=None)).shift


def test_other_images_of_the_same_kind_are_at_no_distance() -> None:
    source = textured(40)
    assert shift(source, textured(30)) < 1
    assert shift(source, source[:13]) < 1
    brightest = sorted(source, key=lambda sample: float(np.mean(sample.image)))[-8:]
    assert shift(source, brightest) < 1.75


@pytest.mark.parametrize("change", [{"scale": 3}, {"blur": 3}, {"offset": 3}], ids=str)
def test_another_contrast_texture_or_intensity_is_a_shift(change: dict[str, Any]) -> None:
    assert shift(textured(40), textured(30, **change)) > 1.75


def structure(x: NDArray[np.float64], by: int) -> float:
    down, across = x[by:] - x[:-by], x[:, by:] - x[:, :-by]
    return float(np.sqrt(np.mean(np.concatenate([down.ravel(), across.ravel()]) ** 2)))


def test_the_shift_is_the_distance_of_the_means_in_the_images_own_deviations() -> None:
    """Checked against scipy's, of features that are worked out another way."""
    source, target = textured(40), textured(30, scale=2)
    tables = []
    for images in (source, target):
        pictures = [np.asarray(sample.image[0], np.float64) for sample in images]
        tables.append(
            np.array(
                [
                    [*np.percentile(x, [10, 25, 50, 75, 90]), np.log(x.std())]
                    + [np.log(structure(x, by) / x.std() + 1e-6) for by in (1, 2, 4)]
                    for x in pictures
                ]
            )
        )
    old, new = tables
    floor = np.array([0.05 * np.exp(old[:, 5].mean())] * 5 + [0.05] * 4)
    deviation = np.maximum(old.std(axis=0), floor)
    spread = np.cov(old.T, bias=True) / np.outer(deviation, deviation) + 0.1 * np.eye(9)
    away = mahalanobis(new.mean(0) / deviation, old.mean(0) / deviation, np.linalg.inv(spread))
    expected = np.sqrt(away**2 - 9 * (1 / 40 + 1 / 30))
    assert shift(source, target) == pytest.approx(expected, rel=1e-4)


def test_images_of_one_value_say_nothing_of_a_shift() -> None:
    source = textured(8)
    flat = [Sample(f"f{value}", "f", np.full((1, 24, 24), value, np.float32)) for value in (0, 3)]
    assert np.isnan(shift(source, flat))
    assert np.isnan(shift(flat, source))
    assert shift([*source, *flat], source) == shift(source, source)


def test_few_groups_make_a_shift_less_sure() -> None:
    source, target = textured(40), textured(30, scale=1.6)
    volumes = [replace(sample, group=f"v{index % 2}") for index, sample in enumerate(target)]
    assert shift(source, volumes) < shift(source, target)


def test_features_travel_with_the_statistics(tmp_path: Path) -> None:
    source, target = SourceStatistics.measure(textured(8)), textured(6, scale=3)
    source.save(tmp_path / "source.npz")
    loaded = SourceStatistics.load(tmp_path / "source.npz")
    assert measure_likeness(target, loaded) == measure_likeness(target, source)
