"""Which of ONNX Runtime's distributions are installed: two at once overwrite each other.

Imports no ONNX Runtime, since it must also explain one that cannot be imported.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu")

REINSTALL: Final = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'pladapt[onnx-gpu]'"


def installed_wheels() -> dict[str, str]:
    """Return the version of each installed distribution of ONNX Runtime, by name."""
    found = {}
    for name in WHEELS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def conflict() -> str | None:
    """Say what is wrong where both distributions are installed and how to mend it, or None."""
    found = installed_wheels()
    if len(found) < len(WHEELS):
        return None
    names = " and ".join(f"{name} {version}" for name, version in found.items())
    return (
        f"{names} are both installed and overwrite each other's files, so that the GPU is lost. "
        f"Removing one breaks the other; run: {REINSTALL}"
    )
