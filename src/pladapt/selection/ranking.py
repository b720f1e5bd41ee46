"""The rules that turn a table of scores into a selection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.errors import InputError
from pladapt.functional.certainty import class_cutoffs, hard_labels
from pladapt.types import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Prediction

_RULES: Final = ("min_pixels", "undefined", "limit", "top_k")
_BLOCK: Final = 2**18  # rows
_ORDER: Final = [("score", "descending"), ("id", "ascending")]
_CANDIDATES: Final = pa.schema([("id", pa.string()), ("score", pa.float64()), ("row", pa.int64())])

SELECTION: Final = pa.schema([("id", pa.string()), ("rank", pa.int64()), ("rule", pa.string())])
"""The columns of a selection's table."""


def rank(
    scores: pa.Table,
    *,
    min_pixels: int | None = None,
    limit: float | None = None,
    top_k: int | None = None,
    limit_name: str = "limit",
) -> Selection:
    """Keep the best scores that pass every rule; note the first rule that drops each other one.

    The rules, in order: ``min_pixels`` (fewer pixels than that), ``undefined`` (the score is NaN),
    ``limit_name`` (a score below the limit; one equal to it passes), ``top_k`` (beyond the number
    kept, ties broken by id).

    Args:
        scores: Columns ``id`` (string) and ``score`` (float), and ``pixels`` (int) where
            ``min_pixels`` is given; ids are unique.
        min_pixels: The fewest pixels above the cut-off that a sample needs.
        limit: The lowest score that is kept.
        top_k: How many samples are kept at the most.
        limit_name: What the limit is called as a reason.

    Raises:
        InputError: A column is missing, a kept id stands twice, or ``top_k`` is below 1.
    """
    ranked = rank_blocks(
        lambda: scores.to_batches(max_chunksize=_BLOCK),
        min_pixels=min_pixels,
        limit=limit,
        top_k=top_k,
        limit_name=limit_name,
    )
    return Selection(pa.Table.from_batches(ranked, SELECTION))


