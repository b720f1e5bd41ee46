"""``pladapt doctor``: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

import pladapt
from pladapt.cli.printing import AsJson, console, print_json
from pladapt.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from pladapt.onnx.diagnosis import Diagnosis


def doctor(
    *,
    require: Annotated[
        list[str] | None,
        typer.Option(help="A device that must work: cpu, cuda or tensorrt; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check what inference can run on, by running it; exit with 1 if something is wrong.

    Prints versions, the providers of ONNX Runtime that really work, the CUDA libraries found, and
    what to install.
    """
    from pladapt.onnx.diagnosis import diagnose  # noqa: PLC0415 - only if asked
    from pladapt.onnx.probe import DEVICES  # noqa: PLC0415 - only if asked

    config = tuple(require or ())
    if unknown := sorted({*config} - DEVICES.keys()):
        raise InputError(f"{unknown[0]!r} is no device; expected one of {list(DEVICES)}.")
    found = diagnose(config)
    _show(found, console(soft_wrap=True))
    if as_json:
        print_json(pladapt=pladapt.__version__, **asdict(found))
    raise typer.Exit(1 if found.problems else 0)


def _show(found: Diagnosis, printed: Console) -> None:
    printed.print(
        f"pladapt {pladapt.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        highlight=False,
    )
    packages = Table("package", "version")
    for name, version in found.packages.items():
        packages.add_row(name, version or "not installed")
    printed.print(packages)
    if found.devices:
        _show_devices(found, printed)
    for problem in found.problems:
        printed.print("[bold red]Problem:[/]", end=" ")
        printed.print(problem, markup=False, highlight=False)
    if not found.problems:
        printed.print(_verdict(found), markup=False, highlight=False)


def _show_devices(found: Diagnosis, printed: Console) -> None:
    devices = Table("device", "works", "why not")
    for name, why in found.devices.items():
        devices.add_row(name, "yes" if why is None else "no", why or "")
    printed.print(devices)
    if found.libraries:
        libraries = Table("library", "found")
        for name, there in found.libraries.items():
            libraries.add_row(name, "yes" if there else "no")
        printed.print(libraries)
    printed.print(f"NVIDIA GPU: {found.driver or 'visible'}", markup=False, highlight=False)


def _verdict(found: Diagnosis) -> str:
    if not found.devices:
        return (
            "ONNX Runtime is not installed. Run: pip install 'pladapt[onnx-gpu]' on a machine with "
            "an NVIDIA GPU, or pip install 'pladapt[onnx-cpu]'"
        )
    working = ", ".join(name for name, why in found.devices.items() if why is None)
    return f"No problem found. ONNX Runtime computes on: {working}."
