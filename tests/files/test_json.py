"""One JSON object on standard output, and all that is said besides on standard error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.cli.printing import print_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[[Path, NDArray[Any]], Path]

MAPS = np.random.default_rng(0).random((4, 16, 16), np.float32)
NAN = float("nan")


@pytest.fixture
def maps(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    for index, values in enumerate(MAPS):
        write(tmp_path / f"maps/{index}.npy", values)
        write(tmp_path / f"truth/{index}.npy", (values > 0.6).astype(np.uint8))
    (tmp_path / "maps/torn.npy").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(line: str, expected: str) -> dict[str, Any]:
    """Run a command with --json; return the object, where the prose says what is expected."""
    result = CliRunner().invoke(application(), [*line.split(), "--json"])
    assert result.exit_code == 0, result.output
    assert expected in result.stderr
    value = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(value, dict)
    return value


def test_every_step_on_files_prints_one_object(maps: Path) -> None:
    said("score --probabilities maps -o 1.parquet --part 1/2", "Scores: 1.parquet")
    scored = said("score --probabilities maps -o 2.parquet --part 2/2", "Left out: torn: ")
    assert scored["scores"] == "2.parquet"
    assert [each["name"] for each in scored["left_out"]] == ["torn"]
    merged = said("merge 1.parquet 2.parquet -o scores.parquet", "Scores of 4 samples")
    assert merged == {"scores": "scores.parquet", "samples": 4}

    selected = said("select scores.parquet -o selection.parquet --top-k 3", "outcome")
    assert selected["samples"] == {"kept": 3, "top_k": 1}
    assert selected["selector"] == "certainty-index"

    evaluated = said("evaluate maps truth -o evaluation --cutoff 0.6", "aggregation")
    figures = {(row["aggregation"], row["metric"]): row for row in evaluated["summary"]}
    assert figures["pooled", "dsc"]["mean"] == 1
    assert figures["pooled", "dsc"]["std"] is None
    assert {each["name"] for each in evaluated["left_out"]} == {"torn"}

    audited = said("audit scores.parquet --evaluation evaluation", "AURC")
    assert audited["reference"] == "scores"
    assert [row["score"] for row in audited["scores"]] == ["scores"]


def test_prose_is_on_standard_output_again_without_it(maps: Path) -> None:
    said("score --probabilities maps -o scores.parquet", "Scores: ")
    result = CliRunner().invoke(application(), ["select", "scores.parquet", "-o", "s.parquet"])
    assert "Selection: s.parquet" in result.stdout


def test_an_error_leaves_standard_output_empty(maps: Path) -> None:
    line = "select gone.parquet -o s.parquet --json"
    result = CliRunner().invoke(application(), line.split())
    assert (result.exit_code, result.stdout) == (1, "")


def test_what_is_undefined_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(rows=[{"mean": NAN, "of": (1, -float("inf"))}], name="a", count=2)
    assert json.loads(capsys.readouterr().out) == {
        "rows": [{"mean": None, "of": [1, None]}],
        "name": "a",
        "count": 2,
    }
