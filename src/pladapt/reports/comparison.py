"""Before beside after: on all samples, and on those that the model did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pladapt.errors import InputError
from pladapt.functional.overlap import METRICS, pool, summarise

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pladapt.runs.records import RunRecord
    from pladapt.types import Evaluation

ALL: Final = "all"
NOT_RETRAINED: Final = "not retrained on"


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of one class, before and after.

    Args:
        samples: ``all``, or ``not retrained on``: without those that the model learnt from, since a
            model is flattered by the very samples it was retrained on.
        aggregation: ``sample``, ``group`` or ``pooled``.
        class_: The class, from 1.
        metric: ``dsc``, ``sen`` or ``spc``.
        before: The mean before the first round.
        after: The mean after the last.
        count: How many values the mean after is of.
    """

    samples: str
    aggregation: str
    class_: int
    metric: str
    before: float
    after: float
    count: int


def selected(record: RunRecord) -> set[str]:
    """Return the ids that any round selected, but for one that was refused."""
    standing = (current for current in record.rounds if current.stands)
    return {id_ for current in standing for id_ in current.selection.kept}


def compare(record: RunRecord, evaluator: str) -> list[Change]:
    """Compare what an overlap evaluator measured before and after adaptation.

    Raises:
        InputError: No evaluator of that name was given to the run.
    """
    if evaluator not in record.before:
        raise InputError(f"There is no evaluator {evaluator!r}; the run had {list(record.before)}.")
    before, after = record.before[evaluator], record.after[evaluator]
    changes = list(_changes(ALL, before.summary, after.summary))
    kept = pa.array(sorted(selected(record) & set(after.samples["id"].to_pylist())), pa.string())
    if len(kept):
        rest = [_summary_without(evaluation, kept) for evaluation in (before, after)]
        changes += _changes(NOT_RETRAINED, *rest)
    return changes


def by_name(
    record: RunRecord,
    evaluator: str,
    *,
    by: Literal["id", "group"],
    class_: int = 1,
    without: Collection[str] = (),
) -> tuple[pa.Table, pa.Table]:
    """Return one class's metrics before and after, each with a row per sample or per group.

    Args:
        record: What the run did.
        evaluator: One that counted pixels.
        by: Whether a row is a sample or a group; a group's pixels are pooled.
        class_: The class, from 1.
        without: The ids of samples to leave out.

    Returns:
        Two tables with the same names in ``by``, in the same order: ``by``, the counts and the
        metrics.
    """
    ids = pa.array(sorted(without), pa.string())
    before, after = record.before[evaluator], record.after[evaluator]
    return _named(before, by, class_, ids), _named(after, by, class_, ids)


def _named(evaluation: Evaluation, by: str, class_: int, without: pa.Array) -> pa.Table:
    samples = _without(evaluation, without)
    samples = samples.filter(pc.equal(samples["class"], class_))
    return pool(samples, [by], empty=float(evaluation.notes["empty_dsc"])).sort_by(by)


def _without(evaluation: Evaluation, ids: pa.Array) -> pa.Table:
    return evaluation.samples.filter(pc.invert(pc.is_in(evaluation.samples["id"], ids)))


def _summary_without(evaluation: Evaluation, ids: pa.Array) -> pa.Table:
    return summarise(_without(evaluation, ids), empty=float(evaluation.notes["empty_dsc"]))


def _changes(samples: str, before: pa.Table, after: pa.Table) -> Iterator[Change]:
    for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True):
        yield Change(
            samples,
            new["aggregation"],
            new["class"],
            new["metric"],
            old["mean"],
            new["mean"],
            new["count"],
        )


def rows(changes: list[Change], aggregation: str = "pooled") -> Iterator[tuple[str, ...]]:
    """Yield a row of text for each set of samples and class: samples, class, then each metric."""
    keys = dict.fromkeys((c.samples, c.class_) for c in changes if c.aggregation == aggregation)
    for samples, class_ in keys:
        found = {
            c.metric: f"{c.before:.3f} → {c.after:.3f}"
            for c in changes
            if (c.samples, c.class_, c.aggregation) == (samples, class_, aggregation)
        }
        yield (samples, str(class_), *(found[metric] for metric in METRICS))
