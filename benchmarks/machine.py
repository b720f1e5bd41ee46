"""What a benchmark ran on."""

from __future__ import annotations

import importlib
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "pladapt",
    "numpy",
    "pyarrow",
    "ray",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "segmentation-models-pytorch",
    "torchmetrics",
    "monai",
    "medpy",
    "cleanlab",
)


def describe() -> dict[str, Any]:
    """Return the date, the machine, and the versions of what is installed."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "processor": _processor(),
            "cores": cores(),
            "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
            "system": f"{platform.system()} {platform.machine()}",
            "gpu": gpu(),
        },
        "versions": {"python": platform.python_version()} | dict(_versions()),
    }


def in_words(*packages: str) -> str:
    """Return the machine and the versions of those packages that are installed, as a sentence."""
    told = describe()
    found, versions = told["machine"], told["versions"]
    where = f"{found['processor']}, {found['cores']} cores, {found['memory']}, {found['system']}"
    said = ", ".join(f"{name} {versions[name]}" for name in packages if name in versions)
    return f"{where}; {said}."


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def gpu() -> str:
    """Return the name of the GPU, or nothing where torch sees none."""
    torch = module("torch")
    return str(torch.cuda.get_device_name()) if torch and torch.cuda.is_available() else ""


def module(name: str) -> Any:
    """Import a module, or return None where its distribution is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        return None


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
