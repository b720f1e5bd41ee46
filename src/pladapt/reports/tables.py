"""The tables of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pladapt.functional.overlap import COUNTS, METRICS
from pladapt.reports.comparison import ALL, NOT_RETRAINED, by_name, compare, rows, selected
from pladapt.reports.document import Bullets, Table
from pladapt.reports.galleries import KEPT
from pladapt.reports.statistics import paired_change
from pladapt.runs.records import Recalibrated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from pladapt.runs.records import Round, RunRecord

AGGREGATIONS: Final = {
    "pooled": "all pixels of all samples together",
    "group": "mean over groups (patients), each one's pixels pooled",
    "sample": "mean over samples (slices)",
}
"""What the figures of each aggregation are; the first leads."""

_RULES: Final = {
    KEPT: "retrained on, their own predictions as labels",
    "min_pixels": "fewer pixels above the cut-off",
    "undefined": "no score: no pixel above the cut-off",
    "limit": "a lower score",
    "quantile": "a score below the quantile",
    "top_k": "beyond the number kept",
    "spread": "its place went to another group, size or class",
    "negatives": "surely without foreground, beyond the number kept",
    "rejected": "a person rejected its mask",
}


def overlap_evaluators(record: RunRecord) -> list[str]:
    """Return the names of the evaluators that counted pixels."""
    needed = {"id", "group", "class", *COUNTS}
    return [
        name
        for name, evaluation in record.before.items()
        if record.after[name].failure is None
        and "empty_dsc" in evaluation.notes
        and needed <= set(evaluation.samples.column_names)
    ]


def change_tables(record: RunRecord, evaluator: str) -> Iterator[Table]:
    """Yield what an evaluator measured before and after: the figures that lead, then all."""
    if evaluator not in overlap_evaluators(record):
        yield _summary_table(record, evaluator)
        return
    changes = compare(record, evaluator)
    header = ("samples", "class", *(metric.upper() for metric in METRICS))
    for aggregation, meaning in AGGREGATIONS.items():
        caption = f"{evaluator}, {aggregation}: {meaning}; before → after"
        yield Table(caption, header, tuple(rows(changes, aggregation)))
    yield every_figure(record, evaluator)


def failed_evaluations(record: RunRecord) -> Iterator[Bullets]:
    """Yield which evaluators failed, at which stage and why, where one did."""
    found = record.recalibration
    stages = {
        "before adaptation": record.before,
        "after recalibration": {} if found is None else found.evaluations,
        **{f"after round {each.number}": each.evaluations for each in record.rounds},
        "of what was chosen": {} if record.choice is None else record.choice.evaluations,
    }
    failed = [
        f"{name} failed {stage}: {evaluation.failure}. A run that continues tries it once more."
        for stage, evaluations in stages.items()
        for name, evaluation in evaluations.items()
        if evaluation.failure is not None
    ]
    if failed:
        yield Bullets(tuple(failed))


def every_figure(record: RunRecord, evaluator: str, name: str = "") -> Table:
    """Return each aggregation, class and metric before and after, with the counts of values."""
    return Table(
        f"Every figure{name}, and of how many values it is",
        ("samples", "aggregation", "class", "metric", "before", "after", "change", "values"),
        tuple(
            (
                change.samples,
                change.aggregation,
                str(change.class_),
                change.metric.upper(),
                f"{change.before:.3f}",
                f"{change.after:.3f}",
                f"{change.after - change.before:+.3f}",
                str(change.count),
            )
            for change in compare(record, evaluator)
        ),
        folded=True,
    )


def _summary_table(record: RunRecord, evaluator: str) -> Table:
    """Return what an evaluator of any kind summarised, before and after."""
    keys = ("aggregation", "class", "metric")
    before, after = (
        {tuple(str(row[key]) for key in keys): row for row in found[evaluator].summary.to_pylist()}
        for found in (record.before, record.after)
    )
    return Table(
        f"{evaluator}, before and after, and of how many values each figure is",
        (*keys, "before", "after", "values"),
        tuple(
            (*key, f"{before[key]['mean']:.3f}", f"{row['mean']:.3f}", str(row["count"]))
            for key, row in after.items()
            if key in before
        ),
    )


def rules_table(rounds: Sequence[Round], parameters: Mapping[str, Any]) -> Table:
    """Return how many samples each rule dropped in each round.

    Args:
        rounds: The rounds.
        parameters: The selector's, by name; those of the rules are shown.
    """

    def meaning(rule: str) -> str:
        said, value = _RULES.get(rule, "the selector's own rule"), parameters.get(rule)
        return said if value is None else f"{said} ({value:g})"

    counts = {current.number: current.selection.counts for current in rounds}
    rules = dict.fromkeys(rule for counted in counts.values() for rule in counted)
    several = len(rounds) > 1
    return Table(
        "What became of the samples; the first rule that drops one is its reason",
        ("rule", "meaning", *(f"round {number}" if several else "samples" for number in counts)),
        tuple(
            (rule, meaning(rule), *(str(counted.get(rule, 0)) for counted in counts.values()))
            for rule in rules
        ),
    )


def evidence_table(current: Round | Recalibrated) -> Table | None:
    """Return what the gates measured of what was made, or None where they judged nothing."""
    if current.judgement is None:
        return None
    verdict = "accepted" if current.judgement.accepted else "refused"
    made = "Recalibration" if isinstance(current, Recalibrated) else f"Round {current.number}"
    return Table(
        f"{made}, {verdict}: the predictor that was given and the one it made",
        ("measure", "class", "source", "before", "after", "allowed", "passed"),
        tuple(
            (
                row["measure"],
                "all" if row["class"] is None else str(row["class"]),
                *(figure(row[name]) for name in ("reference", "before", "after")),
                row["limit"],
                "yes" if row["passed"] else "no",
            )
            for row in current.judgement.evidence.to_pylist()
        ),
    )


def figure(value: float | None) -> str:
    """Return a number as a cell; nothing for None."""
    return "" if value is None else f"{value:.4f}"


def sureness_table(record: RunRecord, evaluator: str, class_: int, of_class: str) -> Table:
    """Return the mean change of a group, with its bootstrap interval and Wilcoxon's p."""
    rest = selected(record) & set(record.before[evaluator].samples["id"].to_pylist())
    left_out = {ALL: set[str](), NOT_RETRAINED: rest} if rest else {ALL: set[str]()}
    return Table(
        f"The mean change of a group{of_class}, and how sure it is",
        ("samples", "metric", "change", "95 % interval", "groups", "gained", "lost", "p"),
        tuple(
            (samples, metric.upper(), *_sureness(before[metric], after[metric]))
            for samples, without in left_out.items()
            for before, after in [
                by_name(record, evaluator, by="group", class_=class_, without=without)
            ]
            for metric in METRICS
        ),
    )


def _sureness(before: pa.ChunkedArray, after: pa.ChunkedArray) -> tuple[str, ...]:
    change = paired_change(before.to_numpy(), after.to_numpy())
    if change is None:
        return ("undefined", "", "0", "0", "0", "")
    mean, low, high, groups = change.interval
    return (
        f"{mean:+.3f}",
        f"{low:+.3f} to {high:+.3f}" if groups > 1 else "one group alone",
        str(groups),
        str(change.better),
        str(change.worse),
        f"{change.p_value:.3f}",
    )


def group_table(record: RunRecord, evaluator: str, class_: int, of_class: str) -> Table:
    """Return each group's metrics before and after."""
    before, after = by_name(record, evaluator, by="group", class_=class_)
    return Table(
        f"Each group's figures{of_class}; before → after",
        ("group", *(metric.upper() for metric in METRICS)),
        tuple(
            (old["group"], *(f"{old[metric]:.3f} → {new[metric]:.3f}" for metric in METRICS))
            for old, new in zip(before.to_pylist(), after.to_pylist(), strict=True)
        ),
        folded=True,
    )
