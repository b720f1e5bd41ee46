from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError, Prediction, RankingSelector, rank
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    selection = rank(table(rows), min_pixels=min_pixels, limit=limit, top_k=top_k)
    kept, dropped = naive_rank(rows, min_pixels, limit, top_k)
    assert selection.kept == kept
    assert selection.dropped == dropped
    assert sum(selection.counts.values()) == len(rows)
    assert selection.counts["kept"] == len(kept)


@given(ROWS, st.none() | st.integers(1, 9), st.randoms())
def test_the_order_of_the_rows_does_not_matter(
    rows: list[Row], top_k: int | None, random: Any
) -> None:
    before = rank(table(rows), min_pixels=20, limit=0.25, top_k=top_k)
    random.shuffle(rows)
    after = rank(table(rows), min_pixels=20, limit=0.25, top_k=top_k)
    assert after.kept == before.kept
    assert after.dropped == before.dropped


@given(ROWS, st.integers(1, 9))
def test_every_sample_is_either_ranked_or_dropped_by_one_rule(rows: list[Row], top_k: int) -> None:
    selection = rank(table(rows), min_pixels=50, limit=0.5, top_k=top_k).table
    assert selection.column_names == ["id", "rank", "rule"]
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
        "below the limit": "ci_limit",
        "third": "top_k",
        "nothing": "min_pixels",
    }
    assert selection.counts == {"kept": 2, "min_pixels": 2, "ci_limit": 1, "top_k": 1}


def test_a_sample_that_fails_several_rules_is_dropped_by_the_first() -> None:
    selection = rank(table([("a", 0.1, 3), ("b", math.nan, 80)]), min_pixels=50, limit=0.5)
    assert selection.dropped == {"a": "min_pixels", "b": "undefined"}
    assert selection.counts == {"kept": 0, "min_pixels": 1, "undefined": 1}


def test_ties_are_broken_by_id() -> None:
    rows = [(name, 0.5, 100) for name in ("b", "B", "a10", "a9", "ä", "")]
    assert rank(table(rows), top_k=4).kept == ("", "B", "a10", "a9")


def test_without_rules_everything_defined_is_kept() -> None:
    selection = rank(pa.table({"id": ["a", "b", "c"], "score": [-3.0, math.inf, math.nan]}))
    assert selection.kept == ("b", "a")
    assert selection.dropped == {"c": "undefined"}


def test_a_null_is_undefined_and_an_integer_a_number() -> None:
    selection = rank(pa.table({"id": ["a", "b"], "score": pa.array([None, 3], pa.int64())}))
    assert selection.kept == ("b",)
    assert selection.dropped == {"a": "undefined"}


def test_a_table_of_several_chunks_ranks_as_one() -> None:
    rows = [(str(i), float(i % 7), i) for i in range(40)]
    pieces = pa.concat_tables([table(rows[:13]), table([]), table(rows[13:])])
    assert rank(pieces, min_pixels=5, top_k=9).table.equals(
        rank(table(rows), min_pixels=5, top_k=9).table
    )


def test_a_large_table_with_many_ties() -> None:
    generator = np.random.default_rng(0)
    score = generator.integers(0, 1000, 200_000) / 1000
    ids = np.char.zfill(generator.permutation(200_000).astype(str), 6)
    expected = ids[np.lexsort((ids, -score))][:1000]
    selection = rank(pa.table({"id": ids.tolist(), "score": score}), top_k=1000)
    assert selection.kept == tuple(expected)
    assert selection.counts == {"kept": 1000, "top_k": 199_000}


@pytest.mark.parametrize("top_k", [0, -1])
def test_at_least_one_must_be_kept(top_k: int) -> None:
    with pytest.raises(InputError, match=f"top_k is {top_k}; it must be at least 1"):
        rank(table([("a", 0.5, 1)]), top_k=top_k)
    with pytest.raises(InputError, match=f"top_k is {top_k}; it must be at least 1"):
        CertaintyIndexSelector(top_k=top_k)


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="id 'b' stands twice"):
        rank(table([("a", 0.5, 1), ("b", 0.5, 1), ("b", 0.6, 1)]))


@pytest.mark.parametrize("missing", ["id", "score", "pixels"])
def test_a_missing_column_is_named(missing: str) -> None:
    scores = table([("a", 0.5, 1)]).drop_columns(missing)
    with pytest.raises(InputError, match=f"no column '{missing}'"):
        rank(scores, min_pixels=1)


class Largest(RankingSelector):
    """Scores by the largest probability: all that an author of a selector has to write."""

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return the largest probability."""
        return {"score": prediction.probabilities.max(axis=(1, 2, 3))}


def test_a_selector_of_one_method_ranks_and_labels() -> None:
    probabilities = np.array([0.2, 0.7, 0.9, 0.4]).reshape(4, 1, 1, 1)
    selector = Largest(cutoff=0.6, limit=0.4, top_k=2)
    prediction = Prediction(("a", "b", "c", "d"), probabilities)
    scores = pa.table({"id": list(prediction.ids)} | dict(selector.score(prediction)))
    selection = selector.select(scores)
    assert selection.kept == ("c", "b")
    assert selection.dropped == {"a": "limit", "d": "top_k"}
    assert selector.label(prediction).ravel().tolist() == [0, 1, 1, 0]


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
        ({"min_pixels": -1}, "min_pixels is -1; it must not be negative"),
        ({"ci_limit": 1.5}, r"ci_limit is 1.5; a CI lies in \[0, 1\]"),
        ({"ci_limit": math.nan}, "ci_limit is nan"),
        ({"limit": 0.5}, "called ci_limit"),
    ],
)
def test_parameters_outside_their_range_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CertaintyIndexSelector(**parameters)
