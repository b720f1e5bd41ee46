"""What ``pladapt new`` writes passes its own tests, and what ``pladapt check`` asks."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from pladapt.cli.new import KINDS, project

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.cli.new import Kind

pytest.importorskip("lightning", reason="the recipe trains with it")


def announce(folder: Path, kind: Kind) -> None:
    """Write a project and, as an installer does, what it announces."""
    files = project(kind, f"own_{kind}")
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    about = tomllib.loads(files["pyproject.toml"])["project"]
    ((name, module),) = about["entry-points"]["pladapt"].items()
    metadata = folder / f"own_{kind}-{about['version']}.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(f"[pladapt]\n{name} = {module}\n")
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )


def test_every_new_project_passes_its_tests(tmp_path: Path) -> None:
    for kind in KINDS:
        announce(tmp_path, kind)
    paths = [str(tmp_path), *sys.path]
    command = [sys.executable, "-m", "pytest", "-v", "-pno:cacheprovider", "-W", "error", "."]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for kind in KINDS:
        assert f"tests/test_own_{kind}.py::test_it_is_found_by_its_name PASSED" in run.stdout
