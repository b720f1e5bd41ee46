"""Predictors that are stored and read back predict the same, to the bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt import (
    DataError,
    EnsemblePredictor,
    FlipPredictor,
    InputError,
    Sample,
)
from pladapt.errors import MissingDataError
from pladapt.predictors import LogitShiftPredictor, ScalePredictor, TemperaturePredictor
from pladapt.predictors.prediction import predictions
from pladapt.storage import stored_folder
from pladapt.torch import (
    DropoutPredictor,
    TorchPredictor,
    load_predictor,
    recalibrate_batch_norm,
    save_module,
    save_predictor,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from pladapt.typing import Predictor

    Net = Callable[..., nn.Module]

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(0.4, 0.3, (4, 1, 16, 16)).astype(np.float32)
IMAGES[:, :, :4] = -1.0  # a constant background
SAMPLES = [Sample(f"s{i}", f"p{i // 2}", image) for i, image in enumerate(IMAGES)]


def predicted(predictor: Predictor) -> np.ndarray:
    """Predict the samples, of which some predictors know the groups."""
    ((_, prediction),) = predictions(predictor, SAMPLES)
    return np.asarray(prediction.probabilities)


def made(net: Net) -> dict[str, Predictor]:
    plain = TorchPredictor(net(), device="cpu")
    other = TorchPredictor(net(seed=1), device="cpu")
    recalibrated = recalibrate_batch_norm(plain, SAMPLES, device="cpu")
    return {
        "plain": plain,
        "flips": FlipPredictor(plain, (-1, -2), combine=True),
        "shifted": LogitShiftPredictor(TemperaturePredictor(plain, 1.5), -0.25),
        "grouped": LogitShiftPredictor(plain, 0.5, {"p0": 1.0, "p1": -0.5}),
        "scales": ScalePredictor(FlipPredictor(plain), (1 / 1.2, 1.2)),
        "dropout": DropoutPredictor(plain, members=2, seed=3),
        "ensemble": EnsemblePredictor([FlipPredictor(plain), other, plain]),
        "recalibrated": recalibrated,
        "kept fraction": LogitShiftPredictor(recalibrated, 0.75),  # as the recommended recipe's
    }


KINDS = [
    *("plain", "flips", "shifted", "grouped", "scales", "dropout"),
    *("ensemble", "recalibrated", "kept fraction"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_predicts_the_same(kind: str, net: Net, tmp_path: Path) -> None:
    predictor = made(net)[kind]
    save_predictor(predictor, tmp_path / "adapted", cutoff=0.3)
    module = net(seed=5)
    loaded = load_predictor(tmp_path / "adapted", module, device="cpu")
    np.testing.assert_array_equal(predicted(loaded), predicted(predictor))
    assert json.loads((tmp_path / "adapted/predictor.json").read_text())["cutoff"] == 0.3
    fresh = TorchPredictor(net(seed=5), device="cpu")
    np.testing.assert_array_equal(predicted(TorchPredictor(module, device="cpu")), predicted(fresh))


def test_the_same_weights_are_stored_once(net: Net, tmp_path: Path) -> None:
    save_predictor(made(net)["ensemble"], tmp_path / "adapted")
    names = sorted(path.name for path in (tmp_path / "adapted").iterdir())
    assert names == [
        "digests.json",
        "model-2.safetensors",
        "model.safetensors",
        "predictor.json",
    ]


def test_a_stored_predictor_is_replaced_and_nothing_else(net: Net, tmp_path: Path) -> None:
    parts = made(net)
    save_predictor(parts["ensemble"], tmp_path / "adapted")
    save_predictor(parts["plain"], tmp_path / "adapted")
    names = sorted(path.name for path in (tmp_path / "adapted").iterdir())
    assert names == ["digests.json", "model.safetensors", "predictor.json"]
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no predictor"):
        save_predictor(parts["plain"], tmp_path)
    assert (tmp_path / "notes.txt").exists()


def test_what_cannot_be_stored_is_named_and_leaves_nothing(net: Net, tmp_path: Path) -> None:
    plain = TorchPredictor(net(), device="cpu")

    class Own:
        """Someone's predictor."""

        def predict(self, images: np.ndarray, /) -> np.ndarray:
            return images

    for predictor in (FlipPredictor(Own()), EnsemblePredictor([plain, Own()])):
        with pytest.raises(InputError, match=r"^Own cannot be stored"):
            save_predictor(predictor, tmp_path / "adapted")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(net: Net, tmp_path: Path) -> None:
    folder = tmp_path / "adapted"
    with pytest.raises(MissingDataError, match="that save_predictor wrote"):
        load_predictor(folder, net())
    save_predictor(TorchPredictor(net(), device="cpu"), folder)
    with pytest.raises(DataError, match="does not fit the module"):
        load_predictor(folder, net(classes=2))
    for name in ("predictor.json", "model.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=f"{name} is not what was written"):
            load_predictor(folder, net())
        path.unlink()
        with pytest.raises((DataError, MissingDataError), match=f"{name} is missing|no .*{name}"):
            load_predictor(folder, net())
        path.write_bytes(whole)
    (folder / "digests.json").unlink()
    with pytest.raises(MissingDataError, match="never finished"):
        load_predictor(folder, net())


def nested(depth: int) -> str:
    return '{"predictor":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no whole JSON file"),
        (nested(100_000), "no whole JSON file"),
        ('{"version": 1, "predictor": {"kind": "unknown", "predictor": 1}}', "no whole predictor"),
        ('{"version": 2, "predictor": {}}', "of version 2, and 1 is read"),
    ],
    ids=["cut", "nested", "kind", "version"],
)
def test_a_predictor_that_someone_made_up_is_refused(
    net: Net, tmp_path: Path, text: str, message: str
) -> None:
    with stored_folder(tmp_path / "adapted") as folder:
        (folder / "predictor.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_predictor(tmp_path / "adapted", net())


def test_a_file_outside_the_folder_is_not_read(net: Net, tmp_path: Path) -> None:
    save_module(net(), tmp_path / "outside.safetensors")
    options = {"activation": "auto", "amp": "off", "batch_size": None, "channels_last": False}
    told = {"kind": "torch", "weights": "../outside.safetensors", **options}
    with stored_folder(tmp_path / "adapted") as folder:
        (folder / "predictor.json").write_text(json.dumps({"version": 1, "predictor": told}))
    with pytest.raises(DataError, match=r"\.\./outside\.safetensors.*no file of its folder"):
        load_predictor(tmp_path / "adapted", net())