def rank_blocks(
    blocks: Callable[[], Iterable[pa.RecordBatch]],
    *,
    min_pixels: int | None = None,
    limit: float | None = None,
    top_k: int | None = None,
    limit_name: str = "limit",
) -> Iterator[pa.RecordBatch]:
    """Rank scores that come in blocks, in memory for the kept ones and a block.

    The blocks are read twice: to find what is kept, then to say of each row what became of it.

    Args:
        blocks: Returns the scores' blocks, the same each time; columns as for `pladapt.rank`.
        min_pixels: As for `pladapt.rank`.
        limit: As for `pladapt.rank`.
        top_k: As for `pladapt.rank`; without it the scores that pass the rules are held in
            memory.
        limit_name: As for `pladapt.rank`.

    Yields:
        The rows of a `pladapt.Selection`'s table, for each block.

    Raises:
        InputError: As for `pladapt.rank`; a kept id that stands twice is found as the last is
            yielded.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1, or None to keep all.")
    rules = _Rules(min_pixels, limit)
    kept = _best(blocks(), rules, top_k)
    reasons = pa.array([limit_name if name == "limit" else name for name in _RULES])
    ids = kept["id"].combine_chunks()
    _check_unique(ids, len(ids))
    rows = kept["row"].to_numpy()
    order = np.argsort(rows)
    start = 0
    for block in blocks():
        low, high = np.searchsorted(rows, [start, start + len(block)], sorter=order)
        here = order[low:high]
        _check_unique(block["id"].filter(pc.is_in(block["id"], ids)), len(here))
        yield _outcome(block["id"], rules.apply(block)[1], rows[here] - start, here + 1, reasons)
        start += len(block)


class _Rules(NamedTuple):
    """The rules that look at one row alone."""

    min_pixels: int | None
    limit: float | None

    def apply(self, block: pa.RecordBatch) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
        """Return the scores, and for each one more than the place of its rule; 0 if it passes."""
        score = _numbers(block, "score").astype(np.float64, copy=False)
        rule = np.zeros(len(score), np.int8)
        if self.min_pixels is not None:
            rule[_numbers(block, "pixels") < self.min_pixels] = 1
        rule[(rule == 0) & np.isnan(score)] = 2
        if self.limit is not None:
            rule[(rule == 0) & (score < self.limit)] = 3
        return score, rule


def values(scores: pa.Table, name: str) -> NDArray[Any]:
    """Return a column of scores.

    Raises:
        InputError: There is none of that name.
    """
    found: NDArray[Any] = _column(scores, name).to_numpy()
    return found


def _column(block: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    if name not in block.schema.names:
        raise InputError(f"The scores have no column {name!r}; they have {block.schema.names}.")
    return block[name]


def _numbers(block: pa.RecordBatch, name: str) -> NDArray[Any]:
    values: NDArray[Any] = _column(block, name).to_numpy(zero_copy_only=False)
    return values


def _best(blocks: Iterable[pa.RecordBatch], rules: _Rules, k: int | None) -> pa.Table:
    """Return the ``k`` rows of the highest scores that pass the rules, best first, ties by id."""
    held = _CANDIDATES.empty_table()
    start, worst = 0, -np.inf
    for block in blocks:
        score, rule = rules.apply(block)
        rows = _highest(np.flatnonzero((rule == 0) & (score >= worst)), score, k)
        ids = _column(block, "id").take(pa.array(rows)).cast(pa.string())
        new = pa.table([ids, score[rows], rows + start], schema=_CANDIDATES)
        held = pa.concat_tables([held, new])
        if k is not None and len(held) > 2 * k:
            held = _select(held, k)
            worst = held["score"][k - 1].as_py()
        start += len(block)
    return held.sort_by(_ORDER) if k is None else _select(held, k)


def _highest(rows: NDArray[np.intp], score: NDArray[np.float64], k: int | None) -> NDArray[np.intp]:
    """Return the rows of the ``k`` highest scores, and all that tie with the last of them."""
    if k is None or len(rows) <= k:
        return rows
    threshold = np.partition(score[rows], len(rows) - k)[len(rows) - k]
    best: NDArray[np.intp] = rows[score[rows] >= threshold]
    return best


def _select(candidates: pa.Table, k: int) -> pa.Table:
    if len(candidates) == 0:  # of which older versions of pyarrow select nothing but an error
        return candidates
    return candidates.take(pc.select_k_unstable(candidates, min(k, len(candidates)), _ORDER))


def _check_unique(ids: pa.Array, expected: int) -> None:
    """Refuse the ids of kept rows that are more rows, or fewer ids, than were kept."""
    if len(ids) != expected or pc.count_distinct(ids).as_py() != expected:
        counted = ids.value_counts().to_pylist()
        twice = max(counted, key=lambda row: row["counts"])["values"]
        raise InputError(f"The id {twice!r} stands twice; ids must be unique.")


def _outcome(
    ids: pa.Array,
    rule: NDArray[np.int8],
    kept: NDArray[np.int64],
    places: NDArray[np.int64],
    reasons: pa.Array,
) -> pa.RecordBatch:
    """Return a block's rows: the kept ones with their places, the others with their reasons."""
    rule[rule == 0] = len(reasons)
    rule[kept] = 0
    ranks = np.zeros(len(rule), np.int64)
    ranks[kept] = places
    dropped = pa.DictionaryArray.from_arrays(pa.array(rule - 1, mask=rule == 0), reasons)
    columns = [ids.cast(pa.string()), pa.array(ranks, mask=ranks == 0), dropped.cast(pa.string())]
    return pa.record_batch(columns, schema=SELECTION)


@dataclass(frozen=True, kw_only=True)
class RankingSelector(ABC):
    """A base for selectors that keep the best scores: a subclass writes ``score`` alone.

    Args:
        cutoff: The probability above which a pixel is labelled foreground, in (0, 1); one for
            every class, or one per foreground class.
        limit: The lowest score that is kept; None for no limit.
        top_k: How many samples are kept at the most; None for no end.

    Raises:
        InputError: A cut-off outside (0, 1), or ``top_k`` below 1.
    """

    cutoff: Cutoff = 0.5
    limit: float | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        class_cutoffs(self.cutoff, len(self.cutoff) if isinstance(self.cutoff, tuple | list) else 1)
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k is {self.top_k}; it must be at least 1, or None to keep all.")

    @abstractmethod
    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return columns of length ``B``, among them ``score``, where higher is surer."""

    def select(self, scores: pa.Table, /) -> Selection:
        """Keep the ``top_k`` best of the scores that reach the limit."""
        return rank(scores, limit=self.limit, top_k=self.top_k)

    def label(self, prediction: Prediction, /) -> Array:
        """Return the likeliest class above its cut-off, else the background."""
        return hard_labels(prediction.probabilities, self.cutoff)
