"""What people give by mistake, or of another library's types: it works, or is said in words."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import pladapt
from pladapt.errors import InputError, OutputError
from pladapt.torch import FineTune, TorchPredictor, TrainingOptions, fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pladapt.types import LabelledSample, PseudoLabelled

    Net = Callable[..., nn.Module]
    Blobs = Callable[..., list[LabelledSample]]
    Pseudo = Callable[..., list[PseudoLabelled]]

pytestmark = pytest.mark.torch

IMAGES = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)


def once(**options: Any) -> FineTune:
    """Return a retrainer of one epoch that validates on nothing."""
    given = {"epochs": 1, "keep": "last", "device": "cpu"} | options
    return FineTune(validation=None, options=TrainingOptions(**given))


class Pooled(nn.Module):
    """A network with a batch normalisation of one value per channel, as DeepLab has."""

    def __init__(self) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
        self.last = nn.Conv2d(1, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(images + self.pooled(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_predicts_and_is_trained_in_full(
    dtype: torch.dtype, net: Net, pseudo: Pseudo, tmp_path: Path
) -> None:
    predictor = TorchPredictor(net().to(dtype), device="cpu")
    expected = TorchPredictor(net(), device="cpu").predict(IMAGES)
    assert torch.allclose(predictor.predict(IMAGES), expected, atol=0.02)
    retrainer = once()
    trained = retrainer.retrain(predictor, pseudo(4))
    assert next(trained.module.parameters()).dtype == torch.float32
    retrainer.save(trained, tmp_path)
    loaded = retrainer.load(predictor, tmp_path)
    assert torch.equal(loaded.predict(IMAGES), trained.predict(IMAGES))


def test_images_in_half_precision_are_predicted(net: Net) -> None:
    predictor = TorchPredictor(net(), device="cpu")
    half = IMAGES.astype(np.float16)
    assert torch.equal(predictor.predict(half), predictor.predict(half.astype(np.float32)))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.repeat(IMAGES, 3, 1), "to have 1 channels, but got 3"),
        (IMAGES[:, :, None], "Expected 3D"),
        ((255 * IMAGES).astype(np.uint8), r"image.astype\(numpy.float32\)"),
        (IMAGES[:0], "no pixel"),
        (IMAGES[..., :0], "no pixel"),
        (IMAGES.astype(object), "holds no numbers"),
        (np.full_like(IMAGES, np.nan), "nan_to_num"),
    ],
    ids=["channels", "axes", "integers", "no image", "no pixel", "objects", "NaN"],
)
def test_images_that_do_not_fit_are_said(images: Any, said: str, net: Net) -> None:
    with pytest.raises(InputError, match=said):
        TorchPredictor(net(), device="cpu").predict(images)


def test_values_that_overflow_inside_a_network_are_said() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.InstanceNorm2d(1))
    module[0].weight.data.fill_(1e20)
    with pytest.raises(InputError, match="Look at their units"):
        TorchPredictor(module, device="cpu").predict(IMAGES * np.float32(1e20))


def test_an_image_of_one_pixel_is_predicted(net: Net) -> None:
    assert TorchPredictor(net(), device="cpu").predict(IMAGES[..., :1, :1]).shape == (2, 1, 1, 1)


def test_weights_that_are_no_numbers_end_the_work(net: Net) -> None:
    module = net()
    module[4].bias.data.fill_(torch.nan)
    with pytest.raises(OutputError, match=r"'4\.bias' hold NaN"):
        TorchPredictor(module, device="cpu").predict(IMAGES)


@pytest.mark.parametrize(
    "module", ["net.pt", {"weight": torch.zeros(1)}, nn.Conv2d, nn.Conv2d(1, 1, 1).to("meta")]
)
def test_what_is_no_network_is_refused(module: Any) -> None:
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module|'meta'"):
        TorchPredictor(module)


def test_numbers_of_other_libraries_are_pythons(net: Net, pseudo: Pseudo) -> None:
    options = TrainingOptions(
        epochs=np.int64(1),
        min_steps=torch.tensor(0),
        batch_size=np.int32(2),
        ema=np.float32(0.5),
        gradient_clip=np.float32(1),
        keep="last",
        device="cpu",
    )
    assert len(fit(net(), pseudo(4), None, options).history) == 1
    assert FineTune(validation=np.float32(0.25)).validation == 0.25
    predictor = TorchPredictor(net(), device="cpu", batch_size=np.int64(1))
    assert predictor.predict(IMAGES).shape == IMAGES.shape


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 1.5},
        {"batch_size": "8"},
        {"patience": None},
        {"ema": "0.9"},
        {"gradient_clip": 0},
        {"optimizer": "adam"},
        {"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1)},
    ],
    ids=str,
)
def test_options_of_another_kind_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"[gG]ive "):
        TrainingOptions(**options)


@pytest.mark.parametrize("validation", ["0.1", 1])
def test_a_validation_of_another_kind_is_refused(validation: Any) -> None:
    with pytest.raises(InputError, match="validation is"):
        FineTune(validation=validation)


@pytest.mark.parametrize(
    "loss",
    [nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss(), lambda logits, _: logits, lambda *_: 1.0],
    ids=["bce", "cross entropy", "no scalar", "no tensor"],
)
def test_a_loss_that_does_not_take_logits_and_masks_is_refused_before_the_training(
    loss: Any, net: Net, pseudo: Pseudo
) -> None:
    with pytest.raises(InputError, match="a scalar tensor to learn from"):
        once(loss=loss).retrain(TorchPredictor(net(), device="cpu"), pseudo(2))


@pytest.mark.parametrize(("samples", "size"), [(1, 8), (3, 1)])
def test_a_batch_of_one_is_refused_where_batch_normalisation_cannot_learn_from_it(
    samples: int, size: int, pseudo: Pseudo
) -> None:
    predictor = TorchPredictor(Pooled(), device="cpu")
    with pytest.raises(InputError, match="freeze_batch_norm=True"):
        once(batch_size=size).retrain(predictor, pseudo(samples))
    once(batch_size=size, freeze_batch_norm=True).retrain(predictor, pseudo(samples))
    once(batch_size=2).retrain(predictor, pseudo(2))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_network_predicts_and_is_not_trained(net: Net, pseudo: Pseudo) -> None:
    scripted = torch.jit.trace(net().eval(), torch.zeros(1, 1, 16, 16))
    predictor = TorchPredictor(scripted, device="cpu")
    assert predictor.predict(IMAGES).shape == IMAGES.shape
    with pytest.raises(InputError, match=r"torch\.jit"):
        once().retrain(predictor, pseudo(2))


def test_a_run_with_numbers_of_numpy_is_that_with_pythons(
    net: Net, blobs: Blobs, tmp_path: Path
) -> None:
    def run(number: Callable[[int], Any]) -> None:
        pladapt.adapt(
            TorchPredictor(net(), device="cpu"),
            pladapt.unlabelled(blobs(4)),
            selector=pladapt.selector(
                "certainty-index", cutoff=0.5, min_pixels=number(0), top_k=number(2)
            ),
            retrainer=once(epochs=number(1), optimizer=functools.partial(torch.optim.SGD, lr=1e-3)),
            rounds=number(1),
            batch_size=number(2),
            max_errors=number(1),
            workdir=tmp_path,
        )

    run(np.int64)
    run(int)  # goes on with the same run, and so refuses whatever differs
