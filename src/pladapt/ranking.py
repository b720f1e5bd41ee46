"""The rules that turn a table of scores into a selection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.certainty import class_cutoffs, hard_labels
from pladapt.errors import InputError
from pladapt.types import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt.certainty import Cutoff
    from pladapt.types import Array, Prediction

_RULES = ("min_pixels", "undefined", "limit", "top_k")


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
        InputError: A column is missing, an id stands twice, or ``top_k`` is below 1.
    """
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1, or None to keep all.")
    ids = _column(scores, "id")
    score = _column(scores, "score").to_numpy().astype(np.float64)
    _check_unique(ids)
    rule = np.zeros(len(score), np.int8)  # 0: kept; else one more than the rule's place
    if min_pixels is not None:
        rule[_column(scores, "pixels").to_numpy() < min_pixels] = 1
    rule[(rule == 0) & np.isnan(score)] = 2
    if limit is not None:
        rule[(rule == 0) & (score < limit)] = 3
    kept = _best(np.flatnonzero(rule == 0), score, ids, top_k)
    rule[rule == 0] = 4
    rule[kept] = 0
    return _selection(ids, rule, kept, limit_name)


def _column(scores: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in scores.column_names:
        raise InputError(f"The scores have no column {name!r}; they have {scores.column_names}.")
    return scores[name]


def _check_unique(ids: pa.ChunkedArray) -> None:
    if pc.count_distinct(ids).as_py() < len(ids):
        twice = next(row["values"] for row in ids.value_counts().to_pylist() if row["counts"] > 1)
        raise InputError(f"The id {twice!r} stands twice; ids must be unique.")


def _best(
    candidates: NDArray[np.intp], score: NDArray[np.float64], ids: pa.ChunkedArray, k: int | None
) -> NDArray[np.intp]:
    """Return the ``k`` candidates of the highest scores, best first, ties by id."""
    if k is not None and k < len(candidates):
        # a partition finds the k-th score; only what reaches it needs sorting
        threshold = np.partition(score[candidates], len(candidates) - k)[len(candidates) - k]
        candidates = candidates[score[candidates] >= threshold]
    names = ids.take(pa.array(candidates)).to_numpy().astype(str)
    return candidates[np.lexsort((names, -score[candidates]))][:k]


def _selection(
    ids: pa.ChunkedArray, rule: NDArray[np.int8], kept: NDArray[np.intp], limit_name: str
) -> Selection:
    names = pa.array([limit_name if name == "limit" else name for name in _RULES])
    reasons = pa.DictionaryArray.from_arrays(
        pa.array(rule - 1, mask=rule == 0, type=pa.int8()), names
    )
    ranks = np.zeros(len(rule), np.int64)
    ranks[kept] = np.arange(1, len(kept) + 1)
    return Selection(
        pa.table(
            {
                "id": ids,
                "rank": pa.array(ranks, mask=ranks == 0),
                "rule": reasons.cast(pa.string()),
            }
        )
    )


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
