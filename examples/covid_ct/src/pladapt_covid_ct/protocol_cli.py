"""The command ``pladapt covid-ct reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pladapt.cli.progress import progress_bars
from pladapt.errors import InputError
from pladapt_covid_ct.options import with_settings
from pladapt_covid_ct.settings import FOLDS

if TYPE_CHECKING:
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
    from pladapt_covid_ct.protocol_terminal import show  # noqa: PLC0415 - as above

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
    show(protocol, aggregation)
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
