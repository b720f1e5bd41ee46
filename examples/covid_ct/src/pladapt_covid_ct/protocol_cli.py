"""The command ``pladapt covid-ct reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pladapt.cli.progress import progress_bars
from pladapt.errors import InputError
from pladapt_covid_ct.options import with_settings
from pladapt_covid_ct.settings import FOLDS

if TYPE_CHECKING:
    from pladapt.reports.document import Table as DocumentTable
    from pladapt_covid_ct.protocol import Protocol
    from pladapt_covid_ct.settings import Settings


@with_settings(without=["fold"])
def reproduce(
    *,
    data: Annotated[Path, typer.Option(help="The folder with the data sets' folders A, B and C.")],
    out: Annotated[
        Path, typer.Option(help="The protocol's folder; an interrupted one continues in it.")
    ] = Path("runs/covid-ct-paper"),
    sources: Annotated[str, typer.Option(help="What to train on, in turn: A,B,C.")] = "A,B,C",
    folds: Annotated[
        str, typer.Option(help=f"Which of {FOLDS} folds, from 0: 0-4, or 0,2.")
    ] = f"0-{FOLDS - 1}",
    jobs: Annotated[int, typer.Option(help="How many folds run at once.")] = 1,
    aggregation: Annotated[
        str, typer.Option(help="Whose figures are printed: pooled, group or sample.")
    ] = "pooled",
    settings: Settings,
) -> None:
    """Run the paper's whole protocol, and print its Tables II and III beside the paper's own.

    Every source in turn, five folds of its patients each: train, choose the cut-off, and adapt to
    the two other data sets. A data set that is not there is left out. The same command continues
    an interrupted run, and runs again what failed.
    """
    numbers = parse_folds(folds)
    if aggregation not in ("pooled", "group", "sample"):
        raise InputError(f"aggregation is {aggregation!r}; give pooled, group or sample.")
    # torch is slow, and help must not wait for it
    from pladapt_covid_ct.protocol import reproduce as run_protocol  # noqa: PLC0415 - as above

    with progress_bars() as progress:
        protocol = run_protocol(
            data,
            settings=settings,
            out=out,
            progress=progress,
            sources=sources.split(","),
            folds=numbers,
            jobs=jobs,
        )
    _show(protocol, aggregation)
    if protocol.failures:
        raise typer.Exit(1)


def parse_folds(text: str) -> list[int]:
    """Return the folds that ``0-4`` or ``0,2`` names.

    Raises:
        InputError: The text names no folds.
    """
    folds: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            folds += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise InputError(f"folds is {text!r}; give a range such as 0-4, or a list, 0,2.") from None
    return sorted(set(folds))


def _show(protocol: Protocol, aggregation: str) -> None:
    # torch is slow, and help must not wait for it
    from pladapt.reports.comparison import NOT_RETRAINED  # noqa: PLC0415 - as above
    from pladapt_covid_ct import protocol_report as report  # noqa: PLC0415 - as above
    from pladapt_covid_ct.paper import TABLE_3_NOTE  # noqa: PLC0415 - as above

    console = Console()
    if protocol.records:
        tables = report.Tables.of(protocol.records)
        report.write_protocol(protocol, tables, aggregation)
        for table in (
            *report.compact_tables(tables, aggregation, NOT_RETRAINED),
            report.paired_table(tables, metrics=["dsc"]),
            *report.compact_tables(tables, aggregation),
        ):
            _print(console, table)
        console.print(TABLE_3_NOTE, highlight=False)
    for reason in report.left_out(protocol):
        console.print(reason, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for name in ("report.html", "report.md", "table-2.csv", "table-3.csv", "paired.csv"):
        console.print(str(protocol.out / name), highlight=False, soft_wrap=True)


def _print(console: Console, table: DocumentTable) -> None:
    shown = Table(*table.header, title=table.caption, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
