"""What follows from a cell's pixels: DSC on images that nobody reviewed, and the gap closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from orders import ORDERS, QUEUE
from results import MARGIN, MIN_GAP

from pladapt.functional.overlap import dsc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PLACES: Final = ("apart", "not reviewed", "all")
"""Where the DSC is measured; see `summary`."""


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a cell, from what `orders.simulate` kept; JSON-able.

    The DSC is that of all pixels together: ``apart``, of the images that came early in no order, so
    that every order is measured on the same ones; ``not reviewed``, of those that an order had not
    reviewed; and ``all``.
    """
    ids = found["ids"]
    seen = {id_ for each in found["reviews"] for id_ in each["reviewed"]}
    apart = [id_ not in seen for id_ in ids]
    cell = {name: found[name] for name in ("pair", "seed", "verdict")}
    cell |= {"images": len(ids), "apart": sum(apart)}
    for name in ("source", "robust", "labels"):
        everywhere = _score(found[name], [True] * len(ids))
        cell[name] = {"apart": _score(found[name], apart), "all": everywhere}
    cell["reviews"] = [_review(each, ids, apart, found["robust"]) for each in found["reviews"]]
    return cell


def _review(
    each: Mapping[str, Any], ids: Sequence[str], apart: list[bool], robust: Sequence[Sequence[int]]
) -> dict[str, Any]:
    others = [id_ not in each["reviewed"] for id_ in ids]
    marked = [row[0] + row[2] > 0 for row, other in zip(robust, others, strict=True) if not other]
    return {
        "order": each["order"],
        "draw": each["draw"],
        "count": len(each["reviewed"]),
        "with foreground": sum(marked),
        "verdict": each["verdict"],
        "apart": _score(each["counts"], apart),
        "not reviewed": _score(each["counts"], others),
        "before, not reviewed": _score(robust, others),
        "all": _score(each["counts"], [True] * len(ids)),
    }


def _score(counts: Sequence[Sequence[int]], chosen: Sequence[bool]) -> float:
    tp, fp, fn, _ = np.array(counts, np.int64)[np.array(chosen)].sum(axis=0).tolist()
    return round(float(dsc(tp, fp, fn, empty=1.0)), 6)


@dataclass(frozen=True, eq=False)
class Found:
    """The cells of the simulation.

    Args:
        cells: What `summary` returned of each.
        place: One of `PLACES`.
    """

    cells: Sequence[Mapping[str, Any]]
    place: str = "apart"

    def value(self, cell: Mapping[str, Any], order: str, count: int) -> float:
        """Return the DSC of an order in a cell, the mean of its draws; of no image that before."""
        if not count:
            return float(cell["robust"][self.place])
        draws = [
            each[self.place]
            for each in cell["reviews"]
            if (each["order"], each["count"]) == (order, count)
        ]
        return float(np.mean(draws)) if draws else float("nan")

    @property
    def counts(self) -> list[int]:
        """How many images were reviewed, 0 first."""
        return [0, *sorted({each["count"] for cell in self.cells for each in cell["reviews"]})]

    @property
    def gapped(self) -> list[Mapping[str, Any]]:
        """The cells in which the target's labels bring at least `MIN_GAP`."""
        return [cell for cell in self.cells if self._gap(cell) >= MIN_GAP]

    def closed(self, cell: Mapping[str, Any], order: str, count: int) -> float:
        """Return which fraction of the gap between source model and labels is closed."""
        gained = self.value(cell, order, count) - float(cell["source"][self.place])
        return gained / self._gap(cell)

    def mean(
        self, value: Callable[[Mapping[str, Any], str, int], float], order: str, count: int
    ) -> float:
        """Return the mean of `value` or `closed` over their cells."""
        cells: Iterable[Mapping[str, Any]] = self.cells if value == self.value else self.gapped
        return float(np.mean([value(cell, order, count) for cell in cells]))

    def worse(self, count: int) -> list[str]:
        """Return the cells in which the queue leaves less than there was, by more than `MARGIN`."""
        return [
            f"{cell['pair']}, seed {cell['seed']} ({change:+.3f})"
            for cell in self.cells
            if (change := self.value(cell, QUEUE, count) - self.value(cell, QUEUE, 0)) < -MARGIN
        ]

    def _gap(self, cell: Mapping[str, Any]) -> float:
        return float(cell["labels"][self.place]) - float(cell["source"][self.place])


def orders_in(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the orders that were simulated, ours first."""
    known = {each["order"] for cell in cells for each in cell["reviews"]}
    return [order for order in ORDERS if order in known]
