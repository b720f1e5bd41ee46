"""Masks from the command line: from a network, an adapted one, and an ONNX file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.files.formats import decode
from pladapt.files.stored import Decoding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

NETWORK = """
import torch
from torch import nn

def marks_bright():
    conv = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(16)
        conv.bias.fill_(-8)
    return conv
"""
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 10), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    for index in range(3):
        write(tmp_path / f"images/{index}.png", np.roll(PICTURE, index))
    (tmp_path / "marking.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def done(line: str) -> str:
    result = pladapt(line)
    assert result.exit_code == 0, result.output
    return result.stdout


def error_of(line: str) -> str:
    result = pladapt(line)
    assert result.exit_code == 1, result.output
    return str(result.exception)


def mask(path: Path) -> NDArray[Any]:
    return decode(path, Decoding(labels=True)).array


@pytest.mark.torch
def test_a_network_s_masks_are_on_the_disk(folder: Path) -> None:
    pytest.importorskip("lightning", reason="the extra torch is not installed")
    line = "predict marking:marks_bright images --device cpu --window 0 255"
    assert "Masks of 3 images: masks" in done(f"{line} -o masks --flip XY")
    for index in range(3):
        found = mask(folder / f"masks/{index}.png")
        np.testing.assert_array_equal(found, np.roll(PICTURE, index) > 127.5)
    assert "cutoff was 0.5 and is now 0.9" in error_of(f"{line} -o masks --flip XY --cutoff 0.9")
    high = json.loads(done(f"{line} -o high --cutoff 0.9 --label 255 --probabilities maps --json"))
    assert (high["masks"], len(high["images"]), high["left_out"]) == ("high", 3, [])
    logits = PICTURE / np.float32(255) * 16 - 8
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(mask(folder / "maps/0.npy"), expected, atol=1e-5)
    assert set(np.unique(mask(folder / "high/0.png"))) == {0, 255}
    assert "give a folder apart" in error_of(f"{line} -o images/masks")
    assert "--flip is 'W'" in error_of(f"{line} -o other --flip W")
    assert "takes no --option" in error_of(f"{line} -o other --option threads=1")
    with pytest.warns(UserWarning, match="everything is foreground"):
        done(f"{line} -o all --cutoff 1e-9")


@pytest.mark.torch
def test_a_window_that_was_forgotten_is_said_before_the_work(folder: Path) -> None:
    pytest.importorskip("lightning", reason="the extra torch is not installed")
    done("source images -o source.npz --window 0 255")
    predict = "predict marking:marks_bright images --device cpu --source source.npz"
    assert "unlike the source's" in error_of(f"{predict} -o masks --prepare scale=0.0039")
    assert not (folder / "masks").exists()
    assert "Masks of 3 images" in done(f"{predict} -o masks --window 0 255")
    with pytest.warns(UserWarning, match="unlike the source's"):
        done(f"{predict} -o forced --prepare scale=0.0039 --force")


@pytest.mark.torch
def test_images_are_read_as_adapt_read_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning", reason="the extra torch is not installed")
    from pladapt.cli.reading import Reading
    from pladapt.predictors import LogitShiftPredictor
    from pladapt.torch import load_network, save_predictor

    network = load_network("marking:marks_bright").reading()
    shifted = LogitShiftPredictor(network.predictor("cpu"), groups={"1": 6.0})
    save_predictor(shifted, folder / "run/adapted", cutoff=0.75)
    Reading(window=(0, 255)).record(folder / "run/adapted")
    above = np.float32((8 + np.log(3)) / 16 * 255)
    for model in ("run", "run/adapted", "run --network marking:marks_bright"):
        out = f"masks-{len(model)}"
        done(f"predict {model} images -o {out} --device cpu")
        np.testing.assert_array_equal(mask(folder / out / "0.png"), above < PICTURE)
        shifted_too = np.roll(PICTURE, 1) > above - np.float32(6 / 16 * 255)
        np.testing.assert_array_equal(mask(folder / out / "1.png"), shifted_too)
    assert "takes no --argument" in error_of("predict run images -o other --argument a=1")
    (folder / "run/adapted/reading.json").write_text("[]")
    assert "no whole record" in error_of("predict run images -o other")


@pytest.mark.onnx
def test_an_onnx_file_of_logits_marks_without_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import sys

    shape = ["batch", 1, "height", "width"]
    half = onnx.numpy_helper.from_array(np.float32([-127.5]), "half")
    made = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["images", "half"], ["logits"])],
        "bright",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, shape)],
        [half],
    )
    opset = onnx.helper.make_opsetid("", 20)
    onnx.save(onnx.helper.make_model(made, opset_imports=[opset], ir_version=9), "bright.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "give activation='auto'" in error_of("predict bright.onnx images -o out --device cpu")
    done("predict bright.onnx images -o out --device cpu --activation auto")
    np.testing.assert_array_equal(mask(folder / "out/0.png"), PICTURE > 127)
    done("source images -o source.npz --window 0 1000")
    line = "bright.onnx images --source source.npz -o"
    assert "unlike the source's" in error_of(f"predict {line} other --activation auto")
    assert "unlike the source's" in error_of(f"score {line} s.parquet --option activation=auto")
    assert "There is no file gone.onnx" in error_of("predict gone.onnx images -o other")
    assert "takes no --weights" in error_of(
        "predict bright.onnx images -o other --weights bright.onnx"
    )


@pytest.mark.torch
def test_parts_of_one_folder_are_joined_by_the_command_without_a_part(folder: Path) -> None:
    pytest.importorskip("lightning", reason="the extra torch is not installed")
    line = "predict marking:marks_bright images --device cpu --window 0 255"
    for part in (2, 1):
        assert "Give the same without --part" in done(f"{line} -o parts --part {part}/2")
    assert "Masks of 3 images: parts" in done(f"{line} -o parts")
    done(f"{line} -o whole")
    for name in ("0.png", "1.png", "2.png", "masks.parquet"):
        assert (folder / "parts" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    assert "give a number and how many parts" in error_of(f"{line} -o x --part 3/2")
