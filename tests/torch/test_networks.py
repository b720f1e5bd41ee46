"""Networks by name, and how their output is read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pladapt.errors import DataError, InputError, MissingDataError, OutputError
from pladapt.plugins import PluginManager, Registration, hookimpl
from pladapt.predictors import FlipPredictor, predict_batch
from pladapt.testing import PredictorContract
from pladapt.torch import (
    FineTune,
    Folds,
    FoldsPredictor,
    FromProbabilities,
    Network,
    TorchPredictor,
    TrainingOptions,
    check_trainable,
    fit,
    load_network,
    load_predictor,
    predictor_of,
    save_predictor,
)
from pladapt.torch.storage import state_sha256
from pladapt.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pladapt.types import LabelledSample, PseudoLabelled
    from pladapt.typing import Predictor

pytestmark = pytest.mark.torch

CODE = """
from torch import nn

def make(width=2):
    return nn.Conv2d(1, width, 1)

def words():
    return "no module"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of networks."""
    (tmp_path / "my_networks.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


def images(batch: int = 3, channels: int = 1) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).normal(size=(batch, channels, 16, 16)).astype(np.float32)
    )


def members_of(predictor: Predictor, batch: torch.Tensor) -> Any:
    return predict_batch(predictor, Batch.unnamed(batch)).members


class Scaled(nn.Module):
    """A network whose output spreads: logits of the image's own values."""

    def __init__(self, last: nn.Module | None = None, channels: int = 1) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.arange(float(channels)).reshape(1, -1, 1, 1))
        self.last = last

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = 5 * images.mean(1, keepdim=True) - self.shift
        return logits if self.last is None else self.last(logits)


def test_a_function_of_the_current_folder_with_weights(here: Path) -> None:
    module = nn.Conv2d(1, 3, 1)
    torch.save({"state_dict": module.state_dict()}, here / "w.ckpt")
    before = list(sys.path)
    network = load_network("my_networks:make", "w.ckpt", width=3)
    assert state_sha256(network.module) == state_sha256(module)
    assert not network.module.training
    assert sys.path == before


