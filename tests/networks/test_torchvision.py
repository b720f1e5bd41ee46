"""torchvision: its segmentation models, with weights from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from pladapt.errors import DataError, InputError
from pladapt.torch import load_network, load_predictor, save_predictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.networks]

models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")


def made(name: str, **options: object) -> torch.nn.Module:
    return models.get_model(name, weights=None, weights_backbone=None, **options).eval()


def test_the_output_is_what_torchvision_calls_out(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    model = made("lraspp_mobilenet_v3_large", num_classes=2)
    torch.save({"model": model.state_dict()}, tmp_path / "m.pth")
    network = load_network(
        "torchvision:lraspp_mobilenet_v3_large", tmp_path / "m.pth", num_classes=2
    )
    batch = images(2, 3, 32, 32)
    assert torch.equal(network.module(batch), model(batch)["out"])
    assert network.channels == 3
    picture = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    preset = models.segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT.transforms(
        resize_size=40
    )
    prepared = network.prepared.prepare(picture[None].float())
    torch.testing.assert_close(prepared[0], preset(picture), rtol=1e-4, atol=1e-4)
    (note,) = network.notes
    assert "--prepare size=520" in note
    save_predictor(network.predictor("cpu"), tmp_path / "adapted")
    loaded = load_predictor(tmp_path / "adapted", device="cpu")
    expected = network.predictor("cpu").predict(picture[None].float())
    (tmp_path / "m.pth").unlink()
    assert torch.equal(loaded.predict(picture[None].float()), expected)


def test_an_auxiliary_classifier_is_there_where_the_weights_have_one(
    tmp_path: Path, images: Callable[..., torch.Tensor]
) -> None:
    model = made("deeplabv3_mobilenet_v3_large", num_classes=2, aux_loss=True)
    torch.save(model.state_dict(), tmp_path / "m.pth")
    spec = "torchvision:deeplabv3_mobilenet_v3_large"
    network = load_network(spec, tmp_path / "m.pth", num_classes=2)
    batch = images(2, 3, 32, 32)
    assert torch.equal(network.module(batch), model(batch)["out"])
    with pytest.raises(DataError, match="of another shape"):
        load_network(spec, tmp_path / "m.pth", num_classes=3)


def test_there_must_be_such_a_model_and_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no segmentation model 'resnet18', but .*fcn_resnet50"):
        load_network("torchvision:resnet18")
    with pytest.raises(InputError, match=r"has no weights; give a file"):
        load_network("torchvision:fcn_resnet50")
