"""What `pladapt doctor` finds out: what is installed, what works, and what to do about the rest."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from pladapt.errors import MissingDependencyError
from pladapt.onnx.probe import DEVICES, probe
from pladapt.onnx.wheels import WHEELS, conflict, installed_wheels

PACKAGES: Final = ("numpy", "pyarrow", "torch", "lightning", *WHEELS, "onnx", "onnxscript")


@dataclass(kw_only=True)
class Diagnosis:
    """What was found.

    Args:
        packages: Each package's version, or None where it is not installed.
        devices: Why each device does not work, or None where it does; only those that the
            installed ONNX Runtime was built for.
        libraries: For each CUDA library that ONNX Runtime loads, whether it is found.
        driver: Why no program can use an NVIDIA GPU here, or None where there is one.
        problems: What is wrong and how to mend it; what is merely not installed is none.
    """

    packages: dict[str, str | None]
    devices: dict[str, str | None] = field(default_factory=dict)
    libraries: dict[str, bool] = field(default_factory=dict)
    driver: str | None = None
    problems: list[str] = field(default_factory=list)


def diagnose(require: tuple[str, ...] = ()) -> Diagnosis:
    """Try everything that ONNX Runtime claims to offer here.

    Args:
        require: Devices of which it is a problem if they do not work.
    """
    found = Diagnosis(packages={name: _version(name) for name in PACKAGES})
    if (both := conflict()) is not None:
        found.problems.append(both)
    try:
        _try_runtime(found)
    except MissingDependencyError as error:
        if installed_wheels():
            found.problems.append(str(error))
    wanted = {*require, *(["cpu"] if found.devices else [])}
    if found.devices.get("cuda") and found.driver is None:
        wanted.add("cuda")  # there is a GPU, and a runtime for it
    for device in sorted(wanted):
        if device not in found.devices:
            found.problems.append(_absent(device))
        elif (why := found.devices[device]) is not None:
            found.problems.append(f"{device} does not work: {why}")
    return found


def _try_runtime(found: Diagnosis) -> None:
    from pladapt.onnx import providers  # noqa: PLC0415 - may be missing or broken

    found.driver = providers.driver_trouble()
    built = providers.built_for()
    found.devices = {name: probe(name) for name, full in DEVICES.items() if full in built}
    if providers.CUDA in built and sys.platform == "linux":
        providers.preload()
        found.libraries = {name: _loads(name) for name in providers.cuda_libraries()}


def _absent(device: str) -> str:
    extra = "onnx-cpu" if device == "cpu" else "onnx-gpu"
    return (
        f"No ONNX Runtime that was built for {device} is installed. Run: pip uninstall -y "
        f"{' '.join(WHEELS)} && pip install 'pladapt[{extra}]'"
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
