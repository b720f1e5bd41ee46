"""Samples that surely show nothing, so that the model also learns where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.certainty import foreground
from pladapt.protocols import RescoringSelector
from pladapt.selection.choosing import check_amount, kept_rows, number_of, ranked_selection
from pladapt.selection.ranking import values
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt.protocols import Selector
    from pladapt.selection.choosing import Amount
    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True, kw_only=True)
class CertainNegativesSelector:
    """Keep, beside what another selector keeps, samples that surely show no foreground.

    A sample is a certain negative where its peak, the highest foreground probability of any pixel
    and class, is at most the ceiling. The score of a certain negative is 1 minus its peak, and its
    label has no foreground. The other selector chooses among the other samples. Then the negatives
    with the lowest peaks are kept, ties going by id, and ranked after them; those beyond the
    number are dropped by ``negatives``. Where the other selector keeps nothing, neither are
    negatives kept: a model would learn from them that there is nothing anywhere.

    Args:
        selector: Scores, chooses and labels the samples with foreground.
        ceiling: The highest probability anywhere in a certain negative, in (0, 1).
        amount: How many negatives are kept at the most: a number as an integer, or a float in
            (0, 1], a fraction of the number of other samples kept.

    Raises:
        InputError: A parameter outside its range.
    """

    selector: Selector
    ceiling: float = 0.1
    amount: Amount = 0.25

    def __post_init__(self) -> None:
        check_amount("amount", self.amount)
        if not 0 < self.ceiling < 1:
            raise InputError(
                f"ceiling is {self.ceiling}; it must lie between 0 and 1, both excluded."
            )

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return the selector's columns, with the negatives' scores, and ``peak``."""
        columns = dict(self.selector.score(prediction))
        score, peak = columns["score"], _peak(prediction)
        xp = array_namespace(score, peak)
        peak = xp.astype(peak, score.dtype)
        return columns | {"score": xp.where(peak <= self.ceiling, 1 - peak, score), "peak": peak}

    def rescore(self, scores: pa.Table, /) -> pa.Table:
        """Rescore the samples with foreground as the selector does, if it does."""
        if not isinstance(self.selector, RescoringSelector):
            return scores
        negative, score = self._negatives(scores)
        again = self.selector.rescore(_with_score(scores, np.where(negative, np.nan, score)))
        return _with_score(scores, np.where(negative, score, again["score"].to_numpy()))

    def select(self, scores: pa.Table, /) -> Selection:
        """Select as the selector does, then add the surest negatives.

        Raises:
            InputError: There is no column ``peak``, or as the selector raises it.
        """
        negative, score = self._negatives(scores)
        selected = self.selector.select(_with_score(scores, np.where(negative, np.nan, score)))
        rules = np.array(selected.table["rule"].to_pylist(), object)
        rules[negative] = "negatives"
        positives = kept_rows(selected)
        number = number_of(self.amount, len(positives)) if positives.size else 0
        rows = np.flatnonzero(negative)
        ids = scores["id"].take(pa.array(rows)).to_pylist()
        surest = sorted(zip(-score[rows], ids, rows, strict=True))[:number]
        chosen = np.array([row for *_, row in surest], np.int64)
        rules[chosen] = None
        return ranked_selection(scores, np.concatenate([positives, chosen]), rules)

    def label(self, prediction: Prediction, /) -> Array:
        """Label as the selector does, but no foreground in a certain negative."""
        labels = self.selector.label(prediction)
        xp = array_namespace(labels)
        negative = _peak(prediction) <= self.ceiling
        shape = (labels.shape[0],) + (1,) * (labels.ndim - 1)
        emptied = xp.where(labels == IGNORE, labels, xp.zeros_like(labels))
        return xp.where(xp.reshape(negative, shape), emptied, labels)

    def _negatives(self, scores: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Tell which rows are certain negatives, and return all rows' scores."""
        score = values(scores, "score").astype(np.float64)
        return (values(scores, "peak") <= self.ceiling) & ~np.isnan(score), score


def _peak(prediction: Prediction) -> Array:
    """Return the highest foreground probability ``(B,)`` of each sample."""
    planes = foreground(prediction.probabilities)
    return array_namespace(planes).max(planes, axis=tuple(range(1, planes.ndim)))


def _with_score(scores: pa.Table, score: NDArray[np.float64]) -> pa.Table:
    return scores.set_column(scores.column_names.index("score"), "score", pa.array(score))
