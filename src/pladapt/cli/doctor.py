"""``pladapt doctor``: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

import pladapt
from pladapt.errors import InputError

if TYPE_CHECKING:
    from pladapt.onnx.diagnosis import Diagnosis


def doctor(
    *,
    require: Annotated[
        list[str] | None,
        typer.Option(help="A device that must work: cpu, cuda or tensorrt; may be repeated."),
    ] = None,
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
    _show(found, Console(soft_wrap=True))
    raise typer.Exit(1 if found.problems else 0)


def _show(found: Diagnosis, console: Console) -> None:
    console.print(
        f"pladapt {pladapt.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
        highlight=False,
    )
    packages = Table("package", "version")
    for name, version in found.packages.items():
        packages.add_row(name, version or "not installed")
    console.print(packages)
    if found.devices:
        _show_devices(found, console)
    for problem in found.problems:
        console.print("[bold red]Problem:[/]", end=" ")
        console.print(problem, markup=False, highlight=False)
    if not found.problems:
        console.print(_verdict(found), markup=False, highlight=False)


def _show_devices(found: Diagnosis, console: Console) -> None:
    devices = Table("device", "works", "why not")
    for name, why in found.devices.items():
        devices.add_row(name, "yes" if why is None else "no", why or "")
    console.print(devices)
    if found.libraries:
        libraries = Table("library", "found")
        for name, there in found.libraries.items():
            libraries.add_row(name, "yes" if there else "no")
        console.print(libraries)
    console.print(f"NVIDIA GPU: {found.driver or 'visible'}", markup=False, highlight=False)


def _verdict(found: Diagnosis) -> str:
    if not found.devices:
        return (
            "ONNX Runtime is not installed. Run: pip install 'pladapt[onnx-gpu]' on a machine with "
            "an NVIDIA GPU, or pip install 'pladapt[onnx-cpu]'"
        )
    working = ", ".join(name for name, why in found.devices.items() if why is None)
    return f"No problem found. ONNX Runtime computes on: {working}."
