"""Choosing from scores: by numbers, fractions and quantiles, and spread over patients and sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.selection.ranking import SELECTION, rank, values
from pladapt.types import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Amount: TypeAlias = int | float
"""A number from 1 as an integer, or a fraction in (0, 1] as a float."""

Stratum: TypeAlias = Literal["group", "size", "class"]
"""What a selection may be spread over."""


def check_amount(name: str, amount: Amount) -> None:
    """Refuse what is neither a number nor a fraction.

    Raises:
        InputError: An integer below 1, or a float outside (0, 1].
    """
    if not (amount >= 1 if isinstance(amount, int) else 0 < amount <= 1):
        raise InputError(
            f"{name} is {amount!r}; give a number from 1 as an integer, or a fraction in (0, 1] as a "
            "float."
        )


def number_of(amount: Amount, total: int) -> int:
    """Return the number that an amount of ``total`` is; a fraction is rounded, but not to none."""
    return amount if isinstance(amount, int) else max(1, round(amount * total))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Choose by rules, which may be relative to the scores at hand; for `pladapt.compose`.

    The rules, in order: ``min_pixels``, ``undefined`` and ``limit`` as for `pladapt.rank`;
    ``quantile`` (a score below that quantile of those that passed); ``top_k`` (beyond the number
    kept). With ``spread``, the places are given in turns: one to each group, then a second one to
    each, and so on until ``top_k`` are given, in each turn to the surest. Within a group the sizes
    take turns likewise, if asked for. A sample that would have been among the ``top_k`` surest and
    has no place is dropped by ``spread``. The kept samples are ranked by their scores.

    Args:
        min_pixels: The fewest pixels above the cut-off; None for no such rule.
        limit: The lowest score that is kept.
        quantile: In [0, 1); 0.75 keeps the quarter with the highest scores.
        top_k: How many are kept at the most: a number as an integer, or a fraction in (0, 1] of the
            samples that pass the rules before, rounded, as a float.
        spread: Over what, the outermost first: ``group`` (the patient), ``size`` (the number of
            pixels above the cut-off), ``class`` (of the classes that a sample shows, the one that
            the fewest samples show, so that a rare class has its turns).
        sizes: How many sizes are told apart, with as many samples each.

    Raises:
        InputError: A parameter outside its range; ``spread`` without ``top_k``.
    """

    min_pixels: int | None = None
    limit: float | None = None
    quantile: float | None = None
    top_k: Amount | None = None
    spread: Sequence[Stratum] = ()
    sizes: int = 3

    def __post_init__(self) -> None:
        if self.quantile is not None and not 0 <= self.quantile < 1:
            raise InputError(f"quantile is {self.quantile}; it must lie in [0, 1).")
        if self.top_k is not None:
            check_amount("top_k", self.top_k)
        if unknown := [name for name in self.spread if name not in get_args(Stratum)]:
            raise InputError(f"Cannot spread over {unknown[0]!r}; give some of {get_args(Stratum)}")
        if self.spread and self.top_k is None:
            raise InputError("spread shares out the places that top_k gives; give top_k as well.")
        if self.sizes < 1:
            raise InputError(f"sizes is {self.sizes}; it must be at least 1.")

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply the rules, and say of every other sample which one dropped it.

        Raises:
            InputError: A column is missing, or a kept id stands twice.
        """
        ranked = rank(scores, min_pixels=self.min_pixels, limit=self.limit)
        rules = np.array(ranked.table["rule"].to_pylist(), object)
        order = kept_rows(ranked)
        if self.quantile is not None and order.size:
            score = values(scores, "score")[order]
            low = score < np.quantile(score, self.quantile)
            rules[order[low]] = "quantile"
            order = order[~low]
        if self.top_k is not None:
            number = number_of(self.top_k, len(order))
            chosen = self._spread(scores, order)[:number]
            rules[order] = np.where(np.arange(len(order)) < number, "spread", "top_k")
            rules[chosen] = None
            order = order[np.isin(order, chosen)]
        return ranked_selection(scores, order, rules)

    def _spread(self, scores: pa.Table, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows in the order in which they are given a place."""
        strata = [self._stratum(scores, order, name) for name in self.spread]
        places = np.arange(len(order))
        for depth in range(len(strata), 0, -1):
            turn = np.empty(len(order), np.int64)
            turn[places] = _turns([stratum[places] for stratum in strata[:depth]])
            places = np.lexsort((np.arange(len(order)), turn))
        return order[places]

    def _stratum(
        self, scores: pa.Table, order: NDArray[np.int64], name: Stratum
    ) -> NDArray[np.int64]:
        """Return the number of the group, size or class that each row belongs to."""
        if name == "group":
            _, groups = np.unique(values(scores, "group")[order].astype(str), return_inverse=True)
            return groups
        if name == "size":
            return _size(values(scores, "pixels")[order], self.sizes)
        return _rarest_class(scores, order, max(1, self.min_pixels or 1))


def _turns(strata: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return, for each row, how many rows of the same strata come before it."""
    _, cells = np.unique(np.stack(strata, axis=1), axis=0, return_inverse=True)
    cells = cells.reshape(-1)
    order = np.argsort(cells, kind="stable")
    first = np.searchsorted(cells[order], cells[order], side="left")
    turns = np.empty(len(cells), np.int64)
    turns[order] = np.arange(len(cells)) - first
    return turns


def _size(pixels: NDArray[np.int64], sizes: int) -> NDArray[np.int64]:
    """Return which of some equally frequent sizes each sample has, from 0."""
    if not pixels.size:
        return pixels
    edges = np.quantile(pixels, np.arange(1, sizes) / sizes)
    return np.searchsorted(edges, pixels, side="left")


def _rarest_class(scores: pa.Table, order: NDArray[np.int64], min_pixels: int) -> NDArray[np.int64]:
    """Return, of the classes that each row shows, the one that the fewest rows show."""
    names = [name for name in scores.column_names if re.fullmatch(r"pixels_\d+", name)]
    if not names:  # a single class
        return np.zeros(len(order), np.int64)
    shown = np.stack([values(scores, name)[order] >= min_pixels for name in names], axis=1)
    rarest: NDArray[np.int64] = np.argmin(
        np.where(shown, shown.sum(axis=0), len(order) + 1), axis=1
    )
    return rarest


def kept_rows(selection: Selection) -> NDArray[np.int64]:
    """Return the rows that are kept, the surest first."""
    ranks = selection.table["rank"].fill_null(0).to_numpy()
    return np.argsort(ranks, kind="stable")[np.count_nonzero(ranks == 0) :]


def ranked_selection(
    scores: pa.Table, order: NDArray[np.int64], rules: NDArray[np.object_]
) -> Selection:
    """Return the selection of some rows, the surest first, and the rules of the others.

    Args:
        scores: At least ``id``.
        order: The kept rows.
        rules: ``(N,)``, the rule that dropped each row; None for a kept one.
    """
    ranks = np.zeros(len(scores), np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    columns = [
        scores["id"].cast(pa.string()),
        pa.array(ranks, mask=ranks == 0),
        pa.array(rules.tolist(), pa.string()),
    ]
    return Selection(pa.table(columns, schema=SELECTION))
