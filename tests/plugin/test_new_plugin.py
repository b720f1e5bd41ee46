"""A project that ``pladapt new`` writes is installed as any other, and passes its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="nothing to build with; run tox -e plugin")
pytest.importorskip("pip", reason="nothing to install with; run tox -e plugin")

PLADAPT = str(Path(sys.executable).with_name("pladapt"))
PYTHON = (sys.executable, "-m")


def test_a_new_project_installs_and_passes_its_tests(tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment = os.environ | {"PYTHONPATH": str(site), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(PLADAPT, "new", "selector", "my_margin")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    run(*PYTHON, "pip", "install", *options, "./my_margin")
    assert " passed" in run(*PYTHON, "pytest", "-q", "-pno:cacheprovider", "my_margin")
    assert "my-margin - pladapt-my-margin 0.1.0" in run(PLADAPT, "plugins", "selector")
    checked = run(PLADAPT, "check", "my-margin", "--set", "top_k=3")
    assert "my-margin is a selector: " in checked
