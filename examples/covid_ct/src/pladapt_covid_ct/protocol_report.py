"""The protocol's tables as a person reads them: on the terminal, as CSV, Markdown and a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from pyarrow import csv

from pladapt.functional.overlap import METRICS
from pladapt.reports.comparison import ALL, NOT_RETRAINED
from pladapt.reports.document import Bullets, Document, Section, Table, Text
from pladapt.reports.findings import (
    caveats,
    manifest_section,
    read_manifest,
    reading_section,
)
from pladapt.reports.html import write_html
from pladapt.reports.markdown import write_markdown
from pladapt.reports.tables import AGGREGATIONS
from pladapt.storage import atomic_write
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.paper import TABLE_3_NOTE
from pladapt_covid_ct.protocol_tables import measured, paired_changes, table_2, table_3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from pladapt.reports.document import Block
    from pladapt_covid_ct.datasets import Counts
    from pladapt_covid_ct.protocol import FoldRecord, Protocol

    Row: TypeAlias = Mapping[str, Any]

_COUNTED: Final = ("values", "slices", "patients", "selected")


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The protocol's figures; see `protocol_tables` for the columns.

    Args:
        measured: Every number of every fold.
        second: Table II: means over folds.
        third: Table III: means over Table II.
        paired: How sure each change is.
    """

    measured: pa.Table
    second: pa.Table
    third: pa.Table
    paired: pa.Table

    @classmethod
    def of(cls, records: Sequence[FoldRecord]) -> Self:
        """Make the tables from finished folds."""
        numbers = measured(records)
        second = table_2(numbers)
        return cls(numbers, second, table_3(second), paired_changes(records))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return tuple(dict.fromkeys(self.measured["class"].to_pylist()))


def write_protocol(protocol: Protocol, tables: Tables, aggregation: str) -> None:
    """Write four CSV files, ``report.md`` and ``report.html`` into the protocol's folder.

    Args:
        protocol: What was found.
        tables: What `Tables.of` made of it.
        aggregation: Whose figures lead; the others follow.
    """
    for name, table in (
        ("measured", tables.measured),
        ("table-2", tables.second),
        ("table-3", tables.third),
        ("paired", tables.paired),
    ):
        with atomic_write(protocol.out / f"{name}.csv") as temporary:
            csv.write_csv(table, temporary)
    document = describe_protocol(protocol, tables, aggregation)
    write_markdown(document, protocol.out / "report.md")
    write_html(document, protocol.out / "report.html")


def describe_protocol(protocol: Protocol, tables: Tables, aggregation: str) -> Document:
    """Return the report of a protocol; see `write_protocol`."""
    settings, records = protocol.settings, protocol.records
    others = [name for name in AGGREGATIONS if name != aggregation]
    missing = left_out(protocol)
    sections = [
        Section("Left out", (Bullets(tuple(missing)),) if missing else ()),
        Section(f"Tables II and III, {aggregation}", tuple(paper_tables(tables, aggregation))),
        Section("How sure the changes are", (paired_table(tables),)),
        Section("Not retrained on", tuple(second_tables(tables, aggregation, NOT_RETRAINED))),
        *(
            Section(f"Tables II and III, {name}", tuple(paper_tables(tables, name)))
            for name in others
        ),
        reading_section(
            [*_caveats(), *caveats([run for r in records for run in r.targets.values()])]
        ),
        Section("The data", tuple(_data(protocol))),
        Section("Every fold", (_folds(tables),)),
        manifest_section(read_manifest(protocol.out)),
    ]
    return Document(
        "The paper's protocol",
        f"{len(records)} trainings of LinkNet with {settings.encoder} at {settings.size} x "
        f"{settings.size} pixels, seed {settings.seed}, each adapted to the unseen sets by the "
        f"recipe `{settings.recipe}`; means ± standard deviations over folds, beside what the "
        "paper prints.",
        tuple(section for section in sections if section.body),
    )


def left_out(protocol: Protocol) -> list[str]:
    """Tell which data sets and folds there are no figures of, and why."""
    said = [f"Data set {letter}: {reason}" for letter, reason in protocol.missing.items()]
    return said + [f"{fold} failed: {reason}" for fold, reason in protocol.failures.items()]


def paper_tables(tables: Tables, aggregation: str) -> Iterator[Block]:
    """Yield Table II, a table for each class and metric, and Table III with its note."""
    yield from second_tables(tables, aggregation, ALL)
    yield _third_table(tables, aggregation)
    yield Text(TABLE_3_NOTE)


