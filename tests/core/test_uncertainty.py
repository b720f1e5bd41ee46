from __future__ import annotations

import math
import statistics
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage, stats

from pladapt import InputError, certainty_index, hard_labels
from pladapt.functional.arrays import to_numpy
from pladapt.functional.morphology import eroded, near_boundary
from pladapt.functional.uncertainty import (
    foreground_entropy,
    interior_certainty,
    pairwise_dice,
    soft_dice,
    trimmed_certainty,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn
    from numpy.typing import NDArray

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@st.composite
def maps(draw: DrawFn) -> NDArray[Any]:
    """Draw probabilities of planes or volumes; a softmax where there are several classes."""
    shape = draw(hnp.array_shapes(min_dims=4, max_dims=5, min_side=1, max_side=5))
    values = draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))
    if shape[1] > 1:
        values = (values + 1e-3) / (values + 1e-3).sum(axis=1, keepdims=True)
    return values.astype(draw(st.sampled_from(["float32", "float64"])))


CUTOFFS = st.sampled_from([0.2, 0.5, 0.7])


def planes_of(probabilities: NDArray[Any]) -> NDArray[Any]:
    return probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:]


def naive_means(
    probabilities: NDArray[Any], cutoff: float, value: Any
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Apply a function of (sample, class, mask) to the pixels above the cut-off."""
    planes = planes_of(probabilities)
    scores, pixels = np.full(planes.shape[:2], np.nan), np.zeros(planes.shape[:2], np.int64)
    for b, f in np.ndindex(scores.shape):
        values = value(b, f, planes[b, f] > planes.dtype.type(cutoff))
        pixels[b, f] = len(values)
        if len(values):
            scores[b, f] = math.fsum(values) / len(values)
    return scores, pixels


@given(probabilities=maps(), cutoff=CUTOFFS)
def test_entropy_agrees_with_scipy(xp: Any, probabilities: NDArray[Any], cutoff: float) -> None:
    whole = probabilities.astype(np.float64)
    whole = whole if whole.shape[1] > 1 else np.concatenate([whole, 1 - whole], axis=1)
    each = stats.entropy(whole, base=whole.shape[1], axis=1)
    expected, count = naive_means(probabilities, cutoff, lambda b, _, mask: each[b][mask])
    entropy, pixels = foreground_entropy(xp.asarray(probabilities), cutoff)
    np.testing.assert_array_equal(to_numpy(pixels), count)
    np.testing.assert_allclose(to_numpy(entropy), expected, rtol=1e-4, atol=1e-5)


def test_entropy_at_its_ends() -> None:
    even, sure = np.full((1, 4, 2, 2), 0.25), np.zeros((1, 4, 2, 2))
    sure[:, 2] = 1
    np.testing.assert_allclose(foreground_entropy(even, 0.2)[0], 1)
    np.testing.assert_array_equal(foreground_entropy(sure, 0.2)[0], [[math.nan, 0, math.nan]])
    half = foreground_entropy(np.full((1, 1, 2, 2), 0.5, np.float16), 0.4)[0]
    np.testing.assert_allclose(half, 1)


@given(probabilities=maps(), cutoff=CUTOFFS, band=st.integers(0, 3))
def test_the_interior_agrees_with_scipy_s_erosion(
    xp: Any, probabilities: NDArray[Any], cutoff: float, band: int
) -> None:
    box = np.ones((2 * band + 1,) * (probabilities.ndim - 2))
    planes = planes_of(probabilities)
    expected, count = naive_means(
        probabilities,
        cutoff,
        lambda b, f, mask: planes[b, f][ndimage.binary_erosion(mask, box, border_value=1)],
    )
    ci, pixels = interior_certainty(xp.asarray(probabilities), cutoff, band=band)
    np.testing.assert_array_equal(to_numpy(pixels), count)
    np.testing.assert_allclose(to_numpy(ci), expected, **CLOSE)


@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=6)),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_the_boundary_is_seen_from_both_sides(
    masks: NDArray[np.bool_], band: tuple[int, int]
) -> None:
    near = near_boundary(masks, band)
    np.testing.assert_array_equal(near, near_boundary(~masks, band))
    grown = ndimage.binary_dilation(
        masks, np.ones((1, 1, 2 * band[0] + 1, 2 * band[1] + 1), np.bool_)
    )
    np.testing.assert_array_equal(near, grown & ~eroded(masks, band))


def test_a_square_away_from_its_boundary() -> None:
    values = np.zeros((1, 1, 7, 9))
    values[0, 0, 1:6, 2:7] = 0.6
    values[0, 0, 2:5, 3:6] = 0.9
    ci, pixels = interior_certainty(values, 0.5)
    assert (ci.item(), pixels.item()) == (pytest.approx(0.9), 9)
    ci, pixels = interior_certainty(values, 0.5, band=(0, 2))
    assert (ci.item(), pixels.item()) == (pytest.approx((3 * 0.9 + 2 * 0.6) / 5), 5)
    assert interior_certainty(values, 0.5, band=3)[1].item() == 0


@given(probabilities=maps(), cutoff=CUTOFFS)
def test_trimming_all_gives_the_median_and_nothing_the_certainty_index(
    xp: Any, probabilities: NDArray[Any], cutoff: float
) -> None:
    planes = planes_of(probabilities)
    expected, count = naive_means(
        probabilities,
        cutoff,
        lambda b, f, mask: (
            [statistics.median(map(float, planes[b, f][mask]))] * int(mask.sum())
            if mask.any()
            else []
        ),
    )
    median, pixels = trimmed_certainty(xp.asarray(probabilities), cutoff)
    np.testing.assert_array_equal(to_numpy(pixels), count)
    np.testing.assert_allclose(to_numpy(median), expected, **CLOSE)
    whole, _ = trimmed_certainty(xp.asarray(probabilities), cutoff, trim=0)
    np.testing.assert_allclose(to_numpy(whole), certainty_index(probabilities, cutoff)[0], **CLOSE)


@given(maps(), st.sampled_from([0.1, 0.25, 0.4]))
def test_trimming_agrees_with_scipy(probabilities: NDArray[Any], trim: float) -> None:
    planes = planes_of(probabilities)
    trimmed, _ = trimmed_certainty(probabilities, 0.2, trim=trim)
    for b, f in np.ndindex(trimmed.shape):
        values = planes[b, f][planes[b, f] > planes.dtype.type(0.2)]
        expected = stats.trim_mean(values, trim) if values.size else math.nan
        np.testing.assert_allclose(trimmed[b, f], expected, **CLOSE)


def test_a_few_outliers_do_not_move_the_median() -> None:
    values = np.full((1, 1, 10, 10), 0.7)
    values[0, 0, 0, :9] = 1.0
    assert trimmed_certainty(values)[0].item() == 0.7
    assert trimmed_certainty(values, trim=0.1)[0].item() == pytest.approx(0.7)
    assert certainty_index(values)[0].item() == pytest.approx(0.727)


@given(probabilities=maps(), cutoff=CUTOFFS)
def test_soft_dice_agrees_with_its_formula(
    xp: Any, probabilities: NDArray[Any], cutoff: float
) -> None:
    planes = planes_of(probabilities)
    found, pixels = soft_dice(xp.asarray(probabilities), cutoff)
    for b, f in np.ndindex(planes.shape[:2]):
        mask = planes[b, f] > planes.dtype.type(cutoff)
        number, whole = int(mask.sum()), math.fsum(planes[b, f].flat)
        overlap = math.fsum(planes[b, f][mask])
        expected = 2 * overlap / (whole + number) if number else math.nan
        assert int(pixels[b, f]) == number
        assert float(found[b, f]) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_soft_dice_of_a_certain_mask_is_its_dsc_with_what_is_certain() -> None:
    certain = np.zeros((1, 1, 4, 4))
    certain[..., :2] = 1
    assert soft_dice(certain)[0].item() == 1
    certain[..., 2] = 0.5  # doubt that the mask leaves out
    assert soft_dice(certain)[0].item() == pytest.approx(2 * 8 / (10 + 8))
    assert certainty_index(certain)[0].item() == 1


def naive_dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both, either = int((one & other).sum()), int(one.sum()) + int(other.sum())
    return 2 * both / either if either else 1.0


@given(
    values=st.integers(2, 4).flatmap(
        lambda count: hnp.array_shapes(min_dims=4, max_dims=5, max_side=4).flatmap(
            lambda shape: hnp.arrays(np.float64, (count, *shape), elements=st.floats(0, 1))
        )
    ),
    cutoff=CUTOFFS,
)
def test_pairwise_dice_agrees_with_counting_each_pair(
    xp: Any, values: NDArray[Any], cutoff: float
) -> None:
    labels = np.stack([hard_labels(member, cutoff) for member in values])
    found = to_numpy(pairwise_dice(xp.asarray(values), cutoff))
    assert found.shape == (values.shape[1], max(1, values.shape[2] - 1))
    for b, f in np.ndindex(found.shape):
        masks = labels[:, b] == f + 1
        expected = [naive_dice(one, other) for one, other in combinations(masks, 2)]
        assert found[b, f] == pytest.approx(math.fsum(expected) / len(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: interior_certainty(p, band=-1), "band is -1 pixels wide"),
        (lambda p: interior_certainty(p, band=(1, 1, 1)), "3 widths for 2 spatial axes"),
        (lambda p: trimmed_certainty(p, trim=0.6), r"trim is 0.6; it must lie in \[0, 0.5\]"),
        (lambda p: trimmed_certainty(p, trim=math.nan), "trim is nan"),
        (lambda p: pairwise_dice(p[None]), "at least two members"),
        (pairwise_dice, "expected .member, batch"),
        (lambda p: foreground_entropy(p * 2), "sample 1 of the batch hold NaN or values outside"),
        (lambda p: interior_certainty(p * np.nan), "sample 0 of the batch"),
        (lambda p: trimmed_certainty(-p), "sample 1 of the batch"),
        (lambda p: soft_dice(p * 2), "sample 1 of the batch"),
    ],
)
def test_what_cannot_be_computed_is_refused(call: Any, message: str) -> None:
    probabilities = np.zeros((2, 1, 4, 4))
    probabilities[1] = 1
    with pytest.raises(InputError, match=message):
        call(probabilities)
