"""What the study found: each patient's pixels, and the statistics made of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from domains import ALL
from rows import FRACTIONS, ORACLES, ORDER
from work import KEY, Task

from pladapt.functional.overlap import COUNTS, dsc, pool, sen, spc
from pladapt.reports.statistics import bootstrap_statistic
from pladapt.storage import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.reports.statistics import Interval

SOURCE: Final = "source"
BEST: Final = "paper-best"
"""The best of the paper's rows by the target's labels; no one could choose it without them."""


class Cost(NamedTuple):
    """What a row took.

    Args:
        seconds: Of the process, on all its cores.
        inference: Passes over the target through the network without a gradient.
        training: Those with one.
    """

    seconds: float
    inference: float
    training: float


@dataclass(frozen=True, eq=False)
class Found:
    """A row of a pair, at all seeds that have finished.

    Args:
        counts: By seed, ``(patients, 4)``: true and false positives, false and true negatives.
        costs: By seed.
        told: What else is known, by seed.
    """

    counts: Mapping[int, NDArray[np.int64]]
    costs: Mapping[int, Cost]
    told: Mapping[int, Mapping[str, Any]]


def collect(out: Path) -> dict[str, Any]:
    """Return all that is finished in the study's folder, patient by patient; JSON-able."""
    rows, failures, machines = [], [], []
    for task in _all_tasks(out):
        name = {"pair": task.pair, "seed": task.seed, "row": task.row}
        if task.note(out).exists():
            reason = task.note(out).read_text(encoding="utf-8").partition("\n")[0]
            failures.append(name | {"reason": reason})
        elif task.path(out).exists():
            table = read_table(task.path(out))
            told = json.loads(table.schema.metadata[KEY])
            machines.append(told.pop("about"))
            rows.append(name | {"told": told, "patients": _by_patient(table)})
    return {
        "machines": [m for i, m in enumerate(machines) if m not in machines[:i]],
        "rows": rows,
        "failures": failures,
    }


def _all_tasks(out: Path) -> Iterator[Task]:
    for pair in ALL:
        seeds = sorted(int(path.name[5:]) for path in (out / "rows" / pair).glob("seed-*"))
        yield from (Task(pair, seed, row) for row in ORDER for seed in seeds)
        yield from (Task(pair, seed) for seed in seeds)


def _by_patient(table: Any) -> dict[str, list[int]]:
    pooled = pool(table, ["group"]).sort_by("group")
    return {row["group"]: [row[name] for name in COUNTS] for row in pooled.to_pylist()}


def found_in(collected: Mapping[str, Any], pair: str) -> dict[str, Found]:
    """Return a pair's rows by name, in their order, the paper's best after the paper's others.

    Raises:
        ValueError: The rows were not measured on the same patients.
    """
    rows = [row for row in collected["rows"] if row["pair"] == pair]
    if len({tuple(row["patients"]) for row in rows}) > 1:
        raise ValueError(f"The rows of {pair} were measured on different patients; run them anew.")
    found: dict[str, Found] = {}
    for name in ORDER:
        mine = {row["seed"]: row for row in rows if row["row"] == name}
        if mine:
            found[name] = _found(mine)
    best = _best([found[name] for name in FRACTIONS if name in found])
    return _ordered(found | ({BEST: best} if best else {}))


def _found(rows: Mapping[int, Mapping[str, Any]]) -> Found:
    told = {seed: row["told"] for seed, row in sorted(rows.items())}
    return Found(
        {seed: np.array(list(rows[seed]["patients"].values()), np.int64) for seed in told},
        {s: Cost(t["seconds"], t["inference"], t["training"]) for s, t in told.items()},
        told,
    )


def _best(papers: Sequence[Found]) -> Found | None:
    """Choose at each seed the row with the highest DSC, where all of them have finished."""
    if len(papers) < len(FRACTIONS):
        return None
    seeds = set.intersection(*(set(paper.counts) for paper in papers))
    values = {seed: [float(pooled_dsc(p.counts[seed])) for p in papers] for seed in sorted(seeds)}
    chosen = {seed: papers[int(np.argmax(each))] for seed, each in values.items()}
    return Found(
        {seed: paper.counts[seed] for seed, paper in chosen.items()},
        {seed: paper.costs[seed] for seed, paper in chosen.items()},
        {seed: paper.told[seed] for seed, paper in chosen.items()},
    )


def _ordered(found: Mapping[str, Found]) -> dict[str, Found]:
    order = (SOURCE, "batch-norm", "tent", "random", *FRACTIONS, BEST)
    after = [name for name in ORDER if name.startswith("robust")]
    return {name: found[name] for name in (*order, *after, *ORACLES) if name in found}


