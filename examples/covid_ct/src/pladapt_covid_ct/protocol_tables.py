"""Tables II and III from finished folds, beside the paper's: plain tables, to be shown anyhow.

Each table is an Arrow table with a row per number, so that it can be written, joined and plotted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.functional.overlap import METRICS
from pladapt.reports.comparison import ALL, NOT_RETRAINED, by_name, compare, selected
from pladapt.reports.statistics import paired_change
from pladapt_covid_ct.paper import LETTERS, STAGES, TABLE_2, TABLE_3
from pladapt_covid_ct.source import EVALUATOR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pladapt import Evaluation
    from pladapt.runs import RunRecord
    from pladapt_covid_ct.paper import Printed
    from pladapt_covid_ct.protocol import FoldRecord

    Row = dict[str, Any]

BINARY: Final = "lesion"
"""The class of masks that tell no lesion classes apart: the paper's."""

_WHAT: Final = ("samples", "aggregation", "class", "metric")
_SPANS: Final = ("values", "slices", "patients", "selected")


def measured(records: Sequence[FoldRecord]) -> pa.Table:
    """Return every number that was measured, a row each.

    Returns:
        ``source``, ``fold``, ``test`` (the data set), ``stage`` (of `STAGES`), ``samples`` (``all``
        or ``not retrained on``), ``aggregation``, ``class`` (its name), ``metric``, ``value`` (null
        where undefined), ``values`` (of how many it is the mean), ``slices`` and ``patients``
        (behind them), ``selected`` (slices retrained on; null in domain).
    """
    rows = [row for record in records for row in (*_in_domain(record), *_unseen(record))]
    keys = {name: pa.string() for name in ("source", "test", "stage", *_WHAT)}
    numbers = {name: pa.int64() for name in ("fold", *_SPANS)}
    schema = pa.schema([*(keys | numbers).items(), ("value", pa.float64())])
    table = pa.Table.from_pylist(rows, schema=schema)
    value = table["value"]
    return table.set_column(
        table.schema.get_field_index("value"),
        "value",
        pc.if_else(pc.is_nan(value), pa.scalar(None, pa.float64()), value),
    )


def _in_domain(record: FoldRecord) -> Iterator[Row]:
    source = record.fold.source
    for row in record.in_domain.summary.to_pylist():
        yield {
            **_key(record, source, "in domain", ALL, row["class"]),
            **_behind(record.in_domain, ()),
            "aggregation": row["aggregation"],
            "metric": row["metric"],
            "value": row["mean"],
            "values": row["count"],
        }


def _unseen(record: FoldRecord) -> Iterator[Row]:
    for test, run in record.targets.items():
        retrained = selected(run)
        for change in compare(run, EVALUATOR):
            left_out = () if change.samples == ALL else retrained
            for stage, value in (("before", change.before), ("after", change.after)):
                yield {
                    **_key(record, test, stage, change.samples, change.class_),
                    **_behind(run.before[EVALUATOR], left_out),
                    "aggregation": change.aggregation,
                    "metric": change.metric,
                    "value": value,
                    "values": change.count,
                    "selected": len(retrained),
                }


def _key(record: FoldRecord, test: str, stage: str, samples: str, class_: int) -> Row:
    source, number = record.fold
    names = record.data[source]["classes"]
    return {
        "source": source,
        "fold": number,
        "test": test,
        "stage": stage,
        "samples": samples,
        "class": names[str(class_)],
    }


def _behind(evaluation: Evaluation, left_out: Collection[str]) -> Row:
    pairs = zip(*(evaluation.samples[name].to_pylist() for name in ("id", "group")), strict=True)
    patients = {id_: group for id_, group in pairs if id_ not in left_out}
    return {"slices": len(patients), "patients": len(set(patients.values()))}


def table_2(numbers: pa.Table) -> pa.Table:
    """Return the mean and standard deviation over folds, beside the paper's Table II.

    Args:
        numbers: What `measured` returned.

    Returns:
        The keys ``source``, ``test``, ``stage``, ``samples``, ``aggregation``, ``class`` and
        ``metric``; ``mean``, ``std`` (of a sample, n - 1; null for one fold) and ``folds``;
        ``values_min``, ``values_max`` and so on for slices, patients and selected: the least and
        the most in a fold; ``paper_mean``, ``paper_std`` and ``difference`` (ours less the
        paper's), null where the paper has no such figure. Ordered as the paper's.
    """
    keys = ["source", "test", "stage", *_WHAT]
    spread = pc.VarianceOptions(ddof=1)
    spans = [(name, which) for name in _SPANS for which in ("min", "max")]
    found = numbers.group_by(keys, use_threads=False).aggregate(
        [("value", "mean"), ("value", "stddev", spread), ("value", "count"), *spans]
    )
    found = found.rename_columns(
        {"value_mean": "mean", "value_stddev": "std", "value_count": "folds"}
    )
    rows = sorted(found.to_pylist(), key=_order)
    return _beside(rows, TABLE_2, ("source", "test", "stage"))


