"""The protocol's tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as Shown

from pladapt.functional.overlap import METRICS
from pladapt.reports.comparison import ALL, NOT_RETRAINED
from pladapt.reports.document import Table
from pladapt.reports.tables import AGGREGATIONS
from pladapt_covid_ct.paper import TABLE_3_NOTE
from pladapt_covid_ct.protocol_report import (
    Tables,
    figures,
    left_out,
    paired_table,
    what,
    write_protocol,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pladapt_covid_ct.protocol import Protocol
    from pladapt_covid_ct.protocol_report import Row


def show(protocol: Protocol, aggregation: str) -> None:
    """Write the protocol's files, and print its tables and where the files are.

    Args:
        protocol: What was found.
        aggregation: Whose figures are printed: ``pooled``, ``group`` or ``sample``.
    """
    console = Console()
    if protocol.records:
        tables = Tables.of(protocol.records)
        write_protocol(protocol, tables, aggregation)
        for table in (
            *compact_tables(tables, aggregation, NOT_RETRAINED),
            paired_table(tables, metrics=["dsc"]),
            *compact_tables(tables, aggregation),
        ):
            _print(console, table)
        console.print(TABLE_3_NOTE, highlight=False)
        for name in ("report.html", "report.md", "table-2.csv", "table-3.csv", "paired.csv"):
            console.print(str(protocol.out / name), highlight=False, soft_wrap=True)
    for reason in left_out(protocol):
        console.print(reason, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, table: Table) -> None:
    shown = Shown(*table.header, title=table.caption, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)


def compact_tables(tables: Tables, aggregation: str, samples: str = ALL) -> Iterator[Table]:
    """Yield Tables II and III of each class as the paper lays them out, for a narrow terminal.

    Below each row of ours is the paper's, where there is one, and the difference.

    Args:
        tables: The figures.
        aggregation: ``pooled``, ``group`` or ``sample``.
        samples: ``all``, or ``not retrained on``.
    """
    for class_ in tables.classes:
        for name, table in (("II", tables.second), ("III", tables.third)):
            rows: dict[str, dict[str, Row]] = {}
            for row in table.to_pylist():
                if what(row) == (class_, row["metric"], aggregation, samples):
                    label = f"{row['source']} to {row['test']}, " if name == "II" else ""
                    rows.setdefault(label + row["stage"], {})[row["metric"]] = row
            header = ("", *(m.upper() for m in METRICS), "folds" if name == "II" else "rows")
            if rows:
                yield Table(
                    f"Table {name}, {class_}, slices: {samples}; {AGGREGATIONS[aggregation]}",
                    header,
                    tuple(line for label, row in rows.items() for line in _compact(label, row)),
                )


def _compact(label: str, row: Mapping[str, Row]) -> Iterator[tuple[str, ...]]:
    first = row[METRICS[0]]
    counted = str(first.get("folds", first.get("tests")))
    lines = zip(*(figures(row[metric]) for metric in METRICS), strict=True)
    for name, cells in zip((label, "  paper", "  difference"), lines, strict=True):
        if any(cells):
            yield (name, *cells, counted if name == label else "")
