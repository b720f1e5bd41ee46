from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pladapt
from pladapt import Choice, InputError, Prediction, compose, rank
from pladapt.selection.certain_negatives import CertainNegativesSelector
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.random_control import RandomSelector
from pladapt.testing import SelectorContract
from pladapt.testing.checks import some_prediction

COLUMNS = ("id", "group", "score", "pixels", "pixels_1", "pixels_2")
ROWS = st.lists(
    st.tuples(
        st.text("abc0123", max_size=4),
        st.sampled_from(["p1", "p2", "p3"]),
        st.sampled_from([0.25, 0.5, 0.75, math.nan]) | st.floats(0, 1),
        st.integers(0, 90),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
    unique_by=lambda row: row[0],
    max_size=30,
)
AMOUNTS = st.integers(1, 20) | st.floats(0, 1, exclude_min=True)
CHOICES = st.builds(
    Choice,
    min_pixels=st.none() | st.integers(0, 40),
    limit=st.none() | st.floats(0, 1),
    quantile=st.none() | st.floats(0, 1, exclude_max=True),
    top_k=AMOUNTS,
    spread=st.permutations(["group", "size", "class"]).flatmap(
        lambda names: st.integers(0, 3).map(lambda count: tuple(names[:count]))
    ),
    sizes=st.integers(1, 4),
)


def table(rows: list[Any]) -> pa.Table:
    types = (pa.string(), pa.string(), pa.float64(), *[pa.int64()] * 3)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    return pa.table({n: pa.array(c, t) for n, c, t in zip(COLUMNS, columns, types, strict=True)})


@given(ROWS, CHOICES, st.randoms())
def test_the_order_of_the_samples_does_not_matter(
    rows: list[Any], choice: Choice, random: Any
) -> None:
    before = choice.select(table(rows))
    random.shuffle(rows)
    after = choice.select(table(rows))
    assert after.kept == before.kept
    assert after.dropped == before.dropped


@given(ROWS, CHOICES)
def test_every_sample_is_kept_or_dropped_by_one_rule(rows: list[Any], choice: Choice) -> None:
    scores = table(rows)
    selection = choice.select(scores)
    assert selection.table["id"].equals(scores["id"])
    assert sum(selection.counts.values()) == len(rows)
    assert selection.counts["kept"] == len(selection.kept)
    assert {*selection.kept, *selection.dropped} == {row[0] for row in rows}
    score = {row[0]: row[2] for row in rows}
    assert list(selection.kept) == sorted(selection.kept, key=lambda i: (-score[i], i))


@given(ROWS, CHOICES)
def test_a_spread_changes_who_is_kept_but_not_how_many(rows: list[Any], choice: Choice) -> None:
    spread, plain = choice.select(table(rows)), replace(choice, spread=()).select(table(rows))
    assert len(spread.kept) == len(plain.kept)
    displaced = {id_ for id_, rule in spread.dropped.items() if rule == "spread"}
    assert displaced == {*plain.kept} - {*spread.kept}
    assert "spread" not in plain.counts


@given(ROWS, st.integers(1, 20), st.none() | st.integers(0, 40))
def test_numbers_alone_are_the_rules_of_rank(
    rows: list[Any], top_k: int, min_pixels: int | None
) -> None:
    chosen = Choice(min_pixels=min_pixels, limit=0.3, top_k=top_k).select(table(rows))
    assert chosen.table.equals(
        rank(table(rows), min_pixels=min_pixels, limit=0.3, top_k=top_k).table
    )


@given(ROWS, st.integers(1, 20), st.sampled_from(["group", "class"]))
def test_places_are_shared_out_evenly(rows: list[Any], top_k: int, stratum: Any) -> None:
    """No stratum has two places more than another that has samples left."""
    scores = table(rows)
    selection = Choice(top_k=top_k, spread=(stratum,)).select(scores)
    candidates = [row for row in rows if not math.isnan(row[2])]
    # who shows no class goes with the first one
    assume(stratum == "group" or all(row[4] + row[5] for row in candidates))
    shown = [sum(row[4 + c] > 0 for row in candidates) for c in range(2)]

    def stratum_of(row: Any) -> object:
        if stratum == "group":
            return row[1]
        return min((shown[c], c) for c in range(2) if row[4 + c] > 0)

    of = {row[0]: stratum_of(row) for row in candidates}
    kept, all_ = Counter(of[id_] for id_ in selection.kept), Counter(of.values())
    for one in all_:
        for other in all_:
            assert kept[one] <= kept[other] + 1 or kept[other] == all_[other]


def test_one_patient_does_not_fill_the_set() -> None:
    rows = [(f"a{n}", "a", 0.9 - n / 100, 50, 0, 0) for n in range(8)]
    rows += [("b0", "b", 0.6, 50, 0, 0), ("c0", "c", 0.5, 50, 0, 0)]
    plain = Choice(top_k=4).select(table(rows))
    assert plain.kept == ("a0", "a1", "a2", "a3")
    spread = Choice(top_k=4, spread=["group"]).select(table(rows))
    assert spread.kept == ("a0", "a1", "b0", "c0")
    assert spread.dropped["a2"] == spread.dropped["a3"] == "spread"
    assert spread.dropped["a4"] == "top_k"


def test_sizes_take_turns_within_a_patient() -> None:
    pixels = {"a0": 91, "a1": 92, "a2": 10, "a3": 11, "b0": 93, "b1": 94, "b2": 12, "b3": 13}
    rows = [(name, name[0], 0.9 - n / 100, p, 0, 0) for n, (name, p) in enumerate(pixels.items())]
    choice = Choice(top_k=4, spread=["group", "size"], sizes=2)
    assert choice.select(table(rows)).kept == ("a0", "a2", "b0", "b2")


def test_a_rare_class_has_its_turns() -> None:
    rows = [(f"x{n}", "p", 0.9 - n / 100, 50, 1, 0) for n in range(6)]
    rows += [("y0", "p", 0.2, 50, 1, 1), ("y1", "p", 0.1, 50, 0, 1)]
    assert Choice(top_k=4, spread=["class"]).select(table(rows)).kept == ("x0", "x1", "y0", "y1")
    single = table(rows).drop_columns(["pixels_1", "pixels_2"])
    assert Choice(top_k=2, spread=["class"]).select(single).kept == ("x0", "x1")


def test_shares_and_quantiles_are_of_what_passed_before() -> None:
    rows = [(f"s{n}", "p", n / 10, 50, 0, 0) for n in range(10)] + [("z", "p", 1.0, 3, 0, 0)]
    half = Choice(min_pixels=10, top_k=0.5).select(table(rows))
    assert half.counts == {"kept": 5, "min_pixels": 1, "top_k": 5}
    upper = Choice(min_pixels=10, quantile=0.75).select(table(rows))
    assert upper.kept == ("s9", "s8", "s7")
    assert upper.counts == {"kept": 3, "min_pixels": 1, "quantile": 7}
    both = Choice(min_pixels=10, quantile=0.75, top_k=0.01).select(table(rows))
    assert both.counts == {"kept": 1, "min_pixels": 1, "quantile": 7, "top_k": 2}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"top_k": 0}, "top_k is 0; give a number from 1"),
        ({"top_k": 1.5}, "top_k is 1.5"),
        ({"top_k": math.nan}, "top_k is nan"),
        ({"quantile": 1.0}, "quantile is 1.0"),
        ({"spread": ["group"]}, "give top_k as well"),
        ({"spread": ["patient"], "top_k": 1}, "Cannot spread over 'patient'"),
        ({"sizes": 0}, "sizes is 0"),
    ],
)
def test_parameters_outside_their_range_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Choice(**parameters)


