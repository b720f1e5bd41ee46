from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pladapt.selection.ranking import SELECTION, rank_blocks

from pladapt import InputError, rank
from pladapt.selection import ranking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row = tuple[str, float, int]

# few different scores, so that ties are the rule and blocks end inside them
SCORES = st.sampled_from([0.0, 0.5, 0.75, 1.0, math.nan])
ROWS = st.lists(
    st.tuples(st.text("aäB1", max_size=4), SCORES, st.integers(48, 52)),
    unique_by=lambda row: row[0],
    max_size=40,
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


def blocks_of(scores: pa.Table, size: int) -> Callable[[], list[pa.RecordBatch]]:
    return lambda: scores.to_batches(max_chunksize=size)


def sorted_by_hand(rows: list[Row], min_pixels: int, limit: float, top_k: int) -> list[Any]:
    """Rank one row after the other, and sort all that passes."""
    rule = {
        name: "min_pixels"
        if pixels < min_pixels
        else "undefined"
        if math.isnan(score)
        else "ci_limit"
        if score < limit
        else "top_k"
        for name, score, pixels in rows
    }
    passing = sorted((-score, name) for name, score, _ in rows if rule[name] == "top_k")
    place = {name: index for index, (_, name) in enumerate(passing[:top_k], start=1)}
    return [(name, place.get(name), None if name in place else rule[name]) for name, *_ in rows]


@given(ROWS, st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))
def test_blocks_a_table_and_a_sort_agree(rows: list[Row], k: int, size: int, buffer: int) -> None:
    rules = {"min_pixels": 50, "limit": 0.5, "top_k": k, "limit_name": "ci_limit"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK", buffer)  # so that what is held is thinned on the way
        ranked = rank_blocks(blocks_of(table(rows), size), **rules)
        streamed = pa.Table.from_batches(ranked, SELECTION)
    whole = rank(table(rows), **rules).table
    assert streamed.equals(whole)
    found = [tuple(row.values()) for row in whole.to_pylist()]
    assert found == sorted_by_hand(rows, 50, 0.5, k)


@given(ROWS, st.integers(1, 12))
def test_without_an_end_everything_that_passes_is_ranked(rows: list[Row], size: int) -> None:
    streamed = pa.Table.from_batches(rank_blocks(blocks_of(table(rows), size)), SELECTION)
    assert streamed.equals(rank(table(rows)).table)
    assert streamed["rank"].null_count == sum(math.isnan(score) for _, score, _ in rows)


def test_one_row_comes_out_for_each_that_went_in_block_by_block() -> None:
    scores = table([(str(i), 0.9, 50) for i in range(10)])
    sizes = [len(block) for block in rank_blocks(blocks_of(scores, 4), top_k=2)]
    assert sizes == [4, 4, 2]


def test_memory_is_held_for_the_kept_and_a_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    size, count, k = 20_000, 40, 100
    allocated: list[int] = []

    def blocks() -> Iterator[pa.RecordBatch]:
        generator = np.random.default_rng(0)
        for number in range(count):
            allocated.append(pa.total_allocated_bytes())
            ids = pa.array([f"{number:04}-{row:06}" for row in range(size)])
            yield pa.record_batch({"id": ids, "score": generator.random(size)})

    monkeypatch.setattr(ranking, "_BLOCK", size)
    before = pa.total_allocated_bytes()
    counts: Counter[bool] = Counter()
    for ranked in rank_blocks(blocks, top_k=k):
        counts.update(ranked["rank"].is_valid().to_pylist())
    assert counts == {True: k, False: size * count - k}
    assert len(allocated) == 2 * count
    row = 15 + 8 + 8 + 8  # bytes: id, score, rank, rule
    assert max(allocated) - before < 8 * size * row  # all rows would take five times that


def test_an_id_that_is_kept_here_and_dropped_there_is_refused() -> None:
    rows = [("a", 0.9, 50), ("b", 0.8, 50), ("c", 0.7, 50), ("a", 0.1, 50)]
    with pytest.raises(InputError, match="id 'a' stands twice"):
        list(rank_blocks(blocks_of(table(rows), 2), top_k=1))
    with pytest.raises(InputError, match="id 'a' stands twice"):
        rank(table(rows), top_k=2)


def test_an_id_that_is_kept_twice_is_refused() -> None:
    rows = [("a", 0.9, 50), ("b", 0.8, 50), ("a", 0.7, 50)]
    with pytest.raises(InputError, match="id 'a' stands twice"):
        list(rank_blocks(blocks_of(table(rows), 1)))


def test_nothing_in_gives_nothing_out() -> None:
    assert list(rank_blocks(list, top_k=3)) == []
    assert rank(table([]), top_k=3).counts == {"kept": 0}
