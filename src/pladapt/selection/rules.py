"""The rules that turn a table of scores into a selection."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.unique import repeated
from pladapt.errors import InputError
from pladapt.functional.numbers import plain, real, whole
from pladapt.types import SELECTION, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

Amount: TypeAlias = int | float
"""A number from 1 as an integer, or a fraction in (0, 1] as a float."""

Stratum: TypeAlias = Literal["group", "size", "class"]
"""What a selection may be spread over."""


_RULES: Final = ("min_pixels", "undefined", "limit", "quantile", "top_k", "spread")


def check_amount(name: str, amount: Amount) -> None:
    """Refuse what is neither a number nor a fraction.

    Raises:
        InputError: An integer below 1, or a float outside (0, 1].
    """
    number = plain(amount)
    if not isinstance(number, int | float) or not (
        number >= 1 if isinstance(number, int) else 0 < number <= 1
    ):
        raise InputError(
            f"{name} is {amount!r}; give a number from 1 as an integer, or a fraction in (0, 1] as "
            "a float."
        )


def number_of(amount: Amount, total: int) -> int:
    """Return the number that an amount of ``total`` is; a fraction is rounded, but not to none."""
    number: Amount = plain(amount)
    return number if isinstance(number, int) else max(1, round(number * total))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which samples are kept, by their scores.

    The rules apply in this order, each to what the ones before it left. A dropped sample is noted
    with the name of the rule that dropped it:

    - ``min_pixels``: fewer pixels above the cut-off than that.
    - ``undefined``: the score is NaN.
    - ``limit``: a lower score; one equal to the limit passes.
    - ``quantile``: a score below that quantile of those that are left.
    - ``top_k``: beyond the number kept, ties broken by id.
    - ``spread``: among the ``top_k`` surest, but its place went to another stratum. The places are
      given in turns: one to each group, then a second one to each, and so on, in each turn to the
      surest. Within a group the sizes take turns likewise, if asked for.

    The kept samples are ranked by their scores, the surest first.

    Args:
        min_pixels: The fewest pixels above the cut-off; None for no such rule.
        limit: The lowest score that is kept; None for no limit.
        quantile: In [0, 1); 0.75 keeps the quarter with the highest scores.
        top_k: How many are kept at the most: a number as an integer, or as a float a fraction in
            (0, 1] of the samples that pass the rules before, rounded; None for all.
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
        self._as_pythons()
        if self.limit is not None and math.isnan(self.limit):
            raise InputError("limit is nan; give a number, or None for no limit.")
        if self.quantile is not None and not 0 <= self.quantile < 1:
            raise InputError(f"quantile is {self.quantile}; it must lie in [0, 1).")
        if self.top_k is not None:
            check_amount("top_k", self.top_k)
        if unknown := [name for name in self.spread if name not in get_args(Stratum)]:
            raise InputError(f"Cannot spread over {unknown[0]!r}; give some of {get_args(Stratum)}")
        if self.spread and self.top_k is None:
            raise InputError("spread shares out the places that top_k gives; give top_k as well.")

    def _as_pythons(self) -> None:
        """Make numbers of other libraries Python's, and refuse what is none."""
        for name, least in (("min_pixels", 0), ("sizes", 1)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name in ("limit", "quantile"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real(name, getattr(self, name)))

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply the rules, and note for every other sample which one dropped it.

        >>> import pyarrow as pa
        >>> from pladapt import Rules
        >>> scores = pa.table(
        ...     {
        ...         "id": ["a", "b", "c", "d", "e", "f"],
        ...         "score": [0.91, 0.99, 0.97, 0.40, 0.95, float("nan")],
        ...         "pixels": [320, 12, 410, 95, 77, 0],
        ...     }
        ... )
        >>> selection = Rules(min_pixels=50, limit=0.8, top_k=2).select(scores)
        >>> selection.kept
        ('c', 'e')
        >>> selection.dropped
        {'a': 'top_k', 'b': 'min_pixels', 'd': 'limit', 'f': 'min_pixels'}

        ``b`` and ``f`` have fewer than 50 pixels, and ``d`` a score below 0.8. Three samples are
        left, of which ``c`` and ``e`` have the two highest scores.

        Args:
            scores: Columns ``id`` (string, unique) and ``score`` (float); ``pixels`` (int) for
                ``min_pixels`` and sizes; ``group`` for groups; ``pixels_1``, ``pixels_2``, ... for
                classes.

        Raises:
            InputError: A column is missing, or an id is there twice.
        """
        score = values(scores, "score").astype(np.float64)
        _check_unique(scores)
        rules = np.zeros(len(score), np.int8)  # by their place in _RULES; of a kept row, any
        left = np.arange(len(score))
        for name, drops in self._thresholds(scores, score):
            low = drops(left)
            rules[left[low]] = _RULES.index(name)
            left = left[~low]
        if self.top_k is not None:
            number = number_of(self.top_k, len(left))
            rules[left] = _RULES.index("top_k")
            if self.spread:
                left = surest_first(scores, score, left)
                rules[left[:number]] = _RULES.index("spread")
                left = self._in_turns(scores, left)[:number]
            else:
                left = _surest(scores, score, left, number)
        names = pa.DictionaryArray.from_arrays(pa.array(rules), pa.array(_RULES))
        return selection_of(scores, score, surest_first(scores, score, left), names)

    def columns(self, names: Iterable[str]) -> list[str]:
        """Return which of a table's columns `select` reads."""
        read = {"id", "score"}
        if self.min_pixels or "size" in self.spread:
            read.add("pixels")
        if "group" in self.spread:
            read.add("group")
        classes = "class" in self.spread
        return [name for name in names if name in read or (classes and _is_of_class(name))]

    def _thresholds(
        self, scores: pa.Table, score: NDArray[np.float64]
    ) -> Iterator[tuple[str, Callable[[NDArray[np.int64]], NDArray[np.bool_]]]]:
        """Yield each rule but the last two: its name, and which of some rows it drops."""
        if self.min_pixels:
            few = values(scores, "pixels", "min_pixels") < self.min_pixels
            yield "min_pixels", lambda rows: few[rows]
        yield "undefined", lambda rows: np.isnan(score[rows])
        if self.limit is not None:
            limit = self.limit
            yield "limit", lambda rows: score[rows] < limit
        if self.quantile is not None:
            quantile = self.quantile
            yield "quantile", lambda rows: score[rows] < _quantile(score[rows], quantile)

    def _in_turns(self, scores: pa.Table, order: NDArray[np.int64]) -> NDArray[np.int64]:
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
            groups = values(scores, "group", "spread")[order].astype(str)
            return np.unique(groups, return_inverse=True)[1]
        if name == "size":
            return _size(values(scores, "pixels", "spread")[order], self.sizes)
        return _rarest_class(scores, order, max(1, self.min_pixels or 1))


def values(scores: pa.Table, name: str, rule: str | None = None) -> NDArray[Any]:
    """Return a column of scores.

    Raises:
        InputError: There is none of that name; says which rule needs it.
    """
    if name not in scores.column_names:
        needs = "" if rule is None else f" Leave out {rule}, which needs it, or score again."
        raise InputError(
            f"The scores have no column {name!r}; they have {scores.column_names}.{needs}"
        )
    found: NDArray[Any] = scores[name].to_numpy()
    return found


def _check_unique(scores: pa.Table) -> None:
    """Refuse an id that is there twice.

    Raises:
        InputError: One is, or there are no ids.
    """
    if "id" not in scores.column_names:
        values(scores, "id")  # says so
    if (twice := repeated(scores["id"])) is not None:
        raise InputError(f"The id {twice!r} is there twice; ids must be unique.")


def surest_first(
    scores: pa.Table, score: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return some rows by falling score, ties by id.

    Args:
        scores: At least ``id``.
        score: ``(N,)``, of each row of the table.
        rows: Some of them.
    """
    ids = scores["id"].cast(pa.string()).take(pa.array(rows))
    table = pa.table({"score": score[rows], "id": ids})
    order = pc.sort_indices(table, [("score", "descending"), ("id", "ascending")])
    sorted_rows: NDArray[np.int64] = rows[order.to_numpy()]
    return sorted_rows


def _surest(
    scores: pa.Table, score: NDArray[np.float64], rows: NDArray[np.int64], number: int
) -> NDArray[np.int64]:
    """Return so many of some rows, those of the highest score, in linear time; ties by id."""
    if number >= len(rows):
        return rows
    lowest = np.partition(score[rows], len(rows) - number)[len(rows) - number]
    above, equal = rows[score[rows] > lowest], rows[score[rows] == lowest]
    return np.concatenate([above, surest_first(scores, score, equal)[: number - len(above)]])


def _quantile(score: NDArray[np.float64], quantile: float) -> float:
    return float(np.quantile(score, quantile)) if score.size else -math.inf


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


def _is_of_class(name: str) -> bool:
    return re.fullmatch(r"pixels_\d+", name) is not None


def _rarest_class(scores: pa.Table, order: NDArray[np.int64], min_pixels: int) -> NDArray[np.int64]:
    """Return, of the classes that each row shows, the one that the fewest rows show."""
    names = [name for name in scores.column_names if _is_of_class(name)]
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


def selection_of(
    scores: pa.Table,
    score: NDArray[np.float64],
    order: NDArray[np.int64],
    rules: pa.Array | pa.ChunkedArray,
) -> Selection:
    """Return the selection of some rows, the surest first, and the rules of the others.

    Args:
        scores: At least ``id``.
        score: ``(N,)``, by which they were chosen; NaN where there is none.
        order: The kept rows.
        rules: ``(N,)``, the name of the rule that dropped each row; of a kept one any, or null.
    """
    ranks = np.zeros(len(scores), np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    columns = [
        scores["id"].cast(pa.string()),
        pa.array(score, from_pandas=True),  # null for NaN
        pa.array(ranks, mask=ranks == 0),
        pc.if_else(pa.array(ranks == 0), rules.cast(pa.string()), pa.scalar(None, pa.string())),
    ]
    return Selection(pa.table(columns, schema=SELECTION))


def with_score(scores: pa.Table, score: NDArray[np.float64] | pa.ChunkedArray) -> pa.Table:
    """Return the table with another score for each row."""
    column = score if isinstance(score, pa.ChunkedArray) else pa.array(score)
    return scores.set_column(scores.column_names.index("score"), "score", column)
