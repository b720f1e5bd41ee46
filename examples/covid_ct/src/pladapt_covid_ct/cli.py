"""The commands of the example: ``pladapt covid-ct ...``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from pladapt.cli.progress import progress_bars
from pladapt.cli.review import Number, Port, Show, Who, announce
from pladapt_covid_ct.inventory_cli import show_data
from pladapt_covid_ct.options import with_settings
from pladapt_covid_ct.protocol_cli import reproduce

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    gate: Annotated[
        bool,
        typer.Option(
            help="The paper's recipe leaves the model as it was where there is evidence of harm."
        ),
    ] = False,
) -> None:
    """Adapt on phantoms, by the paper's recipe and by ours, in a few minutes on two cores.

    Writes small phantom data sets in the official layouts, reads them back as the real ones are
    read, trains on A, adapts to B and C by both recipes, and prints them side by side.
    """
    from pladapt_covid_ct.demo import NOTE, run_demo  # noqa: PLC0415 - help must not wait for torch
    from pladapt_covid_ct.tables import side_by_side  # noqa: PLC0415 - the same

    with progress_bars() as progress:
        outcomes = run_demo(out, seed=seed, progress=progress, backend=backend, gate=gate)
    header, *rows = side_by_side(outcomes)
    _print("DSC of the source's model and after each recipe (pooled over all pixels)", header, rows)
    for recipe, outcome in outcomes.items():
        for target, result in outcome.targets.items():
            _line(f"{outcome.source} to {target}, {recipe}", result.verdict)
    _line("Run folder", out)
    for recipe, outcome in outcomes.items():
        _write(outcome, out / recipe, notes=[NOTE])


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


@app.command()
def review(
    run: Annotated[Path, typer.Argument(help="The run folder of a target, such as OUT/A-to-B.")],
    *,
    data: Annotated[Path, typer.Option(help="The folder with the data sets' folders A, B, ...")],
    who: Who,
    number: Number = 20,
    port: Port = 8642,
    show: Show = True,
) -> None:
    """Open a page with the target's slices of which a look is worth most, as pladapt review does.

    They are shown as the network is given them, without their true masks. The same command as
    before goes on with a round that the answers teach.
    """
    from pladapt.review.server import open_page  # noqa: PLC0415 - help must not wait for it
    from pladapt_covid_ct.experiment import slices_of  # noqa: PLC0415 - torch is slow

    with progress_bars() as progress:
        slices = slices_of(run, data, progress)
    open_page(run, slices, who=who, count=number, port=port, ready=partial(announce, show=show))


app.command()(reproduce)
app.command(name="data")(show_data)


def _show(outcome: Outcome, out: Path) -> None:
    from pladapt_covid_ct.tables import HEADER, table  # noqa: PLC0415 - torch is slow

    title = "Before → after adaptation (pooled over all pixels)"
    _print(title, HEADER, table(outcome))
    _line("Run folder", out)
    _write(outcome, out)


def _write(outcome: Outcome, out: Path, *, notes: Sequence[str] = ()) -> None:
    """Write the report, and print where."""
    from pladapt_covid_ct.report import write_report  # noqa: PLC0415 - torch is slow

    write_report(outcome, out, notes=notes)
    for extension in _REPORTS:
        _line("Report", out / f"report.{extension}")


def _print(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    shown = Table(*header, title=title)
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)


def _line(name: str, value: object) -> None:
    Console().print(f"{name}: {value}", highlight=False, soft_wrap=True, markup=False)
