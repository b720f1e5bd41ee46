"""Folders for what a benchmark writes, which go when the process ends."""

from __future__ import annotations

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory


def folder() -> Path:
    """Make an empty folder."""
    made = TemporaryDirectory(prefix="pladapt-bench-")
    atexit.register(made.cleanup)
    return Path(made.name)
