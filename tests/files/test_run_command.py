"""A run by its description: what the page shows, and what is wrong with others."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import InputError, read_run
from pladapt.cli.application import application
from pladapt.errors import MissingDataError, UnknownPluginError
from pladapt.plugins.manager import default_manager

pytest.importorskip("matplotlib", reason="the report extra is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

PAGE = Path(__file__).parents[2] / "docs/howto"


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, images whose lesions are fainter than the model knows."""
    rng = np.random.default_rng(0)
    for index in range(6):
        image = rng.normal(0.1, 0.02, (24, 24))
        mask = np.zeros((24, 24), np.uint8)
        mask[6 + index : 14 + index, 5:15] = 255
        image[mask > 0] += 0.45 + 0.05 * index
        write(tmp_path / f"images/p{index // 2}_{index}.npy", image.astype(np.float32))
        write(tmp_path / f"truth/p{index // 2}_{index}.npy", mask)
    for name in ("own_parts.py", "run.toml"):
        shutil.copy(PAGE / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # which a plugin's folder is added to
    default_manager.cache_clear()
    yield tmp_path
    default_manager.cache_clear()
    sys.modules.pop("own_parts", None)


def pladapt(*words: str) -> Result:
    return CliRunner().invoke(application(), words)


def edited(folder: Path, *changes: tuple[str, str]) -> None:
    text = (folder / "run.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "run.toml").write_text(text)


def test_the_run_of_the_page(folder: Path) -> None:
    result = pladapt("run", "run.toml")
    assert result.exit_code == 0, result.output
    run = read_run("runs/scanner-b")
    assert run.verdict.outcome == "adapted"
    assert len(run.rounds[0].selection.kept) == 3
    before, after = (each["truth"].value("dsc") for each in (run.before, run.after))
    assert after > before
    assert json.loads(Path("runs/scanner-b/round-1/predictor/threshold.json").read_text()) < 0.6
    assert Path("runs/scanner-b/report.html").exists()
    assert "Run: runs/scanner-b (adapted" in result.stdout


def test_a_sample_on_which_a_part_fails_is_listed(folder: Path, write: Write) -> None:
    write(folder / "images/p9_9.npy", np.zeros((24, 24), np.float32))
    parts = (folder / "own_parts.py").read_text()
    line = "        logits = self.steepness"
    check = (
        "        if not to_numpy(images).any(axis=(1, 2, 3)).all():\n            raise ValueError\n"
    )
    assert line in parts
    (folder / "own_parts.py").write_text(parts.replace(line, check + line))
    result = pladapt("run", "run.toml")
    assert result.exit_code == 0, result.output
    assert read_run("runs/scanner-b").left_out["id"].to_pylist() == ["p9_9"]
    assert "p9_9" in Path("runs/scanner-b/images.left-out.csv").read_text()
    assert "p9_9" in Path("runs/scanner-b/report.md").read_text()


def test_a_part_may_be_made_of_parts(folder: Path) -> None:
    old = 'name = "soft-dice"\nmin_pixels = 1\ntop_k = 0.5\n'
    new = 'name = "certain-negatives"\nceiling = 0.4\n[selector.selector]\nname = "soft-dice"\n'
    edited(folder, (old, f"{new}min_pixels = 1\ncutoff = 0.55\n"))
    assert pladapt("run", "run.toml").exit_code == 0
    config = json.loads(Path("runs/scanner-b/run.json").read_text())
    assert '"cutoff": 0.55' in json.dumps(config)


def test_the_schema_is_json() -> None:
    schema = json.loads(pladapt("run", "--print-schema").stdout)
    assert {"output", "images", "recipe", "selector", "gates"} <= schema["properties"].keys()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "cutoff =",
            "cutof =",
            "run.toml, line 3: a run has no key 'cutof'. Did you mean",
        ),
        (
            "group_by =",
            "groupby =",
            "line 8: [images] has no key 'groupby'. Did you mean 'group_by'?",
        ),
        (
            "cutoff = 0.5 ",
            'cutoff = "low"',
            "line 3: cutoff is 'low'; input should be a",
        ),
        (
            "labels = [255]",
            'labels = ["a"]',
            "line 12: truth.labels is 'a'; input should be a",
        ),
        (
            "top_k = 0.5",
            "topk = 0.5",
            "line 21: [selector] has no key 'topk'. Did you mean",
        ),
        ("top_k = 0.5", "top_k = 1.5", "top_k is 1.5; give a number from 1"),
        ("threshold = 0.6", "treshold = 0.6", "line 16: [predictor] has no key 'treshold'. Did yo"),
        ('output = "runs/scanner-b"', "", "run.toml: the key 'output' is missing"),
        ("[predictor]", "[recipe]", "give either a table [network] or a table [predictor]"),
        ('[retrainer]\nname = "midpoint"', "", "give either a [recipe], or a [selector] and a"),
        ("rounds", "rounds", ""),
        ("[images]", "[images", "run.toml is no TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_line(folder: Path, old: str, new: str, words: str) -> None:
    if not words:
        new = old = 'output = "runs/scanner-b"'
        new += "\nrounds = 'many'"
        words = "line 2: rounds is 'many'; input should be a valid integer"
    edited(folder, (old, new))
    result = pladapt("run", "run.toml")
    assert isinstance(result.exception, InputError), result.output
    assert words in str(result.exception)
    assert not Path("runs").exists() or old == "top_k = 0.5"


def test_an_unknown_part_and_a_missing_file_are_errors(folder: Path) -> None:
    edited(folder, ('"soft-dice"', '"soft-dise"'))
    assert isinstance(pladapt("run", "run.toml").exception, UnknownPluginError)
    assert isinstance(pladapt("run", "gone.toml").exception, MissingDataError)
    assert isinstance(pladapt("run").exception, InputError)


def test_a_plugin_may_be_given_to_any_command(folder: Path) -> None:
    given = ("--plugin", "own_parts.py", "score", "-o", "scores.parquet")
    line = "--predictor brightness --selector soft-dice --window 0 1 none images"
    failed = pladapt(*given, *line.split())
    assert "unexpected keyword argument 'path'" in str(failed.exception)
    listed = pladapt("--plugin", "own_parts.py", "plugins", "retrainer")
    assert "midpoint - own_parts" in listed.stdout
