"""What ``pladapt new`` writes passes its own tests, and does what its page shows."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from pladapt import read_run
from pladapt.cli.application import application
from pladapt.cli.new import KINDS, project
from pladapt.plugins.manager import default_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pladapt.cli.new import Kind

pytest.importorskip("lightning", reason="the recipe trains with it")

HOWTO = Path(__file__).parents[2] / "docs/howto"
FILES = ("trial.py", "trial.toml", "watch.py")
BLOCKS = re.findall(
    r"^```(\{code-block\} python|console)\n(.*?)^```$",
    (HOWTO / "plugin_kinds.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def announce(folder: Path, kind: Kind) -> None:
    """Write a project and, as an installer does, what it announces."""
    files = project(kind, f"my_{kind}")
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    about = tomllib.loads(files["pyproject.toml"])["project"]
    ((name, module),) = about["entry-points"]["pladapt"].items()
    metadata = folder / f"my_{kind}-{about['version']}.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(f"[pladapt]\n{name} = {module}\n")
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    )


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on which all projects are installed."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        announce(folder, kind)
    return folder


def test_every_new_project_passes_its_tests(projects: Path) -> None:
    paths = [str(projects), *sys.path]
    command = [sys.executable, "-m", "pytest", "-v", "-pno:cacheprovider", "-W", "error", "."]
    run = subprocess.run(
        command,
        cwd=projects,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for kind in KINDS:
        assert f"tests/test_my_{kind}.py::test_it_is_found_by_its_name PASSED" in run.stdout


@pytest.fixture
def folder(projects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a reader follows the page, with the files that it says to save."""
    for extra in ("pydantic", "matplotlib"):
        pytest.importorskip(extra, reason="the page says to install it")
    for name in FILES:
        shutil.copy(HOWTO / name, tmp_path / name)
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(projects)
    monkeypatch.syspath_prepend(tmp_path)
    default_manager.cache_clear()
    yield tmp_path
    default_manager.cache_clear()
    for name in set(sys.modules) - known:
        if name.startswith(("my_", "trial", "watch")):
            del sys.modules[name]


def follow(line: str, *allowed: int) -> str:
    """Do what a line of the page's console says, and return what it prints."""
    result = CliRunner().invoke(application(), shlex.split(line, comments=True)[1:])
    assert result.exit_code in allowed, (line, result.output, result.exception)
    return result.stdout


def with_own_parts(text: str, names: list[str]) -> str:
    """Put the page's own parts into the run description, all that it names at once."""
    for name in names:
        text, count = re.subn(rf'"[^"]+"( *# or "{name}")', rf'"{name}"\1', text)
        assert count == 1
    return text.replace("runs/trial", "runs/own")


def test_the_page_works_word_for_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runpy.run_path("trial.py", run_name="__main__")
    names: dict[str, Any] = {}
    printed: dict[str, str] = {}
    for language, text in BLOCKS:
        if language != "console":
            exec(compile(text, "plugin_kinds.md", "exec"), names)  # noqa: S102 - that is the test
            continue
        for line in text.splitlines():
            if line.startswith("python -m "):
                monkeypatch.setattr(sys, "argv", shlex.split(line)[2:])
                runpy.run_module(sys.argv[0], run_name="__main__")
            elif line.startswith("pladapt ") and not re.search("^pladapt new|# with", line):
                printed[line] = follow(line, 0, 3) if " adapt " in line else follow(line, 0)
    for kind in KINDS:
        (checked,) = [line for line in printed if line.startswith(f"pladapt check my-{kind}")]
        assert f"my-{kind} is a" in printed[checked]
    assert "round 1, area: " in printed["pladapt --plugin watch.py run trial.toml"]
    for name in ("trial", "network", "recipe"):
        assert Path("runs", name, "report.html").exists()
    named = re.findall(r'# with \[.+\] name = "(.+)"', "".join(text for _, text in BLOCKS))
    assert named == ["my-retrainer", "my-evaluator", "my-gate"]
    said = with_own_parts(
        Path("trial.toml").read_text(), ["my-selector", "my-network:FOLDER", *named]
    )
    Path("trial.toml").write_text(said)
    assert "Run: runs/own (" in follow("pladapt run trial.toml", 0, 3)
    assert read_run("runs/own").after["area"].value("area_error", aggregation="sample") >= 0