def test_a_missing_column_is_named() -> None:
    scores = table([("a", "p", 0.5, 1, 0, 0)])
    for stratum, missing in (("group", "group"), ("size", "pixels")):
        choice = Choice(top_k=1, spread=[stratum])  # type: ignore[list-item]  # one of the literals
        with pytest.raises(InputError, match=f"no column '{missing}'"):
            choice.select(scores.drop_columns(missing))


# Composition


class TestComposed(SelectorContract):
    @pytest.fixture(params=[(), ("group", "size", "class")])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        choice = Choice(top_k=0.7, quantile=0.2, spread=request.param)
        return compose(NeighbourAgreementSelector(min_pixels=1, cutoff=0.4), select=choice)


def test_what_is_not_replaced_is_the_selector_s() -> None:
    selector = CertaintyIndexSelector(cutoff=0.4, min_pixels=3, top_k=2)
    prediction = some_prediction((5, 1, 6, 6))
    composed = compose(selector)
    scores = pa.table({"id": list(prediction.ids)} | dict(composed.score(prediction)))
    assert composed.rescore(scores) is scores
    assert composed.select(scores).table.equals(selector.select(scores).table)
    np.testing.assert_array_equal(composed.label(prediction), selector.label(prediction))
    other = compose(selector, select=Choice(top_k=1), label=CertaintyIndexSelector(cutoff=0.9))
    assert len(other.select(scores).kept) == 1
    assert other.label(prediction).sum() < selector.label(prediction).sum()


