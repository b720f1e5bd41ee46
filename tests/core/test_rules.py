from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pladapt import InputError, Prediction, Rules
from pladapt.functional.certainty import certainty_index
from pladapt.selection.base import BaseSelector
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from pladapt.types import Array

Row = tuple[str, float, int]

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
ROWS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan]) | st.floats(0, 1),
        st.integers(0, 100),
    ),
    unique_by=lambda row: row[0],
    max_size=30,
)


def table(rows: list[Row]) -> pa.Table:
    ids, score, pixels = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "score": pa.array(score, pa.float64()),
            "pixels": pa.array(pixels, pa.int64()),
        }
    )


def naive_rank(
    rows: list[Row], min_pixels: int, limit: float, top_k: int
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Apply the rules to one row after the other, then sort what is left."""
    dropped, left = {}, []
    for name, score, pixels in rows:
        if pixels < min_pixels:
            dropped[name] = "min_pixels"
        elif math.isnan(score):
            dropped[name] = "undefined"
        elif score < limit:
            dropped[name] = "limit"
        else:
            left.append((-score, name))
    ranked = [name for _, name in sorted(left)]
    return tuple(ranked[:top_k]), dropped | dict.fromkeys(ranked[top_k:], "top_k")


@given(ROWS, st.integers(0, 100), st.sampled_from([0.25, 0.5]) | st.floats(0, 1), st.integers(1, 9))
def test_agrees_with_sorting_row_by_row(
    rows: list[Row], min_pixels: int, limit: float, top_k: int
) -> None:
    rules = Rules(min_pixels=min_pixels, limit=limit, top_k=top_k)
    selection = rules.select(table(rows))
    kept, dropped = naive_rank(rows, min_pixels, limit, top_k)
    assert selection.kept == kept
    assert selection.dropped == dropped
    assert sum(selection.counts.values()) == len(rows)
    assert selection.counts["kept"] == len(kept)


@given(ROWS, st.none() | st.integers(1, 9), st.randoms())
def test_the_order_of_the_rows_does_not_matter(
    rows: list[Row], top_k: int | None, random: Any
) -> None:
    rules = Rules(min_pixels=20, limit=0.25, top_k=top_k)
    before = rules.select(table(rows))
    random.shuffle(rows)
    after = rules.select(table(rows))
    assert after.kept == before.kept
    assert after.dropped == before.dropped


@given(ROWS, st.integers(1, 9))
def test_every_sample_is_either_ranked_or_dropped_by_one_rule(rows: list[Row], top_k: int) -> None:
    selection = Rules(min_pixels=50, limit=0.5, top_k=top_k).select(table(rows)).table
    assert selection.column_names == ["id", "score", "rank", "rule"]
    np.testing.assert_array_equal(selection["score"], np.array([score for _, score, _ in rows]))
    assert selection["id"].to_pylist() == [name for name, *_ in rows]
    for place, rule in zip(
        selection["rank"].to_pylist(), selection["rule"].to_pylist(), strict=True
    ):
        assert (place is None) != (rule is None)
    ranks = [place for place in selection["rank"].to_pylist() if place is not None]
    assert sorted(ranks) == list(range(1, len(ranks) + 1))


def test_the_paper_s_rules_at_their_edges() -> None:
    selector = CertaintyIndexSelector(cutoff=0.5, min_pixels=50, ci_limit=0.8, top_k=2)
    rows = [
        ("49 pixels", 0.99, 49),
        ("50 pixels", 0.90, 50),
        ("at the limit", 0.80, 60),
        ("below the limit", math.nextafter(0.80, 0), 60),
        ("third", 0.80, 60),
        ("nothing", math.nan, 0),
    ]
    selection = selector.select(table(rows))
    assert selection.kept == ("50 pixels", "at the limit")
    assert selection.dropped == {
        "49 pixels": "min_pixels",
        "below the limit": "limit",
        "third": "top_k",
        "nothing": "min_pixels",
    }
    assert selection.counts == {"kept": 2, "min_pixels": 2, "limit": 1, "top_k": 1}


def test_a_sample_that_fails_several_rules_is_dropped_by_the_first() -> None:
    selection = Rules(min_pixels=50, limit=0.5).select(table([("a", 0.1, 3), ("b", math.nan, 80)]))
    assert selection.dropped == {"a": "min_pixels", "b": "undefined"}
    assert selection.counts == {"kept": 0, "min_pixels": 1, "undefined": 1}


def test_ties_are_broken_by_id() -> None:
    rows = [(name, 0.5, 100) for name in ("b", "B", "a10", "a9", "ä", "")]
    assert Rules(top_k=4).select(table(rows)).kept == ("", "B", "a10", "a9")


def test_without_rules_everything_defined_is_kept() -> None:
    scores = pa.table({"id": ["a", "b", "c"], "score": [-3.0, math.inf, math.nan]})
    selection = Rules().select(scores)
    assert selection.kept == ("b", "a")
    assert selection.dropped == {"c": "undefined"}


def test_a_null_is_undefined_and_an_integer_a_number() -> None:
    scores = pa.table({"id": ["a", "b"], "score": pa.array([None, 3], pa.int64())})
    selection = Rules().select(scores)
    assert selection.kept == ("b",)
    assert selection.dropped == {"a": "undefined"}


def test_a_table_of_several_chunks_ranks_as_one() -> None:
    rows = [(str(i), float(i % 7), i) for i in range(40)]
    pieces = pa.concat_tables([table(rows[:13]), table([]), table(rows[13:])])
    rules = Rules(min_pixels=5, top_k=9)
    assert rules.select(pieces).table.equals(rules.select(table(rows)).table)


def test_a_chunk_for_every_batch_ranks_as_one() -> None:
    count = 40_000
    generator = np.random.default_rng(0)
    ids = [f"{number:06}" for number in generator.permutation(count)]
    whole = pa.table({"id": ids, "score": generator.integers(0, 999, count) / 999})
    pieces = pa.Table.from_batches(whole.to_batches(max_chunksize=8))
    rules = Rules(top_k=0.25)
    assert rules.select(pieces).kept == rules.select(whole).kept


def test_a_large_table_with_many_ties() -> None:
    generator = np.random.default_rng(0)
    score = generator.integers(0, 1000, 200_000) / 1000
    ids = np.char.zfill(generator.permutation(200_000).astype(str), 6)
    expected = ids[np.lexsort((ids, -score))][:1000]
    selection = Rules(top_k=1000).select(pa.table({"id": ids.tolist(), "score": score}))
    assert selection.kept == tuple(expected)
    assert selection.counts == {"kept": 1000, "top_k": 199_000}


@pytest.mark.parametrize("top_k", [0, -1])
def test_at_least_one_must_be_kept(top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}; give a number from 1"):
        CertaintyIndexSelector(top_k=top_k)


@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_an_id_that_is_there_twice_is_refused_kept_or_not(top_k: int | None) -> None:
    rows = [("a", 0.9, 50), ("b", 0.8, 50), ("c", 0.7, 50), ("a", 0.1, 50)]
    with pytest.raises(InputError, match="id 'a' is there twice"):
        Rules(top_k=top_k).select(table(rows))


def test_nothing_in_gives_nothing_out() -> None:
    everything = Rules(min_pixels=1, limit=0.5, quantile=0.5, top_k=0.5, spread=["size"])
    assert everything.select(table([])).counts == {"kept": 0}


@pytest.mark.parametrize("missing", ["id", "score", "pixels"])
def test_a_missing_column_is_named(missing: str) -> None:
    scores = table([("a", 0.5, 1)]).drop_columns(missing)
    with pytest.raises(InputError, match=f"no column '{missing}'"):
        Rules(min_pixels=1).select(scores)


def test_the_rule_that_needs_a_missing_column_is_named() -> None:
    scores = table([("a", 0.5, 1)]).drop_columns("pixels")
    with pytest.raises(InputError, match="Leave out min_pixels, which needs it"):
        Rules(min_pixels=1).select(scores)
    assert Rules(min_pixels=0).select(scores).kept == ("a",)


# Quantiles, fractions and spreads

COLUMNS = ("id", "group", "score", "pixels", "pixels_1", "pixels_2")
SPREAD_ROWS = st.lists(
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
RULES = st.builds(
    Rules,
    min_pixels=st.none() | st.integers(0, 40),
    limit=st.none() | st.floats(0, 1),
    quantile=st.none() | st.floats(0, 1, exclude_max=True),
    top_k=AMOUNTS,
    spread=st.permutations(["group", "size", "class"]).flatmap(
        lambda names: st.integers(0, 3).map(lambda count: tuple(names[:count]))
    ),
    sizes=st.integers(1, 4),
)


def whole_table(rows: list[Any]) -> pa.Table:
    types = (pa.string(), pa.string(), pa.float64(), *[pa.int64()] * 3)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    return pa.table({n: pa.array(c, t) for n, c, t in zip(COLUMNS, columns, types, strict=True)})


def by_hand(rows: list[Any], rules: Rules) -> tuple[list[str], dict[str, str]]:
    """Apply the rules one row after the other; the places by taking turns over the groups."""
    dropped, left = {}, []
    for id_, group, score, pixels, *_ in rows:
        if pixels < (rules.min_pixels or 0):
            dropped[id_] = "min_pixels"
        elif math.isnan(score):
            dropped[id_] = "undefined"
        elif rules.limit is not None and score < rules.limit:
            dropped[id_] = "limit"
        else:
            left.append((-score, id_, group))
    if rules.quantile is not None and left:
        low = np.quantile([-score for score, *_ in left], rules.quantile)
        dropped |= {id_: "quantile" for score, id_, _ in left if -score < low}
        left = [row for row in left if row[1] not in dropped]
    left.sort()
    number = len(left) if rules.top_k is None else amount_of(rules.top_k, len(left))
    chosen = in_turns(left, number) if rules.spread else {id_ for _, id_, _ in left[:number]}
    for place, (_, id_, _) in enumerate(left):
        if id_ not in chosen:
            dropped[id_] = "spread" if place < number else "top_k"
    return [id_ for _, id_, _ in left if id_ in chosen], dropped


def amount_of(top_k: float, count: int) -> int:
    return top_k if isinstance(top_k, int) else max(1, round(top_k * count))


def in_turns(left: list[tuple[float, str, str]], number: int) -> set[str]:
    """Give the places to one row of each group after the other."""
    queues: dict[str, list[tuple[float, str, str]]] = {}
    for row in left:
        queues.setdefault(row[2], []).append(row)
    chosen: list[str] = []
    while any(queues.values()):
        turn = sorted(queue.pop(0) for queue in queues.values() if queue)
        chosen += [id_ for _, id_, _ in turn]
    return {*chosen[:number]}


@given(SPREAD_ROWS, RULES, st.sampled_from([(), ("group",)]))
def test_all_rules_agree_with_applying_them_by_hand(
    rows: list[Any], rules: Rules, spread: tuple[Any, ...]
) -> None:
    rules = replace(rules, spread=spread)
    selection = rules.select(whole_table(rows))
    kept, dropped = by_hand(rows, rules)
    assert list(selection.kept) == kept
    assert selection.dropped == dropped


@given(SPREAD_ROWS, RULES, st.randoms())
def test_the_order_of_the_samples_does_not_matter_to_a_spread(
    rows: list[Any], rules: Rules, random: Any
) -> None:
    before = rules.select(whole_table(rows))
    random.shuffle(rows)
    after = rules.select(whole_table(rows))
    assert after.kept == before.kept
    assert after.dropped == before.dropped


@given(SPREAD_ROWS, RULES)
def test_every_rule_drops_what_no_other_did(rows: list[Any], rules: Rules) -> None:
    scores = whole_table(rows)
    selection = rules.select(scores)
    assert selection.table["id"].equals(scores["id"])
    assert sum(selection.counts.values()) == len(rows)
    assert selection.counts["kept"] == len(selection.kept)
    assert {*selection.kept, *selection.dropped} == {row[0] for row in rows}
    score = {row[0]: row[2] for row in rows}
    assert list(selection.kept) == sorted(selection.kept, key=lambda i: (-score[i], i))


@given(SPREAD_ROWS, RULES)
def test_a_spread_changes_who_is_kept_but_not_how_many(rows: list[Any], rules: Rules) -> None:
    spread, plain = (
        rules.select(whole_table(rows)),
        replace(rules, spread=()).select(whole_table(rows)),
    )
    assert len(spread.kept) == len(plain.kept)
    displaced = {id_ for id_, rule in spread.dropped.items() if rule == "spread"}
    assert displaced == {*plain.kept} - {*spread.kept}
    assert "spread" not in plain.counts


@given(SPREAD_ROWS, st.integers(1, 20), st.sampled_from(["group", "class"]))
def test_places_are_shared_out_evenly(rows: list[Any], top_k: int, stratum: Any) -> None:
    """No stratum has two places more than another that has samples left."""
    scores = whole_table(rows)
    selection = Rules(top_k=top_k, spread=(stratum,)).select(scores)
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
    plain = Rules(top_k=4).select(whole_table(rows))
    assert plain.kept == ("a0", "a1", "a2", "a3")
    spread = Rules(top_k=4, spread=["group"]).select(whole_table(rows))
    assert spread.kept == ("a0", "a1", "b0", "c0")
    assert spread.dropped["a2"] == spread.dropped["a3"] == "spread"
    assert spread.dropped["a4"] == "top_k"


def test_sizes_take_turns_within_a_patient() -> None:
    pixels = {"a0": 91, "a1": 92, "a2": 10, "a3": 11, "b0": 93, "b1": 94, "b2": 12, "b3": 13}
    rows = [(name, name[0], 0.9 - n / 100, p, 0, 0) for n, (name, p) in enumerate(pixels.items())]
    rules = Rules(top_k=4, spread=["group", "size"], sizes=2)
    assert rules.select(whole_table(rows)).kept == ("a0", "a2", "b0", "b2")


def test_a_rare_class_has_its_turns() -> None:
    rows = [(f"x{n}", "p", 0.9 - n / 100, 50, 1, 0) for n in range(6)]
    rows += [("y0", "p", 0.2, 50, 1, 1), ("y1", "p", 0.1, 50, 0, 1)]
    assert Rules(top_k=4, spread=["class"]).select(whole_table(rows)).kept == (
        "x0",
        "x1",
        "y0",
        "y1",
    )
    single = whole_table(rows).drop_columns(["pixels_1", "pixels_2"])
    assert Rules(top_k=2, spread=["class"]).select(single).kept == ("x0", "x1")


def test_fractions_and_quantiles_are_of_what_passed_before() -> None:
    rows = [(f"s{n}", "p", n / 10, 50, 0, 0) for n in range(10)] + [("z", "p", 1.0, 3, 0, 0)]
    half = Rules(min_pixels=10, top_k=0.5).select(whole_table(rows))
    assert half.counts == {"kept": 5, "min_pixels": 1, "top_k": 5}
    upper = Rules(min_pixels=10, quantile=0.75).select(whole_table(rows))
    assert upper.kept == ("s9", "s8", "s7")
    assert upper.counts == {"kept": 3, "min_pixels": 1, "quantile": 7}
    both = Rules(min_pixels=10, quantile=0.75, top_k=0.01).select(whole_table(rows))
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
        ({"min_pixels": -1}, "min_pixels is -1; it must be at least 0"),
        ({"limit": math.nan}, "limit is nan"),
    ],
)
def test_rules_outside_their_range_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rules(**parameters)


def test_a_column_that_a_spread_needs_is_named() -> None:
    scores = whole_table([("a", "p", 0.5, 1, 0, 0)])
    for stratum, missing in (("group", "group"), ("size", "pixels")):
        rules = Rules(top_k=1, spread=[stratum])  # type: ignore[list-item]  # one of the literals
        with pytest.raises(InputError, match=f"no column '{missing}'"):
            rules.select(scores.drop_columns(missing))


# Selectors


@dataclass(frozen=True, kw_only=True)
class Largest(BaseSelector):
    """Scores by the largest probability: all that an author of a selector has to write."""

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's largest probability, and its pixels."""
        _, pixels = certainty_index(prediction.probabilities, self.cutoff)
        return prediction.probabilities.max(axis=(2, 3)), pixels


def test_a_selector_of_one_method_ranks_and_labels() -> None:
    probabilities = np.array([0.2, 0.7, 0.9, 0.65]).reshape(4, 1, 1, 1)
    selector = Largest(cutoff=0.6, min_pixels=1, limit=0.68, top_k=1)
    prediction = Prediction(("a", "b", "c", "d"), probabilities)
    scores = pa.table({"id": list(prediction.ids)} | dict(selector.score(prediction)))
    selection = selector.select(scores)
    assert selection.kept == ("c",)
    assert selection.dropped == {"a": "min_pixels", "b": "top_k", "d": "limit"}
    assert selector.label(prediction).ravel().tolist() == [0, 1, 1, 1]
    assert selector.rules == Rules(min_pixels=1, limit=0.68, top_k=1)


def certain(*rows: tuple[float, int], cutoff: float = 0.5) -> Prediction:
    """Predict, for each sample, so many pixels of that probability among 100."""
    maps = np.zeros((len(rows), 1, 10, 10))
    for plane, (value, pixels) in zip(maps, rows, strict=True):
        plane.reshape(-1)[:pixels] = value
    return Prediction(tuple(map(str, range(len(rows)))), maps)


def test_the_certainty_index_and_the_pixels_are_the_columns() -> None:
    columns = CertaintyIndexSelector().score(certain((0.75, 49), (1.0, 50), (0.5, 100)))
    assert list(columns) == ["score", "pixels"]
    np.testing.assert_array_equal(columns["score"], [0.75, 1.0, math.nan])
    np.testing.assert_array_equal(columns["pixels"], [49, 50, 0])


def test_several_classes_show_each_class_and_combine_those_present() -> None:
    probabilities = np.zeros((1, 3, 10, 10))
    probabilities[0, 1].reshape(-1)[:60] = 0.75
    probabilities[0, 2].reshape(-1)[60:] = 1.0  # 40 pixels: too few to be present
    prediction = Prediction(("a",), probabilities)
    columns = CertaintyIndexSelector(min_pixels=50).score(prediction)
    assert {name: column.item() for name, column in columns.items()} == {
        "score": 0.75,
        "pixels": 60,
        "ci_1": 0.75,
        "pixels_1": 60,
        "ci_2": 1.0,
        "pixels_2": 40,
    }
    every = CertaintyIndexSelector(min_pixels=40, combination="mean").score(prediction)
    assert every["score"].item() == 0.875


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutoff": 1.0}, "cut-off is 1.0"),
        ({"cutoff": (0.5, 0.0)}, "cut-off is 0.0"),
        ({"min_pixels": -1}, "min_pixels is -1; it must be at least 0"),
        ({"ci_limit": 1.5}, r"ci_limit is 1.5; a CI lies in \[0, 1\]"),
        ({"ci_limit": math.nan}, "ci_limit is nan"),
    ],
)
def test_parameters_outside_their_range_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CertaintyIndexSelector(**parameters)


def test_the_papers_limit_is_the_rule_limit() -> None:
    assert CertaintyIndexSelector(ci_limit=0.8, top_k=3).rules == Rules(
        min_pixels=50, limit=0.8, top_k=3
    )
    with pytest.raises(TypeError, match="limit"):
        CertaintyIndexSelector(limit=0.8)