def second_tables(tables: Tables, aggregation: str, samples: str) -> Iterator[Table]:
    """Yield Table II for each class and metric that has figures.

    Args:
        tables: The figures.
        aggregation: ``pooled``, ``group`` or ``sample``.
        samples: ``all``, or ``not retrained on``.
    """
    for class_ in tables.classes:
        for metric in METRICS:
            config = (class_, metric, aggregation, samples)
            rows = [row for row in tables.second.to_pylist() if what(row) == config]
            if rows:
                yield Table(
                    f"Table II, {metric.upper()} of the {class_}; slices: {samples}; "
                    f"{AGGREGATIONS[aggregation]}",
                    ("from", "to", "set", "ours", "paper", "difference", "folds", *_COUNTED),
                    tuple(_second_row(row) for row in rows),
                )


def what(row: Row) -> tuple[str, ...]:
    """Return which figure a row is: its class, metric, aggregation and samples."""
    return tuple(row[name] for name in ("class", "metric", "aggregation", "samples"))


def _second_row(row: Row) -> tuple[str, ...]:
    counts = (_span(row[f"{name}_min"], row[f"{name}_max"]) for name in _COUNTED)
    return (row["source"], row["test"], row["stage"], *figures(row), str(row["folds"]), *counts)


def _third_table(tables: Tables, aggregation: str) -> Table:
    return Table(
        f"Table III: the means over Table II; {AGGREGATIONS[aggregation]}",
        ("set", "class", "metric", "ours", "paper", "difference", "rows"),
        tuple(
            (row["stage"], row["class"], row["metric"].upper(), *figures(row), str(row["tests"]))
            for row in tables.third.to_pylist()
            if (row["aggregation"], row["samples"]) == (aggregation, ALL)
        ),
    )


def paired_table(tables: Tables, metrics: Sequence[str] = METRICS) -> Table:
    """Return how sure each change is."""
    return Table(
        "The mean change of a patient, over folds, with its 95 % interval",
        ("from", "to", "slices", "class", "metric", "change", "interval", "patients", "p"),
        tuple(
            (
                row["source"],
                row["test"],
                row["samples"],
                row["class"],
                row["metric"].upper(),
                f"{row['change']:+.3f}",
                f"{row['low']:+.3f} to {row['high']:+.3f}" if row["patients"] > 1 else "none",
                f"{row['patients']}: {row['better']} better, {row['worse']} worse",
                f"{row['p']:.3f}",
            )
            for row in tables.paired.to_pylist()
            if row["metric"] in metrics
        ),
    )


def figures(row: Row) -> tuple[str, str, str]:
    """Return ours, the paper's and the difference, empty where there is none."""
    difference = row["difference"]
    return (
        _mean(row["mean"], row["std"]),
        _mean(row["paper_mean"], row["paper_std"]),
        "" if difference is None else f"{difference:+.3f}",
    )


def _mean(mean: float | None, std: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"


def _span(least: int | None, most: int | None) -> str:
    if least is None:
        return ""
    return str(least) if least == most else f"{least} to {most}"


def _caveats() -> Iterator[str]:
    yield (
        "The paper does not say how it averages, so the aggregation beside its figures is a choice."
    )
    yield (
        "Ours ± is the standard deviation over folds (n - 1) in Table II; in Table III it is the "
        "mean of Table II's, which is what the paper's own Table III holds."
    )
    yield (
        "`from` is trained on; `values` is of how many values the mean of a fold is, `selected` "
        "how many slices were retrained on; a range is the least and the most in a fold."
    )
    yield (
        "The in-domain figures are measured on the slices that chose the cut-off, as in the paper, "
        "and are flattered by that."
    )
    yield (
        "The folds of one target are tested on the same slices: the deviation over folds tells "
        "how much the training matters, and the interval by patient how much the patients do. The "
        "p-values are not corrected for the number of tests."
    )


def _data(protocol: Protocol) -> Iterator[Block]:
    told = {letter: facts for record in protocol.records for letter, facts in record.data.items()}
    yield Table(
        "What was read, and what Table I and section III of the paper count",
        ("data", "name", "patients", "paper", "slices", "paper", "infected", "paper"),
        tuple(
            (letter, DATASETS[letter].name, *_counts(facts["counts"], DATASETS[letter].paper))
            for letter, facts in sorted(told.items())
        ),
    )
    said = [
        f"{letter}: {what}"
        for letter, facts in sorted(told.items())
        for what in (*facts["notes"], *(f"left out: {problem}" for problem in facts["left out"]))
    ]
    if said:
        yield Bullets(tuple(said))


def _counts(ours: Mapping[str, int | None], paper: Counts) -> Iterator[str]:
    for name, printed in paper._asdict().items():
        yield from ("" if count is None else str(count) for count in (ours[name], printed))


def _folds(tables: Tables) -> Table:
    names = ("source", "fold", "test", "stage", "samples", "class", "metric", "value", *_COUNTED)
    return Table(
        "Every fold, pooled; its run folder is SOURCE/fold-NUMBER",
        names,
        tuple(
            tuple(_cell(row[name]) for name in names)
            for row in tables.measured.to_pylist()
            if row["aggregation"] == "pooled"
        ),
        folded=True,
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
