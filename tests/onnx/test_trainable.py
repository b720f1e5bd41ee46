from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt import LabelledSample, Sample
from pladapt.onnx import OnnxTrainable
from pladapt.onnx import trainable as trainable_module
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing import PredictorContract
from pladapt.torch import FineTune, ModulePredictor, TorchPredictor, TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx

OPTIONS = {"device": "cpu"}


@pytest.fixture
def trainable(net: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> OnnxTrainable:
    cache = tmp_path_factory.getbasetemp() / "exported"
    return OnnxTrainable(net(), (1, 1, 8, 8), cache=cache, multiple_of=4, options=OPTIONS)


class TestOnnxTrainable(PredictorContract):
    @pytest.fixture
    def predictor(self, trainable: OnnxTrainable) -> OnnxTrainable:
        return trainable


def test_it_predicts_as_torch_does(
    trainable: OnnxTrainable, net: Callable[..., Any], images: Callable[..., Any]
) -> None:
    expected = TorchPredictor(net(), device="cpu").predict(images())
    np.testing.assert_allclose(trainable.predict(images()), expected, atol=1e-6)


def test_another_module_gives_another_prediction_and_description(
    trainable: OnnxTrainable, net: Callable[..., Any], images: Callable[..., Any]
) -> None:
    other = trainable.with_module(net(seed=1))
    assert isinstance(other, ModulePredictor)
    assert other.options == OPTIONS
    assert not np.array_equal(other.predict(images()), trainable.predict(images()))
    assert other.describe() != trainable.describe()


def test_the_description_is_of_the_weights_wherever_they_were_exported(
    trainable: OnnxTrainable, tmp_path: Path
) -> None:
    elsewhere = OnnxTrainable(
        trainable.module, (2, 1, 16, 16), cache=tmp_path, multiple_of=4, options=OPTIONS
    )
    assert elsewhere.describe() == trainable.describe()


def test_a_cached_file_is_used_again(
    trainable: OnnxTrainable, monkeypatch: pytest.MonkeyPatch, images: Callable[..., Any]
) -> None:
    expected = trainable.predict(images())
    monkeypatch.setattr(trainable_module, "export", None)
    again = trainable.with_module(trainable.module)
    np.testing.assert_array_equal(again.predict(images()), expected)


def test_a_file_of_a_fixed_size_is_kept_beside_others(
    trainable: OnnxTrainable, tmp_path: Path
) -> None:
    made = [
        replace(trainable, cache=tmp_path, fixed_size=True, example=(1, 1, size, 8))
        for size in (8, 12)
    ]
    for size, predictor in zip((8, 12), made, strict=True):
        assert predictor.predict(np.zeros((1, 1, size, 8), np.float32)).shape == (1, 1, size, 8)
    assert len(list(tmp_path.glob("*.onnx"))) == 2


def test_a_temporary_file_goes_with_its_predictor(trainable: OnnxTrainable) -> None:
    made = OnnxTrainable(trainable.module, (1, 1, 8, 8), multiple_of=4, options=OPTIONS)
    path = made.exported.path
    assert path.exists()
    del made
    assert not path.exists()


def test_adapting_selects_the_same_samples_as_torch_does(
    trainable: OnnxTrainable, net: Callable[..., Any]
) -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, 8, 8)).astype(np.float32) for _ in range(10)]
    target = [Sample(f"t{i}", f"p{i // 2}", image) for i, image in enumerate(images)]
    source = [
        LabelledSample(f"s{i}", "q", x, (x[0] > 1).astype(np.uint8)) for i, x in enumerate(images)
    ]
    tables = []
    for predictor in (TorchPredictor(net(), device="cpu"), trainable):
        result = pladapt.adapt(
            predictor,
            target,
            selector=CertaintyIndexSelector(cutoff=0.45, min_pixels=1, top_k=4),
            retrainer=FineTune(
                validation=source, options=TrainingOptions(epochs=1, device="cpu", seed=0)
            ),
        )
        assert type(result.predictor) is type(predictor)
        (done,) = result.rounds
        tables.append((done.selection.table, done.scores["score"].to_numpy()))
    first, other = (table.drop_columns("score") for table, _ in tables)
    assert first.equals(other)
    np.testing.assert_allclose(tables[0][1], tables[1][1], atol=1e-5)
