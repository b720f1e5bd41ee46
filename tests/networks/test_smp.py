"""segmentation-models-pytorch: its models, saved as it saves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch import load_network, load_predictor, save_predictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.networks]

smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="segmentation-models-pytorch is not installed"
)

preprocess_input = pytest.importorskip(
    "segmentation_models_pytorch.encoders._preprocessing"
).preprocess_input
smp_loader = pytest.importorskip("pladapt.torch.loaders.smp")


def unet(**options: Any) -> torch.nn.Module:
    sizes = {"encoder_depth": 3, "decoder_channels": (16, 8, 4), "encoder_weights": None}
    return smp.Unet("resnet18", **(sizes | {"in_channels": 1, "classes": 2} | options)).eval()


def test_what_save_pretrained_wrote_gives_the_same(
    tmp_path: Path, images: Callable[..., torch.Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    model = unet()
    model.save_pretrained(tmp_path / "model")
    network = load_network(f"smp:{tmp_path}/model")
    assert network.channels == 1
    assert not network.module.training
    batch = images(2, 1, 32, 48)
    assert torch.equal(network.module(batch), model(batch))
    expected = smp.from_pretrained(str(tmp_path / "model")).eval()(batch).softmax(1)
    capfd.readouterr()
    load_network(f"smp:{tmp_path}/model")
    assert capfd.readouterr().out == ""
    torch.testing.assert_close(network.predictor("cpu").predict(batch), expected)


def test_a_head_of_its_own_beside_the_masks_is_left_out(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    model = unet(aux_params={"classes": 4})
    model.save_pretrained(tmp_path / "model")
    batch = images(2, 1, 32, 32)
    network = load_network(f"smp:{tmp_path}/model")
    assert torch.equal(network.module(batch), model(batch)[0])


def test_the_weights_that_an_encoder_began_with_are_told_and_not_fetched(
    tmp_path: Path,
) -> None:
    unet(in_channels=3).save_pretrained(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder_weights": "imagenet"}))
    network = load_network(f"smp:{tmp_path}/model")
    told = network.preprocessing
    assert (told["encoder_name"], told["encoder_weights"]) == ("resnet18", "imagenet")
    (note,) = network.notes
    assert "--prepare library=false" in note
    picture = np.random.default_rng(0).integers(0, 256, (37, 45, 3)).astype(np.float32)
    for one in (picture, picture / 256):  # of 8 bits, and between 0 and 1
        expected = preprocess_input(one, **{k: told[k] for k in ("mean", "std", "input_range")})
        made = network.prepared.prepare(torch.from_numpy(one).movedim(-1, 0)[None])
        np.testing.assert_allclose(made[0].movedim(0, -1), expected, rtol=1e-4, atol=1e-5)
    assert network.prepared(torch.from_numpy(picture).movedim(-1, 0)[None]).shape == (1, 2, 37, 45)


def test_timm_s_encoders_tell_their_own_values(tmp_path: Path) -> None:
    config = {"encoder_weights": "imagenet", "encoder_name": "tu-mobilenetv3_small_050"}
    told = smp_loader._preprocessing(config)
    expected = smp.encoders.get_preprocessing_params(config["encoder_name"])
    assert {name: told[name] for name in expected} == expected
    steps, note = smp_loader._steps(config | {"in_channels": 1}, told)
    assert not steps
    assert "nothing is done" in note


def test_an_adapted_predictor_is_read_back_from_its_folder(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    unet().save_pretrained(tmp_path / "model")
    predictor = load_network(f"smp:{tmp_path}/model").predictor("cpu")
    with torch.no_grad():
        next(predictor.module.parameters()).add_(0.1)
    save_predictor(predictor, tmp_path / "adapted")
    batch = images(1, 1, 33, 50)
    loaded = load_predictor(tmp_path / "adapted", device="cpu")
    assert torch.equal(loaded.predict(batch), predictor.predict(batch))


def test_a_checkpoint_of_such_a_model_has_its_function(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1).eval()
    torch.save(
        {"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}},
        tmp_path / "m.ckpt",
    )
    network = load_network(
        "segmentation_models_pytorch:Unet",
        tmp_path / "m.ckpt",
        encoder_name="resnet18",
        encoder_weights=None,
        in_channels=1,
    )
    batch = images(1, 1, 32, 32)
    assert torch.equal(network.module(batch), model(batch))


def test_what_is_no_such_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no folder .*are not fetched"):
        load_network("smp:someone/model")
    with pytest.raises(MissingDataError, match=r"has no config\.json"):
        load_network(f"smp:{tmp_path}")
    unet().save_pretrained(tmp_path / "model")
    (tmp_path / "w.pt").touch()
    with pytest.raises(InputError, match="has weights of its own"):
        load_network(f"smp:{tmp_path}/model", tmp_path / "w.pt")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_network(f"smp:{tmp_path}/model", classes=3)
