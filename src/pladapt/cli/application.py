"""The commands of ``pladapt``, its own and its plugins'."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import pladapt
from pladapt.cli import onnx
from pladapt.cli.adapt import adapt
from pladapt.cli.audit import audit
from pladapt.cli.doctor import doctor
from pladapt.cli.evaluate import evaluate
from pladapt.cli.score import score
from pladapt.cli.select import select
from pladapt.cli.source import source
from pladapt.plugins.manager import KINDS, PluginWarning, default_manager

if TYPE_CHECKING:
    from pladapt.plugins.manager import PluginManager

Folder = Annotated[Path, typer.Argument(help="A finished run's folder: adapt's workdir.")]

_HELP = "Pseudo-label domain adaptation for segmentation models, without target labels."


def application(plugins: PluginManager | None = None) -> typer.Typer:
    """Return the application with the commands of every plugin."""
    manager = plugins or default_manager()
    app = typer.Typer(help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_options)
    app.command()(adapt)
    app.command()(source)
    app.command()(score)
    app.command()(select)
    app.command()(evaluate)
    app.command()(audit)
    app.command(name="plugins")(_plugins)
    app.command(name="report")(_report)
    app.command(name="doctor")(doctor)
    app.add_typer(onnx.app, name="onnx")
    for provider, registration in manager.registrations("command"):
        try:
            commands = manager.build("command", registration.name)
            app.add_typer(commands, name=registration.name, help=registration.summary)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's factory raises
            warnings.warn(
                f"The command {registration.name!r} of the plugin {provider!r} was left out: "
                f"{type(error).__name__}: {error}",
                PluginWarning,
                stacklevel=2,
            )
    return app


def _print_version(*, config: bool) -> None:
    if config:
        typer.echo(f"pladapt {pladapt.__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=lambda config: _print_version(config=config),
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


def _plugins() -> None:
    """List the parts that are installed, and which plugin offers each."""
    table = Table("kind", "name", "plugin", "what it does")
    for kind in KINDS:
        for provider, registration in default_manager().registrations(kind):
            table.add_row(kind, registration.name, provider, escape(registration.summary))
    Console().print(table)


def _report(
    folder: Folder,
    *,
    upper: Annotated[
        Path | None,
        typer.Option(
            help="What pladapt evaluate wrote of a model with target labels: tells the gap closed."
        ),
    ] = None,
) -> None:
    """Write a run's report.html and report.md from what its folder holds.

    Images are not in the folder, so overlays are missing; the tables and charts are there.
    """
    from pladapt.cli.report import write_report  # noqa: PLC0415 - needs the extra

    write_report(pladapt.read_run(folder), folder, upper=upper)