def _order(row: Row) -> tuple[Any, ...]:
    place = LETTERS.index(row["source"]), row["test"] != row["source"], row["test"]
    return *place, STAGES.index(row["stage"])


def table_3(second: pa.Table) -> pa.Table:
    """Return the means over Table II's rows, beside the paper's Table III.

    The paper's deviations are the means of its Table II's deviations, and so are these.

    Args:
        second: What `table_2` returned.

    Returns:
        The keys ``stage``, ``samples``, ``aggregation``, ``class`` and ``metric``; ``mean``,
        ``std`` and ``tests``, how many rows of Table II they are of (three in domain and six
        unseen ones in the whole protocol); ``paper_mean``, ``paper_std``, ``difference``.
    """
    keys = ["stage", *_WHAT]
    found = second.group_by(keys, use_threads=False).aggregate(
        [("mean", "mean"), ("std", "mean"), ("mean", "count")]
    )
    found = found.rename_columns({"mean_mean": "mean", "std_mean": "std", "mean_count": "tests"})
    rows = sorted(found.to_pylist(), key=lambda row: STAGES.index(row["stage"]))
    return _beside(rows, {(stage,): figures for stage, figures in TABLE_3.items()}, ("stage",))


def _beside(
    rows: Sequence[Row],
    printed: Mapping[tuple[str, ...], Mapping[str, Printed]],
    keys: Sequence[str],
) -> pa.Table:
    """Add the paper's figure to each row that has one, and how far ours is from it."""
    for row in rows:
        figure = None
        if row["class"] == BINARY and row["samples"] == ALL:
            figure = printed.get(tuple(row[key] for key in keys), {}).get(row["metric"])
        row["paper_mean"], row["paper_std"] = figure or (None, None)
        known = figure is not None and row["mean"] is not None
        row["difference"] = row["mean"] - row["paper_mean"] if known else None
    return pa.Table.from_pylist(list(rows))


def paired_changes(records: Sequence[FoldRecord]) -> pa.Table:
    """Return how sure each change is, from the patients of each unseen set.

    A patient's pixels are pooled in each fold, and the patient's values averaged over the folds
    before and after; patients are what the bootstrap draws and what Wilcoxon's test ranks.

    Returns:
        ``source``, ``test``, ``samples``, ``class``, ``metric``; ``patients`` (with a value
        before and after), ``change`` (their mean), ``low`` and ``high`` (95 %), ``better`` and
        ``worse`` (patients), ``p`` (two-sided, not corrected for the number of tests).
    """
    rows = []
    pairs = dict.fromkeys((r.fold.source, test) for r in records for test in r.targets)
    for source, test in pairs:
        runs = [r.targets[test] for r in records if r.fold.source == source and test in r.targets]
        names = next(r for r in records if r.fold.source == source).data[source]["classes"]
        for number, name in names.items():
            for samples in (ALL, NOT_RETRAINED):
                rows += [
                    {"source": source, "test": test, "samples": samples, "class": name, **row}
                    for row in _paired(runs, samples, int(number))
                ]
    return pa.Table.from_pylist(rows)


def _paired(runs: Sequence[RunRecord], samples: str, class_: int) -> Iterator[Row]:
    for metric in METRICS:
        before, after = _by_patient(runs, samples, class_, metric)
        change = paired_change(before, after)
        if change is None:
            continue
        mean, low, high, patients = change.interval
        yield {
            "metric": metric,
            "patients": patients,
            "change": mean,
            "low": low,
            "high": high,
            "better": change.better,
            "worse": change.worse,
            "p": change.p_value,
        }


def _by_patient(
    runs: Sequence[RunRecord], samples: str, class_: int, metric: str
) -> tuple[list[float], list[float]]:
    """Return each patient's mean over the folds that have a value of it, before and after."""
    found: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        without = set() if samples == ALL else selected(run)
        if samples != ALL and not without:
            continue
        old, new = by_name(run, EVALUATOR, by="group", class_=class_, without=without)
        columns = (old["group"].to_pylist(), old[metric].to_numpy(), new[metric].to_numpy())
        for patient, before, after in zip(*columns, strict=True):
            if not np.isnan(before + after):
                found.setdefault(patient, []).append((before, after))
    means = [np.mean(values, axis=0) for values in found.values()]
    return [float(mean[0]) for mean in means], [float(mean[1]) for mean in means]
