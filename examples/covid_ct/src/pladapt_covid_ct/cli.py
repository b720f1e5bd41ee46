"""The commands of the example: ``pladapt covid-ct ...``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pladapt.cli.progress import progress_bars

if TYPE_CHECKING:
    from pladapt_covid_ct.experiment import Outcome

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
) -> None:
    """Run the whole experiment on phantoms: A to B and C, in a few minutes on two cores.

    Writes small phantom data sets in the official layouts, reads them back as the real ones are
    read, trains, calibrates, selects, retrains, evaluates, and prints the table.
    """
    from pladapt_covid_ct.demo import run_demo  # noqa: PLC0415 - help must not wait for torch

    with progress_bars() as progress:
        outcome = run_demo(out, seed=seed, progress=progress)
    _show(outcome, out)


@app.command()
def run(
    *,
    data: Annotated[Path, typer.Option(help="The folder with the data sets' folders A, B, ...")],
    source: Annotated[str, typer.Option(help="The data set to train on: A, B, C, D or E.")],
    target: Annotated[list[str], typer.Option(help="A data set to adapt to; may be repeated.")],
    out: Out = Path("runs/covid-ct"),
    size: Annotated[int, typer.Option(help="Width and height in pixels, a multiple of 32.")] = 512,
    encoder: Annotated[str, typer.Option(help="LinkNet's encoder; timm's as tu-NAME.")] = (
        "resnet34"
    ),
    encoder_weights: Annotated[str, typer.Option(help="imagenet, none, or a file.")] = "imagenet",
    epochs: Annotated[int, typer.Option(help="At most so many, each time.", min=1)] = 100,
    batch_size: Annotated[int, typer.Option(help="Slices in a batch.", min=1)] = 8,
    top_fraction: Annotated[
        float, typer.Option(help="The share of the target's slices that is kept at the most.")
    ] = 0.25,
    ci_limit: Annotated[
        float | None, typer.Option(help="The lowest certainty index that is kept.")
    ] = None,
    slices: Annotated[str, typer.Option(help="all, or infected as in Table I.")] = "all",
    validation: Annotated[
        str, typer.Option(help="What stops retraining: source, or pseudo-labels.")
    ] = "source",
    seed: Seed = 0,
    fold: Annotated[int, typer.Option(help="Which fold of patients.", min=0, max=4)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Train on one data set, adapt to others, and print the figures before and after."""
    from pladapt_covid_ct.experiment import Settings, run_experiment  # noqa: PLC0415 - torch is slow

    settings = Settings(
        size=size,
        encoder=encoder,
        encoder_weights=encoder_weights,
        epochs=epochs,
        batch_size=batch_size,
        top_fraction=top_fraction,
        ci_limit=ci_limit,
        slices=slices,  # type: ignore[arg-type]  # checked by Settings
        validation=validation,  # type: ignore[arg-type]  # checked by Settings
        seed=seed,
        fold=fold,
        device=device,
    )
    with progress_bars() as progress:
        outcome = run_experiment(
            data, source, target, settings=settings, out=out, progress=progress
        )
    _show(outcome, out)


def _show(outcome: Outcome, out: Path) -> None:
    from pladapt_covid_ct.tables import HEADER, table, write_report  # noqa: PLC0415 - torch is slow

    write_report(outcome, out / "report.md")
    console = Console()
    shown = Table(*HEADER, title="Before → after adaptation (pooled over all pixels)")
    for row in table(outcome):
        shown.add_row(*row)
    console.print(shown)
    console.print(f"Run folder: {out}", highlight=False, soft_wrap=True)
    console.print(f"Report: {out / 'report.md'}", highlight=False, soft_wrap=True)
