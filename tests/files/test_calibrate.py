"""The cut-off of a model from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that gives back its images as probabilities, and labelled images."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    for channels in (1, 3):
        shape = ["batch", channels, "height", "width"]
        info = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["images"], ["probabilities"])],
            "same",
            [info("images", onnx.TensorProto.FLOAT, shape)],
            [info("probabilities", onnx.TensorProto.FLOAT, shape)],
        )
        opset = onnx.helper.make_opsetid("", 20)
        made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
        onnx.save(made, tmp_path / f"{channels}.onnx")
    for name in ("a", "b"):
        values = RNG.random((16, 16), np.float32)
        write(tmp_path / f"images/{name}.npy", values)
        write(tmp_path / f"truth/{name}.npy", (values > 0.305).astype(np.uint8) * 7)
        first, second = values / 2, (1 - values) / 2
        write(tmp_path / f"three/{name}.npy", np.stack([1 - first - second, first, second]))
        classes = np.where(first > 0.355, 1, np.where(second > 0.255, 2, 0))
        write(tmp_path / f"classes/{name}.npy", classes.astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def test_the_best_cutoff_is_printed_written_and_ready_to_be_given_on(folder: Path) -> None:
    line = "calibrate 1.onnx images truth --device cpu --truth-label 7 -o found.json --json"
    result = pladapt(line)
    assert result.exit_code == 0, result.output
    written = json.loads((folder / "found.json").read_text())
    assert written.items() <= json.loads(result.stdout).items()
    assert 0.29 <= written["cutoff"] <= 0.32
    assert (written["samples"], len(written["curve"])) == (2, 99)
    (row,) = written["classes"]
    assert row["dsc"] > 0.98 > row["dsc_at_half"]
    assert not row["at_edge"]
    step = f"pladapt predict 1.onnx IMAGES -o MASKS --cutoff {written['cutoff']:g}"
    assert step in " ".join(result.stderr.split())


def test_each_class_has_its_own_cutoff(folder: Path) -> None:
    assert folder.exists()
    line = "calibrate 3.onnx three classes --device cpu --axes CYX"
    result = pladapt(f"{line} --truth-label 1 --truth-label 2 --json")
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["cutoff"]
    assert 0.33 <= first <= 0.38
    assert 0.23 <= second <= 0.28
    assert f"--cutoff {first:g} --cutoff {second:g}" in result.stderr
    refused = pladapt(f"{line} --binary")
    assert refused.exit_code == 1
    assert "The model has 2 classes but the background" in str(refused.exception)
    assert "--truth-label once for each class" in str(refused.exception)


@pytest.mark.parametrize(
    ("window", "said"),
    [("0.3 5", "class 1 lies at an end of what was tried"), ("0.3 900", "class 1 is any")],
)
def test_what_no_network_that_works_has_is_warned_of(folder: Path, window: str, said: str) -> None:
    assert folder.exists()
    with pytest.warns(UserWarning, match=said):
        result = pladapt(f"calibrate 1.onnx images truth --device cpu --window {window} --binary")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("calibrate 1.onnx images truth -o found.txt", "its name must end in .json"),
        ("calibrate gone.onnx images truth", "There is no file gone.onnx"),
        ("calibrate 1.onnx images images", "keep the masks in a folder apart"),
    ],
)
def test_what_cannot_be_calibrated_is_said(folder: Path, line: str, said: str) -> None:
    assert folder.exists()
    result = pladapt(line)
    assert result.exit_code == 1
    assert said in str(result.exception)
