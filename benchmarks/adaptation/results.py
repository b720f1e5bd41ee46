"""What the study found: each group's pixels in every cell, and what follows from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from pairs import NO_SHIFT, PAIRS
from rows import ORACLE, ORDER
from sources import sources_in
from work import KEY, Task

from pladapt.functional.overlap import COUNTS, dsc, pool, spc
from pladapt.reports.statistics import bootstrap_statistic
from pladapt.storage import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.reports.statistics import Interval

SOURCE: Final = "source"
ROBUST: Final = "robust"
BATCH_NORM: Final = "batch-norm"
MIN_GAP: Final = 0.05
"""The smallest gap of which a closed fraction is given."""

MARGIN: Final = 0.01
"""The change of DSC up to which a cell counts as unchanged."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A row of a cell.

    Args:
        counts: ``(groups, 4)``: true and false positives, false and true negatives.
        told: What else is known of it.
    """

    counts: NDArray[np.int64]
    told: Mapping[str, Any]

    @property
    def score(self) -> float:
        """The DSC of all pixels; without foreground in the truth, the fraction left unmarked."""
        return float(_score(self.counts, np.ones((1, len(self.counts)), np.int64))[0])

    @property
    def area_ratio(self) -> float:
        """The predicted area over the true one; NaN where there is no foreground."""
        tp, fp, fn, _ = self.counts.sum(axis=0)
        return float((tp + fp) / (tp + fn)) if tp + fn else np.nan


class Cell(NamedTuple):
    """A pair at a seed.

    Args:
        pair: Its name.
        seed: Of the source model.
        rows: What was measured, by row; the source is one of them.
    """

    pair: str
    seed: int
    rows: Mapping[str, Measured]

    @property
    def shifted(self) -> bool:
        """Whether source and target are two domains."""
        return self.pair not in NO_SHIFT

    def change(self, row: str) -> float:
        """Return by how much a row's score is above the source model's."""
        return self.rows[row].score - self.rows[SOURCE].score

    def interval(self, row: str) -> Interval:
        """Return that change with its interval, groups drawn anew, the same in both rows."""
        after, before = self.rows[row].counts, self.rows[SOURCE].counts
        return bootstrap_statistic(
            lambda drawn: _score(after, drawn) - _score(before, drawn), len(after)
        )

    def closed(self, row: str) -> float | None:
        """Return which fraction of the gap to the target's labels a row closes.

        None where the labels were not learnt from, or bring less than `MIN_GAP`.
        """
        if not {row, ORACLE} <= self.rows.keys() or self.change(ORACLE) < MIN_GAP:
            return None
        return self.change(row) / self.change(ORACLE)

    def cost(self) -> float | None:
        """Return the seconds of robust over those of the paper's rule, if both were run."""
        if not {ROBUST, "paper"} <= self.rows.keys():
            return None
        ours, theirs = (float(self.rows[row].told["seconds"]) for row in (ROBUST, "paper"))
        return ours / theirs


def _score(counts: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the score of each draw of groups ``(R, groups)``."""
    tp, fp, fn, tn = (drawn.astype(np.float64) @ counts.astype(np.float64)).T
    return np.where(counts[:, [0, 2]].sum() > 0, dsc(tp, fp, fn), spc(fp, tn))


def collect(out: Path) -> dict[str, Any]:
    """Return all that is finished in the study's folder, group by group; JSON-able."""
    rows, failures, machines = [], [], []
    parts = out / "parts.json"
    for task in _all_tasks(out):
        name = {"pair": task.pair, "seed": task.seed, "row": task.row}
        if task.note(out).exists():
            reason = task.note(out).read_text(encoding="utf-8").partition("\n")[0]
            failures.append(name | {"reason": reason})
        elif task.path(out).exists():
            table = read_table(task.path(out))
            told = json.loads(table.schema.metadata[KEY])
            machines.append(told.pop("about"))
            rows.append(name | {"told": told, "images": len(table), "groups": _by_group(table)})
    return {
        "sources": sources_in(out),
        "machines": [m for i, m in enumerate(machines) if m not in machines[:i]],
        "rows": rows,
        "failures": failures,
        "parts": json.loads(parts.read_text(encoding="utf-8")) if parts.exists() else [],
    }


def _all_tasks(out: Path) -> Iterator[Task]:
    for pair in PAIRS:
        seeds = sorted(int(path.name[5:]) for path in (out / "rows" / pair).glob("seed-*"))
        for seed in seeds:
            yield Task(pair, seed)
            yield from (Task(pair, seed, row) for row in ORDER)


def _by_group(table: Any) -> dict[str, list[int]]:
    pooled = pool(table, ["group"]).sort_by("group")
    return {row["group"]: [row[name] for name in COUNTS] for row in pooled.to_pylist()}


def cells_in(collected: Mapping[str, Any]) -> list[Cell]:
    """Return the cells in which the source model was measured, in the order of the pairs.

    Raises:
        ValueError: The rows of a cell were not measured on the same groups.
    """
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in collected["rows"]:
        found.setdefault((row["pair"], row["seed"]), {})[row["row"]] = row
    known = [key for key, rows in found.items() if SOURCE in rows]
    known.sort(key=lambda key: (list(PAIRS).index(key[0]), key[1]))
    return [_cell(*key, found[key]) for key in known]


def _cell(pair: str, seed: int, rows: Mapping[str, Mapping[str, Any]]) -> Cell:
    if len({tuple(row["groups"]) for row in rows.values()}) > 1:
        raise ValueError(f"The rows of {pair} were measured on different groups; run them anew.")
    measured = {
        name: Measured(np.array(list(rows[name]["groups"].values()), np.int64), rows[name]["told"])
        for name in ORDER
        if name in rows
    }
    return Cell(pair, seed, measured)


def truth_of(cell: Cell, in_domain: float) -> str | None:
    """Return whether a verdict of robust was ``right``, ``wrong`` or made no ``difference``.

    An adaptation is right where it is better than the source model by more than `MARGIN`. Leaving
    the model as it was is right where batch norm's statistics, which it could have taken, are worse
    by more than that. That it is not fit is right where its score is below half of that in its own
    domain, and wrong otherwise.

    Returns:
        None where robust was not run.
    """
    if ROBUST not in cell.rows:
        return None
    outcome = cell.rows[ROBUST].told["outcome"]
    if outcome == "unfit":
        return "right" if cell.rows[SOURCE].score < in_domain / 2 else "wrong"
    better = cell.change(ROBUST) if outcome == "adapted" else -cell.change(BATCH_NORM)
    return "right" if better > MARGIN else "wrong" if better < -MARGIN else "difference"
