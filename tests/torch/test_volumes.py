"""Three spatial axes, from prediction to retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import pladapt
from pladapt.torch import FineTune, RandomAffine, TorchPredictor, TrainingOptions, fit
from pladapt.torch.storage import state_sha256
from pladapt.types import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

SHAPE = (6, 12, 16)  # no axis can be taken for another
OPTIONS = TrainingOptions(
    epochs=12,
    batch_size=4,
    device="cpu",
    patience=12,
    augmentation=RandomAffine(zoom=0.05, shift=0.05, shear=0.05, rotation=5, flip=(-1, -2, -3)),
)


def volumes(name: str, count: int, brightness: float, seed: int) -> list[LabelledSample]:
    """Make noise with a bright box in each volume, two volumes a group."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        mask = np.zeros(SHAPE, np.uint8)
        z, y, x = (int(rng.integers(0, size // 2)) for size in SHAPE)
        mask[z : z + 3, y : y + 5, x : x + 7] = 1
        image = brightness * mask + rng.normal(0, 0.3, SHAPE)
        group = f"{name}-group{number // 2}"
        samples.append(LabelledSample(f"{name}{number}", group, image[None].astype("f4"), mask))
    return samples


@pytest.fixture(scope="module")
def target() -> list[LabelledSample]:
    return volumes("t", 8, brightness=1.2, seed=3)


def test_volumes_are_adapted_to_as_images_are(
    net: Callable[..., nn.Module], target: list[LabelledSample], tmp_path: Path
) -> None:
    source, validation = volumes("s", 12, 2, seed=1), volumes("v", 4, 2, seed=2)
    trained = fit(net(spatial=3), source, validation, OPTIONS).module
    predictor = TorchPredictor(trained, device="cpu", channels_last=True)
    cutoff = pladapt.calibrate_cutoff(predictor, validation).cutoff

    def run() -> pladapt.AdaptationResult:
        return pladapt.adapt(
            predictor,
            pladapt.unlabelled(target),
            selector=pladapt.selector("certainty-index", cutoff=cutoff, min_pixels=10, top_k=4),
            retrainer=FineTune(validation=validation, options=OPTIONS),
            evaluators={"target": pladapt.evaluator("overlap", samples=target, cutoff=cutoff)},
            workdir=tmp_path,
        )

    result, again = run(), run()
    images = np.stack([sample.image for sample in target])
    assert result.predictor.predict(images).shape == (8, 1, *SHAPE)
    assert len(result.rounds[0].selection.kept) == 4
    before, after = (found["target"].value("dsc") for found in (result.before, result.after))
    assert after > before > 0.3
    assert isinstance(again.predictor, TorchPredictor)
    assert isinstance(result.predictor, TorchPredictor)
    assert state_sha256(again.predictor.module) == state_sha256(result.predictor.module)


def test_the_certainty_index_of_a_volume_worked_by_hand() -> None:
    probabilities = np.full((1, 1, 2, 2, 3), 0.25)
    probabilities[0, 0, 0, 0] = [0.5, 0.75, 1.0]
    probabilities[0, 0, 1, 1, 2] = 0.55
    index, pixels = pladapt.certainty_index(probabilities, 0.5)
    assert pixels.tolist() == [[3]]
    assert index[0, 0] == pytest.approx((0.75 + 1.0 + 0.55) / 3)
