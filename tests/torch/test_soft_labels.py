from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pladapt.errors import InputError
from pladapt.torch import FineTune, RandomAffine, TorchPredictor, TrainingOptions, fit
from pladapt.torch.storage import state_sha256
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pladapt.types import LabelledSample, PseudoLabelled

    Net = Callable[..., nn.Module]
    Blobs = Callable[..., list[LabelledSample]]
    Pseudo = Callable[..., list[PseudoLabelled]]

pytestmark = pytest.mark.torch

OPTIONS = TrainingOptions(
    epochs=2, batch_size=4, device="cpu", augmentation=RandomAffine(), keep="last"
)


def soft(sample: PseudoLabelled, **arrays: Any) -> PseudoLabelled:
    return replace(sample, **arrays)


def test_certain_probabilities_teach_what_the_labels_do(net: Net, pseudo: Pseudo) -> None:
    certain = [soft(s, probabilities=s.label[None].astype(np.float32)) for s in pseudo(6)]
    results = [fit(net(), samples, None, OPTIONS).module for samples in (pseudo(6), certain)]
    for one, other in zip(*(module.parameters() for module in results), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [1, 3])
def test_soft_probabilities_teach_something_else(net: Net, pseudo: Pseudo, classes: int) -> None:
    shape = (classes, 16, 16)
    even = [soft(s, probabilities=np.full(shape, 1 / max(2, classes))) for s in pseudo(6)]
    hashes = [
        state_sha256(fit(net(classes), samples, None, OPTIONS).module)
        for samples in (pseudo(6), even)
    ]
    assert hashes[0] != hashes[1]


def test_a_network_learns_the_probabilities(net: Net, pseudo: Pseudo) -> None:
    samples = [soft(s, probabilities=np.full((1, 16, 16), 0.3)) for s in pseudo(4)]
    options = replace(OPTIONS, epochs=60, optimizer=_quick)
    module = fit(net(), samples, None, options).module
    images = np.stack([s.image for s in samples])
    said = TorchPredictor(module, device="cpu").predict(images)
    assert float(said.mean()) == pytest.approx(0.3, abs=0.06)


def _quick(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=2e-2)


def test_pixels_without_weight_teach_nothing(net: Net, pseudo: Pseudo) -> None:
    weight = np.ones((16, 16), np.float32)
    weight[:8] = 0
    ignored = [soft(s, label=np.where(weight > 0, s.label, IGNORE)) for s in pseudo(6)]
    weighted = [soft(s, weight=weight) for s in pseudo(6)]
    options = replace(OPTIONS, augmentation=None)
    results = [fit(net(), samples, None, options).module for samples in (ignored, weighted)]
    for one, other in zip(*(module.parameters() for module in results), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_ignored_pixels_stay_ignored_whatever_their_probability(net: Net, pseudo: Pseudo) -> None:
    blank = [
        soft(
            s,
            label=np.full_like(s.label, IGNORE),
            probabilities=np.full((1, 16, 16), 0.8),
            weight=np.ones((16, 16)),
        )
        for s in pseudo(4)
    ]
    module = net()
    result = fit(module, blank, None, replace(OPTIONS, freeze_batch_norm=True))
    assert state_sha256(result.module) == state_sha256(module)


def test_soft_samples_mix_with_the_source_s_masks(net: Net, blobs: Blobs, pseudo: Pseudo) -> None:
    samples = [soft(s, probabilities=0.9 * s.label[None].astype(np.float32)) for s in pseudo(6)]
    predictor = TorchPredictor(net(), device="cpu")
    retrained = FineTune(0.4, OPTIONS, source=blobs(6, "s")).retrain(predictor, samples)
    assert state_sha256(retrained.module) != state_sha256(predictor.module)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"probabilities": np.ones((2, 16, 16))}, r"probabilities of sample 't0' .*\(1, 16, 16\)"),
        ({"weight": np.ones((1, 16, 16))}, r"weight of sample 't0' .*expected \(16, 16\)"),
    ],
)
def test_soft_labels_of_another_shape_are_named(
    net: Net, pseudo: Pseudo, arrays: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        fit(net(), [soft(pseudo(1)[0], **arrays)], None, OPTIONS)
