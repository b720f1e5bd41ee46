"""The commands of the example: ``pladapt covid-ct ...``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from pladapt.cli.progress import progress_bars
from pladapt_covid_ct.inventory_cli import show_data
from pladapt_covid_ct.options import with_settings
from pladapt_covid_ct.protocol_cli import reproduce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt_covid_ct.experiment import Outcome
    from pladapt_covid_ct.settings import Settings

_REPORTS = ("html", "md")

app = typer.Typer(no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="The run folder; an interrupted run continues in it.")]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]


def commands() -> typer.Typer:
    """Return the commands."""
    return app


@app.command()
def demo(
    *,
    out: Out = Path("runs/covid-ct-demo"),
    seed: Seed = 0,
    backend: Annotated[
        Literal["torch", "onnx"], typer.Option(help="What predicts: torch, or ONNX Runtime.")
    ] = "torch",
    recipe: Annotated[
        Literal["paper", "robust"],
        typer.Option(help="How to adapt: as the paper does, or as we recommend."),
    ] = "paper",
) -> None:
    """Run the whole experiment on phantoms: A to B and C, in a few minutes on two cores.

    Writes small phantom data sets in the official layouts, reads them back as the real ones are
    read, trains, calibrates, selects, retrains, evaluates, and prints the table.
    """
    from pladapt_covid_ct.demo import NOTE, run_demo  # noqa: PLC0415 - help must not wait for torch

    with progress_bars() as progress:
        outcome = run_demo(out, seed=seed, progress=progress, backend=backend, recipe=recipe)
    _show(outcome, out, notes=[NOTE])


@app.command()
@with_settings()
def run(
    *,
    data: Annotated[Path, typer.Option(help="The folder with the data sets' folders A, B, ...")],
    source: Annotated[str, typer.Option(help="The data set to train on: A, B, C, D or E.")],
    target: Annotated[list[str], typer.Option(help="A data set to adapt to; may be repeated.")],
    out: Out = Path("runs/covid-ct"),
    settings: Settings,
) -> None:
    """Train on one data set, adapt to others, and print the figures before and after."""
    from pladapt_covid_ct.experiment import run_experiment  # noqa: PLC0415 - torch is slow

    with progress_bars() as progress:
        outcome = run_experiment(
            data, source, target, settings=settings, out=out, progress=progress
        )
    _show(outcome, out)


app.command()(reproduce)
app.command(name="data")(show_data)


def _show(outcome: Outcome, out: Path, *, notes: Sequence[str] = ()) -> None:
    from pladapt_covid_ct.report import write_report  # noqa: PLC0415 - torch is slow
    from pladapt_covid_ct.tables import HEADER, table  # noqa: PLC0415 - the same

    write_report(outcome, out, notes=notes)
    console = Console()
    shown = Table(*HEADER, title="Before → after adaptation (pooled over all pixels)")
    for row in table(outcome):
        shown.add_row(*row)
    console.print(shown)
    for name, path in (("Run folder", out), *(("Report", out / f"report.{e}") for e in _REPORTS)):
        console.print(f"{name}: {path}", highlight=False, soft_wrap=True)
