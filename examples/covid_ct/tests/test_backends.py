from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt.errors import RunChangedError
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.tables import table

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt_covid_ct.experiment import Outcome

NEEDED = ("onnxruntime", "onnx", "onnxscript", "onnxconverter_common")

pytestmark = [
    pytest.mark.onnx,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason="ONNX Runtime or the exporter is not installed",
    ),
]

SETTINGS = Settings(
    size=32,
    encoder="resnet18",
    encoder_weights="none",
    epochs=1,
    top_k=0.5,
    min_pixels=0,
    device="cpu",
)


def silent(stage: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def run(data: Path, out: Path, settings: Settings) -> Outcome:
    return run_experiment(data, "A", ["B"], settings=settings, out=out, progress=silent)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Outcome]:
    folder = tmp_path_factory.mktemp("backends")
    write_phantoms(folder / "data", 0, patients={"A": 4, "B": 2, "C": 2}, slices=4, size=48)
    settings = {name: replace(SETTINGS, backend=name) for name in ("torch", "onnx")}
    torch, onnx = (run(folder / "data", folder / k, v) for k, v in settings.items())
    return folder, torch, onnx


def test_both_backends_choose_the_same_cutoff_and_select_the_same_slices(
    outcomes: tuple[Path, Outcome, Outcome],
) -> None:
    _, torch, onnx = outcomes
    assert onnx.trained.calibration.cutoff == torch.trained.calibration.cutoff
    ours, theirs = (o.targets["B"].rounds[0] for o in (onnx, torch))
    assert ours.selection.kept == theirs.selection.kept
    assert ours.selection.dropped == theirs.selection.dropped
    scores = [np.asarray(r.scores["score"].to_numpy()) for r in (ours, theirs)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


def test_both_backends_print_the_same_table(outcomes: tuple[Path, Outcome, Outcome]) -> None:
    _, torch, onnx = outcomes
    assert list(table(onnx)) == list(table(torch))


def test_the_files_of_the_models_are_in_the_run_folder(
    outcomes: tuple[Path, Outcome, Outcome],
) -> None:
    folder, _, _ = outcomes
    assert len(list((folder / "onnx/source/onnx").glob("*.onnx"))) == 2, "source and retrained"
    assert not (folder / "torch/source/onnx").exists()


def test_a_run_is_not_continued_with_another_backend(
    outcomes: tuple[Path, Outcome, Outcome],
) -> None:
    folder, _, _ = outcomes
    with pytest.raises(RunChangedError, match=r"backend was 'onnx' and is now 'torch'"):
        run(folder / "data", folder / "onnx", SETTINGS)
