"""How much of the gap was closed, by hand, against scipy, and where it cannot be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pladapt import InputError
from pladapt.functional.overlap import evaluation
from pladapt.reports.gap import gap_closed, gap_table


def measured(hits, *, groups=None, negatives=100, empty=1.0):
    """Evaluate samples of ten true pixels each, of which so many were found and none too many."""
    return evaluation(
        [
            {
                "id": f"s{i}",
                "group": f"p{i}" if groups is None else groups[i],
                "class": 1,
                "tp": hit,
                "fp": 0,
                "fn": 10 - hit,
                "tn": negatives,
            }
            for i, hit in enumerate(hits)
        ],
        empty=empty,
    )


def test_the_share_by_hand():
    # pooled DSC of 2 TP / (TP + 30): 12 of 30 is 24/42, 18 is 36/48, 24 is 48/54
    source, adapted, upper = measured([4, 4, 4]), measured([6, 6, 6]), measured([8, 8, 8])
    found = gap_closed(source, adapted, upper)
    assert found.mean == pytest.approx((36 / 48 - 24 / 42) / (48 / 54 - 24 / 42))
    assert (found.low, found.high, found.groups) == pytest.approx((found.mean, found.mean, 3))
    assert gap_closed(source, adapted, upper, "sen").mean == pytest.approx(0.5)
    assert gap_closed(source, source, upper).mean == 0
    assert gap_closed(source, upper, upper).mean == 1
    assert gap_closed(adapted, source, upper).mean < 0


def test_the_interval_is_scipys_bca_of_groups():
    hits = [(2, 5, 8), (1, 6, 9), (5, 4, 7), (3, 8, 8), (6, 7, 9), (4, 4, 6), (2, 7, 7), (5, 9, 9)]
    ours = gap_closed(*(measured(each) for each in zip(*hits, strict=True)), resamples=40_000)

    def fraction(*found, axis):
        source, adapted, upper = (
            2 * x.sum(axis) / (x.sum(axis) + 10 * x.shape[axis]) for x in map(np.asarray, found)
        )
        return (adapted - source) / (upper - source)

    theirs = stats.bootstrap(
        tuple(zip(*hits, strict=True)),
        fraction,
        paired=True,
        n_resamples=40_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_samples_of_a_group_are_drawn_together():
    groups = ["a", "a", "b", "c"]
    parts = [measured(hits, groups=groups) for hits in ([2, 2, 4, 4], [3, 3, 7, 6], [7, 7, 8, 8])]
    assert gap_closed(*parts).groups == 3


def test_a_group_without_the_metric_does_not_count():
    given = [measured(hits) for hits in ([4, 5], [6, 6], [8, 9])]
    with_negative = [
        evaluation(
            [
                *each.samples.select(["id", "group", "class", "tp", "fp", "fn", "tn"]).to_pylist(),
                {"id": "n", "group": "n", "class": 1, "tp": 0, "fp": 3, "fn": 0, "tn": 9},
            ]
        )
        for each in given
    ]
    assert gap_closed(*with_negative, "sen") == gap_closed(*given, "sen")


def test_where_the_gap_is_not_sure_its_share_has_no_interval():
    source, adapted, upper = measured([5, 5, 5]), measured([6, 6, 6]), measured([9, 4, 4])
    found = gap_closed(source, adapted, upper)
    assert math.isfinite(found.mean)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    row = gap_table(source, adapted, upper).rows[0]
    assert row[5] == "the gap is not sure"
    alone = gap_table(*(measured(hits) for hits in ([5], [6], [9]))).rows[0]
    assert alone[5:] == ("one group alone", "1")


def test_without_a_gap_there_is_no_fraction():
    source, worse = measured([5, 5]), measured([4, 4])
    with pytest.raises(InputError, match="only a better one leaves a gap"):
        gap_closed(source, source, worse)
    with pytest.raises(InputError, match="only a better one leaves a gap"):
        gap_closed(source, source, source)
    assert gap_table(source, source, worse).rows[0][4:] == ("no gap", "", "")


def test_what_cannot_be_compared_is_refused():
    source, upper = measured([4, 4]), measured([8, 8])
    with pytest.raises(InputError, match="on the same samples"):
        gap_closed(source, measured([4, 4, 4]), upper)
    with pytest.raises(InputError, match="on the same samples"):
        gap_closed(source, measured([4, 4], empty=0.0), upper)
    with pytest.raises(InputError, match="There is no metric 'iou'"):
        gap_closed(source, source, upper, "iou")
    with pytest.raises(InputError, match="No group defines 'spc'"):
        gap_closed(*(measured(hits, negatives=0) for hits in ([4], [5], [6])), "spc")


def test_the_table_has_a_row_for_each_class():
    source, adapted, upper = measured([4, 4]), measured([6, 6]), measured([8, 8])
    table = gap_table(source, adapted, upper)
    fraction = gap_closed(source, adapted, upper).mean
    assert table.rows == (
        (
            "1",
            "0.571",
            "0.750",
            "0.889",
            f"{fraction:.0%}",
            f"{fraction:.0%} to {fraction:.0%}",
            "2",
        ),
    )
