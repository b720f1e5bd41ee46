"""What the documentation says is so."""

from __future__ import annotations

import configparser
import importlib
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import pladapt
from pladapt import errors
from pladapt.plugins import hookspecs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
KINDS = ("tutorial", "howto", "reference", "explanation", "project")
TUTORIAL = DOCS / "tutorial/first_adaptation.py"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("[!_]*/*.md")])


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read(path), re.DOTALL | re.MULTILINE)


SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "python"))
]


def test_every_page_is_of_one_kind_and_in_the_contents() -> None:
    listed = re.findall(r"^(\w+/[\w-]+)$", read(DOCS / "index.md"), re.MULTILINE)
    pages = {f"{page.parent.name}/{page.stem}" for page in PAGES if page.parent.parent == DOCS}
    assert sorted(listed) == sorted(pages)
    assert {page.split("/")[0] for page in pages} == set(KINDS)


def test_the_reference_has_every_hook() -> None:
    specified = {name for name in vars(hookspecs) if name.startswith("pladapt_")}
    page = read(DOCS / "reference/hooks.md")
    documented = re.findall(r"^\.\. autofunction:: (pladapt_\w+)$", page, re.MULTILINE)
    assert specified
    assert sorted(documented) == sorted(specified)


@pytest.mark.parametrize("path", [*PAGES, *DOCS.glob("**/*.py")], ids=lambda path: path.name)
def test_every_hook_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bpladapt_(?!covid_ct|peak|mlflow)\w+", read(path)))
    assert {name for name in named if not hasattr(hookspecs, name)} == set()


def test_the_reference_has_every_public_name() -> None:
    page = read(DOCS / "reference/api.md")
    documented = set(re.findall(r"^\.\. auto\w+:: pladapt\.(\w+)$", page, re.MULTILINE))
    documented |= set(re.findall(r"^\.\. data:: (\w+)$", page, re.MULTILINE))
    public = {name for name in pladapt.__all__ if not hasattr(errors, name)}  # automodule has those
    assert public - documented == set()


def test_every_exception_is_in_the_table_of_errors() -> None:
    raised = {name for name in vars(errors) if name.endswith("Error")}
    in_table = set(re.findall(r"`(\w+Error)`", read(DOCS / "reference/errors.md")))
    assert raised - in_table - {"PladaptError"} == set()
    builtins = {base.__name__ for name in raised for base in getattr(errors, name).__mro__}
    assert in_table - builtins == set()


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(TUTORIAL)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout == "".join(blocks(TUTORIAL.with_suffix(".md"), "text"))


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the snippets take for granted, from the tutorial."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        tutorial = runpy.run_path(str(TUTORIAL))
    images = np.stack([sample.image for sample in tutorial["target"]])
    return {
        "pladapt": pladapt,
        "predictor": tutorial["predictor"],
        "retrainer": tutorial["Halfway"](),
        "trained_on_target": tutorial["Threshold"](0.6),
        "probabilities": tutorial["predictor"].predict(images),
        "source_test": tutorial["source"],
        "source_patients": tutorial["scan"]("patient", 12, 2.0, seed=3),
        "target": tutorial["images"],
        "target_test": tutorial["target"],
        "module": torch.nn.Conv2d(1, 1, 3, padding=1),
        "source_validation_samples": tutorial["source"],
    }


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(
    code: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = pladapt.plugins.PluginManager()
    monkeypatch.syspath_prepend(ROOT / "examples/plugins/peak")
    plugins.register(importlib.import_module("pladapt_peak"), "peak")
    monkeypatch.setattr("pladapt.plugins.manager.default_manager", lambda: plugins)
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torch").manual_seed(1)  # networks that snippets make mark something
    exec(compile(code, "snippet", "exec"), dict(names))  # noqa: S102 - that is the test


def test_the_readme_shows_a_run_that_selects(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "README.md", "python")
    shown = dict(names)
    exec(compile(code, "README.md", "exec"), shown)  # noqa: S102 - that is the test
    assert shown["ci"].shape == shown["n"].shape == (len(names["target"]), 1)
    assert (tmp_path / "runs/a-to-c/run.json").exists()


def test_the_commands_page_is_what_the_commands_say() -> None:
    pytest.importorskip("pladapt_covid_ct", reason="the example is not installed")
    from typer.cli import app

    arguments = [str(DOCS / "commands_app.py"), "utils", "docs", "--name", "pladapt"]
    result = CliRunner().invoke(app, [*arguments, "--title", "Commands"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == read(DOCS / "reference/commands.md").strip(), (
        "see CONTRIBUTING.md"
    )


def test_the_pictures_of_the_scores_show_what_the_selectors_compute() -> None:
    for extra in ("contourpy", "PIL"):
        pytest.importorskip(extra, reason="the report extra is not installed")
    drawn = runpy.run_path(str(DOCS / "score_pictures.py"))
    page = read(DOCS / "reference/scores.md")
    for name in drawn["SCORES"]:
        picture = read(DOCS / f"reference/scores/{name}.svg")
        shown, computed = (
            re.findall("<text.*?>(.*?)<", each) for each in (picture, drawn["draw"](name))
        )
        assert len(shown) == 2 * len(drawn["maps"]())
        assert shown == computed
        assert f"](scores/{name}.svg)" in page


def test_the_example_page_tells_where_every_data_set_is() -> None:
    datasets = pytest.importorskip("pladapt_covid_ct.datasets", reason="no example installed")
    page = read(DOCS / "howto/covid_ct.md")
    for letter, info in datasets.DATASETS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {letter} |"))
        assert info.page in row
        assert next(iter(info.archives)) in row


def test_the_architecture_page_has_every_room() -> None:
    page = read(DOCS / "explanation/architecture.md")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    rooms = [set(re.findall(r"`(\w+)/?`", row)) for row in rows]
    contracts = tomllib.loads(read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert rooms == [set(layer.split(" | ")) for layer in layers]


def test_contributing_explains_every_environment() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "tox.ini")
    environments = config["tox"]["env_list"].split()
    explained = re.findall(r"^\| `([\w-]+)` \|", read(ROOT / "CONTRIBUTING.md"), re.MULTILINE)
    assert explained == environments