def test_a_class_is_a_function_too() -> None:
    network = load_network("torch.nn:Conv2d", in_channels=1, out_channels=2, kernel_size=1)
    assert isinstance(network.module, nn.Conv2d)


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("my_networks:none", {}, "has no attribute 'none'"),
        ("no_such_module:make", {}, "No module named 'no_such_module'"),
        ("my_networks:make", {"depth": 3}, "depth.*--argument NAME=VALUE"),
        ("my_networks:words", {}, "made a str; expected a torch module"),
        ("nnunett:folder", {}, "Did you mean nnunet:"),
    ],
)
def test_what_makes_no_network_says_why(
    here: Path, spec: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_network(spec, **arguments)


def test_files_and_folders_get_the_way_to_name_them(here: Path) -> None:
    (here / "w.pth").touch()
    (here / "m.onnx").touch()
    (here / "results").mkdir()
    for spec, message in (
        ("w.pth", r"file of weights.*--weights w\.pth"),
        ("m.onnx", "holds a whole network"),
        ("results", "nnunet:results.*smp:results"),
    ):
        with pytest.raises(InputError, match=message):
            load_network(spec)
    with pytest.raises(MissingDataError, match=r"none\.pt"):
        load_network("my_networks:make", "none.pt")
    torch.save(nn.Conv2d(1, 5, 1).state_dict(), here / "other.pt")
    with pytest.raises(DataError, match="does not fit"):
        load_network("my_networks:make", "other.pt")


class Zoo:
    """A plugin that offers networks."""

    @hookimpl
    def pladapt_networks(self) -> list[Registration[Any]]:
        return [
            Registration("zoo", self.load, "zoo:ANIMAL"),
            Registration("bare", lambda target, weights: nn.Conv2d(1, int(target), 1), "bare:K"),
        ]

    def load(self, target: str, weights: Path | None, size: int = 1) -> Network:
        return Network(module=nn.Conv2d(size, 1, 1), classes=(target,), channels=size)


def test_a_plugin_offers_networks_by_a_prefix() -> None:
    plugins = PluginManager()
    plugins.register(Zoo(), "zoo")
    network = load_network("zoo:okapi", plugins=plugins, size=2)
    assert (network.classes, network.channels) == (("okapi",), 2)
    assert load_network("bare:4", plugins=plugins).module(images()).shape == (3, 4, 16, 16)
    with pytest.raises(InputError, match="colour"):
        load_network("zoo:okapi", plugins=plugins, colour="brown")


def test_the_plugins_table_has_the_networks() -> None:
    names = [item.name for _, item in PluginManager().registrations("network")]
    assert names == ["monai-bundle", "nnunet", "smp", "torchvision", "transformers"]


@pytest.mark.parametrize(
    ("last", "channels", "what"),
    [
        (nn.Sigmoid(), 1, "a sigmoid would be taken of them a second time"),
        (nn.Softmax(1), 3, "sums to 1.*a softmax would be taken"),
        (nn.Sigmoid(), 3, "do not sum to 1.*overlap.*channel"),
    ],
)
def test_probabilities_are_not_taken_for_logits(last: nn.Module, channels: int, what: str) -> None:
    predictor = TorchPredictor(Scaled(last, channels), "cpu")
    for _ in range(2):  # the second try is no better
        with pytest.raises(InputError, match=f"{what}.*none"):
            predictor.predict(images())


def test_one_quiet_batch_does_not_settle_it() -> None:
    predictor = TorchPredictor(Scaled(nn.Sigmoid()), "cpu")
    predictor.predict(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputError, match="probabilities already"):
        predictor.predict(images())


def test_said_to_be_logits_they_are_logits() -> None:
    module = Scaled(nn.Sigmoid())
    found = TorchPredictor(module, "cpu", activation="sigmoid").predict(images())
    torch.testing.assert_close(found, module(images()).sigmoid())


@pytest.mark.parametrize(("last", "channels"), [(nn.Sigmoid(), 1), (nn.Softmax(1), 3)])
def test_without_an_activation_the_probabilities_stay(last: nn.Module, channels: int) -> None:
    module = Scaled(last, channels)
    predictor = TorchPredictor(module, "cpu", activation="none")
    torch.testing.assert_close(predictor.predict(images()), module(images()), atol=1e-6, rtol=1e-5)
    assert predictor.with_module(predictor.module).module is predictor.module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Scaled(), "reaches from -.*logits"),
        (Scaled(nn.Sigmoid(), 3), "do not sum to 1.*channel"),
    ],
)
def test_what_is_said_to_be_probabilities_must_be_some(module: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TorchPredictor(module, "cpu", activation="none").predict(images())


def test_a_network_of_probabilities_is_trained_like_one_of_logits(
    net: Callable[..., nn.Module], blobs: Callable[..., list[LabelledSample]]
) -> None:
    options = TrainingOptions(epochs=2, batch_size=2, keep="last", device="cpu")
    plain = fit(net(), blobs(4), None, options)
    ending = FromProbabilities(nn.Sequential(*net(), nn.Sigmoid()))
    other = fit(ending, blobs(4), None, options)
    assert [row["train_loss"] for row in other.history] == pytest.approx(
        [row["train_loss"] for row in plain.history], rel=1e-4
    )


def test_such_a_predictor_is_stored_with_the_network_as_it_is(tmp_path: Path) -> None:
    predictor = FlipPredictor(TorchPredictor(Scaled(nn.Sigmoid()), "cpu", activation="none"))
    save_predictor(predictor, tmp_path / "adapted")
    loaded = load_predictor(tmp_path / "adapted", Scaled(nn.Sigmoid()), device="cpu")
    assert torch.equal(loaded.predict(images()), predictor.predict(images()))


def test_overlapping_classes_are_taken_one_at_a_time() -> None:
    regions = Network(module=Scaled(channels=3))
    with pytest.raises(InputError, match=r"activation is 'sigmoid'.*3 channels.*channel=0"):
        regions.reading("sigmoid").predictor("cpu").predict(images())
    expected = regions.module(images()).sigmoid()
    for channel in range(3):
        own = regions.reading("sigmoid", channel).predictor("cpu").predict(images())
        torch.testing.assert_close(own, expected[:, channel : channel + 1])


def test_one_class_of_a_softmax_is_that_class_against_the_others() -> None:
    network = Network(module=Scaled(channels=3), classes=("none", "organ", "lesion"))
    one = network.reading("softmax", 2)
    expected = network.module(images()).softmax(1)[:, 2:]
    torch.testing.assert_close(one.predictor("cpu").predict(images()), expected)
    assert one.classes == ("lesion",)


def test_one_channel_of_probabilities() -> None:
    network = Network(module=Scaled(nn.Sigmoid(), 3)).reading("none", 1)
    expected = Scaled(nn.Sigmoid(), 3)(images())[:, 1:2]
    torch.testing.assert_close(network.predictor("cpu").predict(images()), expected)


def test_a_channel_asks_for_what_it_is_and_must_be_there() -> None:
    with pytest.raises(InputError, match="channel is 1 and activation is 'auto'"):
        Network(module=Scaled(channels=3)).reading(channel=1)
    with pytest.raises(InputError, match="channel is 3 and the network gives 3"):
        Network(module=Scaled(channels=3)).reading("sigmoid", 3).predictor("cpu").predict(images())
    with pytest.raises(InputError, match="activation is 'relu'"):
        Network(module=Scaled()).reading("relu")  # type: ignore[arg-type]


def folds(net: Callable[..., nn.Module], classes: int = 1) -> Folds:
    return Folds([net(classes, seed=seed) for seed in range(3)])


@pytest.mark.parametrize("classes", [1, 3])
def test_folds_are_members_and_their_mean_logits_the_prediction(
    net: Callable[..., nn.Module], classes: int
) -> None:
    module = folds(net, classes)
    predictor = predictor_of(module, "cpu")
    members = members_of(predictor, images())
    each = [TorchPredictor(one, "cpu").predict(images()) for one in module.networks]
    torch.testing.assert_close(members, torch.stack(each))
    logits = torch.stack([one.eval()(images()) for one in module.networks]).mean(0)
    expected = logits.sigmoid() if classes == 1 else logits.softmax(1)
    torch.testing.assert_close(predictor.predict(images()), expected)
    torch.testing.assert_close(
        predict_batch(predictor, Batch.unnamed(images())).probabilities, expected
    )


def test_folds_are_trained_together_and_stay_members(
    net: Callable[..., nn.Module],
    pseudo: Callable[..., list[PseudoLabelled]],
    tmp_path: Path,
) -> None:
    predictor = predictor_of(folds(net), "cpu")
    options = TrainingOptions(epochs=1, batch_size=2, keep="last", device="cpu")
    trained: Any = FineTune(validation=None, options=options).retrain(predictor, pseudo(4))
    assert isinstance(trained, FoldsPredictor)
    for old, new in zip(predictor.module.networks, trained.module.networks, strict=True):
        assert state_sha256(old) != state_sha256(new)
    save_predictor(trained, tmp_path / "adapted")
    loaded: Any = load_predictor(tmp_path / "adapted", folds(net), device="cpu")
    torch.testing.assert_close(
        members_of(loaded, images()), members_of(trained, images()), rtol=0, atol=0
    )


def test_each_fold_is_read_alike() -> None:
    network = Network(module=Folds([Scaled(channels=2), Scaled(channels=2)]))
    predictor = network.reading("sigmoid", 1).predictor("cpu")
    assert isinstance(predictor, FoldsPredictor)
    assert members_of(predictor, images()).shape == (2, 3, 1, 16, 16)
    ending = Folds([Scaled(nn.Sigmoid()), Scaled(nn.Sigmoid())])
    other = Network(module=ending).reading("none").predictor("cpu")
    torch.testing.assert_close(other.predict(images()), Scaled(nn.Sigmoid())(images()))


def test_folds_that_training_made_are_looked_at_no_more() -> None:
    untrained = Network(module=Folds([Scaled(), Scaled()])).predictor("cpu")
    trained = untrained.with_module(Folds([Scaled(nn.Sigmoid()), Scaled(nn.Sigmoid())]))
    expected = trained.predict(images())
    torch.testing.assert_close(members_of(trained, images()), torch.stack([expected, expected]))
    told = predictor_of(Folds([Scaled(nn.Sigmoid()), Scaled(nn.Sigmoid())]), "cpu")
    with pytest.raises(OutputError, match="probabilities already"):
        members_of(told, images())


class TestFoldsContract(PredictorContract):
    @pytest.fixture
    def predictor(self, net: Callable[..., nn.Module]) -> Predictor:
        return predictor_of(folds(net), "cpu")


def test_what_cannot_be_trained_is_said_before_the_work(
    net: Callable[..., nn.Module], blobs: Callable[..., list[LabelledSample]]
) -> None:
    frozen = net().requires_grad_(requires_grad=False)
    with pytest.raises(InputError, match=r"all 6 of its parameters are frozen.*requires_grad_"):
        fit(frozen, blobs(2), None, TrainingOptions(keep="last", device="cpu"))
    with pytest.raises(InputError, match="it has none"):
        check_trainable(nn.Identity())
    frozen[0].requires_grad_(requires_grad=True)
    check_trainable(frozen)
