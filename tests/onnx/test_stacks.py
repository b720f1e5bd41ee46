"""Adapted predictors as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt import EnsemblePredictor, FlipPredictor, InputError
from pladapt.predictors import LogitShiftPredictor

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("lightning", reason="the extra torch is not installed")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("combine", [False, True])
def test_a_stack_predicts_as_one_module(channels: int, combine: bool) -> None:  # noqa: FBT001
    from pladapt.onnx.stacks import module_of_stack
    from pladapt.torch import TorchPredictor

    plain = TorchPredictor(torch.nn.Conv2d(1, channels, 3, padding=1), device="cpu")
    flipped = FlipPredictor(plain, (-1, -2), combine)
    images = torch.randn(2, 1, 8, 6)
    for predictor in (plain, flipped, *(LogitShiftPredictor(p, 1.5) for p in (plain, flipped))):
        with torch.no_grad():
            logits = module_of_stack(predictor)(images)
        found = logits.sigmoid() if channels == 1 else logits.softmax(1)
        np.testing.assert_allclose(found, predictor.predict(images), atol=1e-5)


def test_what_cannot_go_into_a_file_is_named() -> None:
    from pladapt.onnx.stacks import module_of_stack
    from pladapt.torch import TorchPredictor

    plain = TorchPredictor(torch.nn.Conv2d(1, 1, 1), device="cpu")
    shifted = LogitShiftPredictor(plain, groups={"patient": 1.0})
    for predictor, said in (
        (shifted, "shifts of single groups"),
        (FlipPredictor(LogitShiftPredictor(plain, 1.0)), "around a LogitShiftPredictor"),
        (EnsemblePredictor([plain]), "what EnsemblePredictor does"),
    ):
        with pytest.raises(InputError, match=said):
            module_of_stack(predictor)


@pytest.mark.onnx
def test_an_adapted_predictor_is_exported_with_its_shift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx-export is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from typer.testing import CliRunner

    from pladapt.cli.application import application
    from pladapt.onnx import OnnxPredictor
    from pladapt.torch import load_network, save_predictor

    (tmp_path / "tiny.py").write_text(
        "import torch\ndef net():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Conv2d(1, 1, 3, padding=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    inner = load_network("tiny:net").reading().predictor("cpu")
    adapted = LogitShiftPredictor(FlipPredictor(inner), 0.75)
    save_predictor(adapted, tmp_path / "adapted")
    line = "onnx export adapted net.onnx --example 1,8,8 --multiple-of 1"
    made = CliRunner().invoke(application(), line.split())
    assert made.exit_code == 0, made.output
    images = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    found = OnnxPredictor(tmp_path / "net.onnx", device="cpu").predict(images)
    np.testing.assert_allclose(found, adapted.predict(images), atol=1e-5)
    weights = tmp_path / "adapted/model.safetensors"
    bare = f"onnx export tiny:net bare.onnx --weights {weights} --example 1,8,8 --multiple-of 1"
    with pytest.warns(UserWarning, match=r"whose shift of the logits, mirror images will not be"):
        assert CliRunner().invoke(application(), bare.split()).exit_code == 0
    refused = CliRunner().invoke(application(), [*line.split(), "--argument", "a=1"])
    assert "give no --weights" in str(refused.exception)