# Certain negatives


class TestCertainNegatives(SelectorContract):
    @pytest.fixture(params=[1, 0.5])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        inner = NeighbourAgreementSelector(cutoff=0.4, min_pixels=1, top_k=3)
        return CertainNegativesSelector(selector=inner, amount=request.param)


def negatives_and_positives(*peaks: float) -> Prediction:
    maps = np.zeros((len(peaks), 1, 4, 4))
    maps[:, 0, 1, 1:3] = np.array(peaks)[:, None]
    return Prediction(tuple(f"s{n}" for n in range(len(peaks))), maps)


def select(selector: Any, prediction: Prediction) -> pladapt.Selection:
    scores = pa.table({"id": list(prediction.ids)} | dict(selector.score(prediction)))
    selection: pladapt.Selection = selector.select(scores)
    return selection


def test_the_emptiest_samples_are_kept_beside_the_surest() -> None:
    prediction = negatives_and_positives(0.9, 0.02, 0.7, 0.0, 0.3, 0.1, 0.6)
    inner = CertaintyIndexSelector(min_pixels=1, top_k=2)
    selector = CertainNegativesSelector(selector=inner, amount=2)
    selection = select(selector, prediction)
    assert selection.kept == ("s0", "s2", "s3", "s1")
    assert selection.dropped == {"s4": "min_pixels", "s5": "negatives", "s6": "top_k"}
    np.testing.assert_allclose(
        selector.score(prediction)["score"], [0.9, 0.98, 0.7, 1.0, np.nan, 0.9, 0.6]
    )
    half = select(replace(selector, amount=0.5), prediction)
    assert half.kept == ("s0", "s2", "s3")


def test_nothing_is_learnt_from_negatives_alone() -> None:
    inner = CertaintyIndexSelector(min_pixels=1)
    for amount in (3, 1.0):
        selector = CertainNegativesSelector(selector=inner, amount=amount)
        selection = select(selector, negatives_and_positives(0.0, 0.05, 0.4))
        assert selection.counts == {"kept": 0, "negatives": 2, "min_pixels": 1}


def test_a_negative_s_label_has_no_foreground_whatever_the_labelling() -> None:
    inner = CertaintyIndexSelector(cutoff=0.05, min_pixels=1)
    selector = CertainNegativesSelector(selector=inner)
    labels = selector.label(negatives_and_positives(0.08, 0.5))
    assert [label.sum() for label in labels] == [0, 2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"ceiling": 0}, "ceiling is 0"), ({"amount": 0}, "amount is 0"), ({"amount": 2.0}, "2.0")],
)
def test_an_impossible_amount_or_ceiling_is_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CertainNegativesSelector(selector=CertaintyIndexSelector(), **parameters)


# Chance


class TestRandom(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        return RandomSelector(cutoff=0.4, min_pixels=5, top_k=3, seed=1)


def test_chance_is_uniform_seeded_and_blind_to_the_prediction() -> None:
    ids = tuple(f"s{n}" for n in range(400))
    maps = np.random.default_rng(0).uniform(0.5, 1, (400, 1, 2, 2))
    score = RandomSelector(seed=3).score(Prediction(ids, maps))["score"]
    again = RandomSelector(seed=3).score(Prediction(ids[::-1], maps))["score"]
    np.testing.assert_array_equal(score, again[::-1])
    assert (
        len({*score.tolist(), *RandomSelector(seed=4).score(Prediction(ids, maps))["score"]}) == 800
    )
    fraction, _ = np.histogram(score, 4, (0, 1))
    assert fraction.min() > 70
    assert abs(np.corrcoef(score, maps.mean(axis=(1, 2, 3)))[0, 1]) < 0.15


def test_chance_and_negatives_are_found_by_name() -> None:
    plugins = pladapt.PluginManager()
    inner = plugins.build("selector", "random", seed=2, min_pixels=1)
    assert plugins.build("selector", "certain-negatives", selector=inner).selector == inner
