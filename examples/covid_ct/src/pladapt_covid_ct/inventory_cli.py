"""The command ``pladapt covid-ct data``."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pladapt.cli.progress import progress_bars

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt_covid_ct.inventory import Holding

_MOST_PROBLEMS = 5


def show_data(
    *,
    data: Annotated[Path, typer.Option(help="The folder with the data sets' folders A, B, ...")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare archives with their published SHA-256.")
    ] = False,
) -> None:
    """Tell what there is of the data sets A to E, beside the paper's Table I.

    Reads every file, as a run would, and tells what is complete, what is left out and why, and
    where each data set is obtained under which licence; nothing is downloaded. Ends with status 1
    if an archive differs from the published one.
    """
    from pladapt_covid_ct.inventory import take_stock  # noqa: PLC0415 - scipy is slow

    with progress_bars() as progress:
        holdings = take_stock(data, verify=verify, progress=progress)
    console = Console()
    console.print(_table(holdings))
    for holding in holdings:
        for line in _details(holding):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if any(archive.differs for holding in holdings for archive in holding.archives):
        raise typer.Exit(1)


def _table(holdings: Sequence[Holding]) -> Table:
    title = "What there is, and what the paper's Table I and section III count"
    table = Table("", "data set", "state", "patients", "slices", "infected", title=title)
    table.box = box.SIMPLE_HEAD
    for holding in holdings:
        info, dataset = holding.info, holding.dataset
        ours = (None,) * len(info.paper) if dataset is None else dataset.counts
        counts = (_beside(*pair) for pair in zip(ours, info.paper, strict=True))
        table.add_row(info.letter, info.name, holding.state, *counts)
    return table


def _beside(ours: int | None, paper: int | None) -> str:
    found = "-" if ours is None else str(ours)
    return found if paper is None else f"{found} of {paper}"


def _details(holding: Holding) -> Iterator[str]:
    info = holding.info
    yield f"{info.letter}: {info.name}"
    yield f"  from {info.page}"
    yield f"  licence: {info.licence}"
    if holding.folder is not None:
        yield f"  in {holding.folder}"
    if holding.trouble is not None:
        yield f"  {holding.trouble}"
    if holding.dataset is not None:
        yield from (f"  {note}" for note in holding.dataset.notes)
        problems = holding.dataset.problems
        yield from (f"  left out: {problem}" for problem in problems[:_MOST_PROBLEMS])
        if len(problems) > _MOST_PROBLEMS:
            yield f"  and {len(problems) - _MOST_PROBLEMS} more left out"
    present = [archive for archive in holding.archives if archive.path is not None]
    yield from (f"  {archive.path}: {archive.verdict}" for archive in present)
    if holding.dataset is not None and len(present) < len(holding.archives):
        absent = (archive.name for archive in holding.archives if archive.path is None)
        yield f"  unpacked, or not there: {', '.join(absent)}"
