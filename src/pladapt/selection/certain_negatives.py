"""Samples that surely show nothing, so that the model also learns where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.certainty import foreground
from pladapt.selection.labelling import soft
from pladapt.selection.rules import (
    check_amount,
    kept_rows,
    number_of,
    selection_of,
    surest_first,
    values,
    with_score,
)
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt.selection.rules import Amount
    from pladapt.types import Array, Prediction, Selection, SoftLabels
    from pladapt.typing import Selector


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

    def select(self, scores: pa.Table, /) -> Selection:
        """Select as the selector does, then add the surest negatives.

        Raises:
            InputError: There is no column ``peak``, or as the selector raises it.
        """
        negative, score = self._negatives(scores)
        selected = self.selector.select(with_score(scores, np.where(negative, np.nan, score)))
        rules = pc.if_else(pa.array(negative), "negatives", selected.table["rule"])
        positives = kept_rows(selected)
        number = number_of(self.amount, len(positives)) if positives.size else 0
        rows = np.flatnonzero(negative)
        chosen = surest_first(scores, score, rows)[:number]
        score = np.where(negative, score, values(selected.table, "score"))
        return selection_of(scores, score, np.concatenate([positives, chosen]), rules)

    def label(self, prediction: Prediction, /) -> SoftLabels:
        """Label as the selector does, but no foreground in a certain negative."""
        labels = soft(self.selector.label(prediction))
        negative = _peak(prediction) <= self.ceiling
        return replace(
            labels,
            label=_emptied(labels.label, negative),
            probabilities=_without_foreground(labels.probabilities, negative),
        )

    def _negatives(self, scores: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Tell which rows are certain negatives, and return all rows' scores."""
        score = values(scores, "score").astype(np.float64)
        return (values(scores, "peak") <= self.ceiling) & ~np.isnan(score), score


def _peak(prediction: Prediction) -> Array:
    """Return the highest foreground probability ``(B,)`` of each sample."""
    planes = foreground(prediction.probabilities)
    return array_namespace(planes).max(planes, axis=tuple(range(1, planes.ndim)))


def _emptied(label: Array, negative: Array) -> Array:
    """Return the labels ``(B, *S)`` with the background, or what is ignored, in negatives."""
    xp = array_namespace(label)
    background = xp.where(label == IGNORE, label, xp.zeros_like(label))
    return xp.where(_over(negative, label), background, label)


def _without_foreground(probabilities: Array | None, negative: Array) -> Array | None:
    """Return the probabilities ``(B, K, *S)`` with a certain background in negatives."""
    if probabilities is None:
        return None
    xp = array_namespace(probabilities)
    planes = xp.zeros_like(foreground(probabilities))
    background = [xp.ones_like(planes[:, :1, ...])] if probabilities.shape[1] > 1 else []
    return xp.where(
        _over(negative, probabilities), xp.concat([*background, planes], axis=1), probabilities
    )


def _over(negative: Array, array: Array) -> Array:
    """Return which samples are negative ``(B,)``, in the shape of an array of all samples."""
    shape = (array.shape[0],) + (1,) * (array.ndim - 1)
    return array_namespace(negative).reshape(negative, shape)
