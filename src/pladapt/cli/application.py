"""The commands of ``pladapt``, its own and its plugins'."""

from __future__ import annotations

import sys
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pladapt
from pladapt.cli import labels, onnx
from pladapt.cli.adapt import adapt
from pladapt.cli.audit import audit
from pladapt.cli.calibrate import calibrate
from pladapt.cli.check import check
from pladapt.cli.doctor import doctor
from pladapt.cli.estimate import estimate
from pladapt.cli.evaluate import evaluate
from pladapt.cli.logs import LOG, be_verbose
from pladapt.cli.merge import merge
from pladapt.cli.names import names
from pladapt.cli.new import new
from pladapt.cli.plugins import list_plugins
from pladapt.cli.predict import predict
from pladapt.cli.printing import AsJson, print_json, prose_to_stderr
from pladapt.cli.progress import show_progress
from pladapt.cli.review import review
from pladapt.cli.run import run
from pladapt.cli.score import score
from pladapt.cli.select import select
from pladapt.cli.source import source
from pladapt.plugins.guard import CallFailedError, call
from pladapt.plugins.manager import default_manager

if TYPE_CHECKING:
    from pladapt.plugins import PluginManager, Registration

Folder = Annotated[Path, typer.Argument(help="A finished run's folder: adapt's workdir.")]

_HELP = "Pseudo-label domain adaptation for segmentation models, without target labels."


def application(plugins: PluginManager | None = None) -> typer.Typer:
    """Return the application with the commands of every plugin."""
    manager = plugins or default_manager()
    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command()(adapt)
    app.command()(run)
    app.command()(predict)
    app.command()(calibrate)
    app.command()(source)
    app.command()(estimate)
    app.command()(score)
    app.command()(merge)
    app.command()(select)
    app.command()(evaluate)
    app.command()(audit)
    app.command()(names)
    app.command(name="plugins")(list_plugins)
    app.command()(check)
    app.command()(new)
    app.command(name="report")(_report)
    app.command()(review)
    app.add_typer(labels.app, name="labels")
    app.command(name="doctor")(doctor)
    app.add_typer(onnx.app, name="onnx")
    for provider, registration in manager.registrations("command"):
        _add(app, manager, provider, registration)
    return app


def _add(
    app: typer.Typer, manager: PluginManager, provider: str, registration: Registration[Any]
) -> None:
    """Add a plugin's command; one that cannot be made is left out with a warning."""
    name = registration.name
    try:
        commands = call(lambda: manager.build("command", name), manager.time_limit)
        if not isinstance(commands, typer.Typer):
            raise CallFailedError(f"{commands!r} is no typer.Typer")  # noqa: TRY301 - the same end
    except CallFailedError as error:
        manager.warn(
            provider,
            f"The command {name!r} of the plugin {provider!r} was left out: {error}",
        )
    else:
        app.add_typer(commands, name=name, help=registration.summary)


def _print_version(*, config: bool) -> None:
    if config:
        typer.echo(f"pladapt {pladapt.__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[  # noqa: ARG001 - its callback reads it
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Print the version and exit.",
            is_eager=True,
            callback=lambda config: _print_version(config=config),
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress; results and errors remain.")
    ] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Show progress as log lines, on a terminal, too.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Log what is done, and where in the code an error arose."
        ),
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A file of Python with a plugin that is not installed; may be repeated."),
    ] = None,
) -> None:
    """Take the options that come before a command."""
    show_progress(quiet=quiet, lines=log or verbose)
    be_verbose(verbose=verbose)
    prose_to_stderr(as_json=False)
    LOG.debug("pladapt %s, Python %s: %s", pladapt.__version__, python_version(), sys.argv)
    for path in plugin or ():
        default_manager().register_file(path)


def _report(
    folder: Folder,
    *,
    upper: Annotated[
        Path | None,
        typer.Option(
            help="What pladapt evaluate wrote of a model with target labels: tells the gap closed."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's report.html and report.md from what its folder holds.

    Images are not in the folder, so overlays are missing; the tables and charts are there.
    """
    from pladapt.cli.report import values_of, write_report  # noqa: PLC0415 - needs the extra

    record = pladapt.read_run(folder)
    write_report(record, folder, upper=upper)
    if as_json:
        print_json(**values_of(record), run=folder)
