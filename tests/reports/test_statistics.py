"""The bootstrap by group and Wilcoxon's test, against scipy, by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pladapt import InputError
from pladapt.reports.statistics import (
    bootstrap_interval,
    bootstrap_statistic,
    paired_change,
    wilcoxon,
)

SKEWED = np.array([0.01, 0.02, 0.02, 0.05, 0.08, 0.11, 0.13, 0.21, 0.34, 0.55, 0.72, 0.9])


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_without_groups_it_is_scipys_bca(level):
    ours = bootstrap_interval(SKEWED, level=level, resamples=60_000)
    theirs = stats.bootstrap(
        (SKEWED,), np.mean, confidence_level=level, n_resamples=60_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert ours.mean == pytest.approx(SKEWED.mean())


def test_another_statistic_has_scipys_bca_too():
    above, below = SKEWED, SKEWED[::-1] + 0.3
    ours = bootstrap_statistic(
        lambda drawn: (drawn @ above) / (drawn @ below), len(SKEWED), resamples=60_000
    )
    theirs = stats.bootstrap(
        (above, below),
        lambda x, y, axis: x.mean(axis) / y.mean(axis),
        paired=True,
        n_resamples=60_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours.mean == pytest.approx(above.sum() / below.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_two_groups_by_hand():
    # drawing two of the groups (0, 0) and (3,) gives the means 0, 1, 1 and 3
    interval = bootstrap_interval([0.0, 0.0, 3.0], ["a", "a", "b"], resamples=2000)
    assert interval == (1.0, 0.0, 3.0, 2)


def test_values_that_repeat_their_groups_mean_change_nothing():
    values, groups = np.repeat(SKEWED, 5), [str(i) for i in range(len(SKEWED)) for _ in range(5)]
    by_group = bootstrap_interval(values, groups, resamples=20_000)
    alone = bootstrap_interval(SKEWED, resamples=20_000)
    assert by_group[:3] == pytest.approx(alone[:3], abs=0.01)
    assert by_group.groups == len(SKEWED)


def simulate(rng):
    """Draw 25 patients, each with 1 to 8 slices that share the patient's own effect."""
    sizes = rng.integers(1, 9, 25)
    groups = np.repeat(np.arange(25), sizes)
    values = rng.normal(0, 1, 25)[groups] + rng.normal(0, 0.3, len(groups))
    return values, [str(group) for group in groups]


def test_the_interval_holds_the_truth_as_often_as_it_says_and_without_groups_it_does_not():
    rng = np.random.default_rng(7)
    held = np.zeros(2)
    trials = 300
    for _ in range(trials):
        values, groups = simulate(rng)
        for which, by in enumerate((groups, None)):
            interval = bootstrap_interval(values, by, level=0.9, resamples=300)
            held[which] += interval.low <= 0 <= interval.high
    by_group, by_value = held / trials
    assert 0.83 < by_group < 0.95
    assert by_value < 0.7


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20),
    st.integers(0, 2**31),
    st.data(),
)
def test_the_interval_lies_within_the_groups_means_and_does_not_depend_on_the_order(
    values, seed, data
):
    groups = [data.draw(st.sampled_from("abcd")) for _ in values]
    interval = bootstrap_interval(values, groups, resamples=50, seed=seed)
    order = np.random.default_rng(seed).permutation(len(values))
    shuffled = bootstrap_interval(
        np.array(values)[order], [groups[i] for i in order], resamples=50, seed=seed
    )
    assert np.array_equal(interval, shuffled, equal_nan=True)
    if interval.groups == 1:
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
    else:
        means = [
            np.mean([v for v, g in zip(values, groups, strict=True) if g == k])
            for k in "abcd"
            if k in groups
        ]
        assert min(means) - 1e-6 <= interval.low <= interval.high <= max(means) + 1e-6


@pytest.mark.parametrize(
    ("values", "groups", "level"),
    [([], None, 0.9), ([math.nan], None, 0.9), ([1.0], ["a", "b"], 0.9), ([1.0], None, 95)],
)
def test_what_has_no_interval_is_refused(values, groups, level):
    with pytest.raises(InputError, match=r"at least one|groups|level"):
        bootstrap_interval(values, groups, level=level)


def test_wilcoxon_by_hand():
    # all five positive: one of 2^5 sign patterns on either side
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.0]) == pytest.approx(2 / 2**5)
    assert wilcoxon([0.0, 0.0]) == 1.0


def test_paired_values_are_compared_where_both_are_defined():
    change = paired_change([0.5, 0.5, np.nan, 0.9], [0.7, 0.5, 0.4, 0.8])
    assert change is not None
    assert change.interval.mean == pytest.approx(0.1 / 3)
    assert (change.interval.groups, change.better, change.worse) == (3, 1, 1)
    assert change.interval.low <= change.interval.mean <= change.interval.high
    assert paired_change([np.nan], [0.5]) is None
    with pytest.raises(InputError, match="pairs"):
        paired_change([0.5], [0.5, 0.6])