def reference(found: Mapping[str, Found]) -> str | None:
    """Return the row that the gap ends at, or None where there is none.

    Of those that were trained on the target's labels it is the one with the highest DSC, the mean
    over its seeds.
    """
    oracles = [name for name in ORACLES if name in found]
    return max(oracles, key=lambda name: _level(found[name]), default=None)


def _level(row: Found) -> float:
    return float(np.mean([pooled_dsc(counts) for counts in row.counts.values()]))


def pooled_dsc(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the DSC of the pixels of all patients together.

    Args:
        counts: ``(..., patients, 4)``.
    """
    tp, fp, fn, _ = np.moveaxis(counts.sum(axis=-2), -1, 0)
    return dsc(tp, fp, fn)


def measures(counts: NDArray[np.int64]) -> dict[str, float]:
    """Return DSC, SEN and SPC, ``pooled`` over all pixels and as the mean over ``patients``.

    A patient without a positive pixel has no SEN, and is left out of its mean.

    Args:
        counts: ``(patients, 4)``.
    """
    found: dict[str, float] = {}
    for how, given in (("pooled", counts.sum(axis=0, keepdims=True)), ("patients", counts)):
        tp, fp, fn, tn = given.T
        values = {"dsc": dsc(tp, fp, fn), "sen": sen(tp, fn), "spc": spc(fp, tn)}
        found |= {f"{name} {how}": float(np.nanmean(v)) for name, v in values.items()}
    return found


def closed(
    row: Found,
    source: Found,
    oracle: Found,
    minus: Found | None = None,
    *,
    by_patient: bool = False,
) -> Interval | None:
    """Return which fraction of the gap between source and oracle a row closes.

    ``(row - source) / (oracle - source)``, each the mean over the seeds of the DSC of all patients'
    pixels together, or of the mean of the patients' DSC. The interval is of drawing the patients
    anew, the same ones at all seeds and in all rows; what another seed would give is not in it.

    Args:
        row: The row.
        source: The source models.
        oracle: The models that were trained on the target's labels.
        minus: Another row, whose fraction is subtracted; None for none.
        by_patient: Whether every patient counts the same, and not every pixel.

    Returns:
        None where no seed has all the rows, or the oracle is no better than the source.
    """
    given = [found for found in (row, source, oracle, minus) if found is not None]
    seeds = sorted(set.intersection(*(set(found.counts) for found in given)))
    if not seeds:
        return None
    stacked = [np.stack([found.counts[seed] for seed in seeds]) for found in given]

    def fraction(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        after, before, most, *other = (mean_dsc(counts, drawn) for counts in stacked)
        return np.asarray((after - (other[0] if other else before)) / (most - before))

    mean_dsc = _mean_of_patients if by_patient else _mean_dsc
    everyone = np.ones((1, stacked[0].shape[1]), np.int64)
    if mean_dsc(stacked[2], everyone) <= mean_dsc(stacked[1], everyone):
        return None
    return bootstrap_statistic(fraction, stacked[0].shape[1])


def _mean_of_patients(counts: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over seeds and patients of the DSC, for each draw ``(R, patients)``."""
    each = dsc(counts[..., 0], counts[..., 1], counts[..., 2]).mean(axis=0)
    return np.asarray(drawn @ each / drawn.sum(axis=1))


def _mean_dsc(counts: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over seeds of the DSC, for each draw of patients ``(R, patients)``."""
    pixels = np.einsum("rp,spc->rsc", drawn.astype(np.float64), counts.astype(np.float64))
    return np.asarray(dsc(pixels[..., 0], pixels[..., 1], pixels[..., 2]).mean(axis=1))


def rises(row: Found, source: Found) -> dict[int, Interval]:
    """Return by how much a row's DSC is above the source's at each seed, pixels pooled."""
    return {
        seed: _rise(row.counts[seed][None], source.counts[seed][None])
        for seed in row.counts
        if seed in source.counts
    }


def gain(row: Found, other: Found) -> Interval | None:
    """Return by how much a row's DSC is above another's, the mean over the seeds of both.

    The interval is as in `closed`. Returns None where they have no seed in common.
    """
    seeds = sorted(set(row.counts) & set(other.counts))
    if not seeds:
        return None
    after, before = (np.stack([found.counts[seed] for seed in seeds]) for found in (row, other))
    return _rise(after, before)


def _rise(after: NDArray[np.int64], before: NDArray[np.int64]) -> Interval:
    """Return the rise between counts ``(seeds, patients, 4)``."""

    def difference(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        return _mean_dsc(after, drawn) - _mean_dsc(before, drawn)

    return bootstrap_statistic(difference, after.shape[1])
