"""Six small images with a lesion each, and a network that finds most of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

import pladapt
from pladapt.testing.checks import some_labelled
from pladapt.torch import FineTune, TorchPredictor, TrainingOptions

source_test = some_labelled()  # six images (1, 32, 32), with their true masks
target = pladapt.unlabelled(source_test)
selector = pladapt.selector("soft-dice", min_pixels=1, top_k=3)
retrainer = FineTune(validation=None, options=TrainingOptions(epochs=3, keep="last"))


def network() -> nn.Module:
    """Make a network that marks what is bright, with its neighbours; it gives logits."""
    module = nn.Conv2d(1, 1, 3, padding=1)
    nn.init.constant_(module.weight, 0.4)
    nn.init.constant_(module.bias, -2.0)
    return module


predictor = TorchPredictor(network())


def write() -> None:
    """Write the images, the true masks and the probabilities into a folder of each."""
    for name in ("images", "truth", "maps"):
        Path(name).mkdir(exist_ok=True)
    for sample in source_test:
        probabilities = np.asarray(predictor.predict(sample.image[None]))[0]
        np.save(f"images/{sample.id}.npy", sample.image[0])
        np.save(f"truth/{sample.id}.npy", sample.mask)
        np.save(f"maps/{sample.id}.npy", probabilities[0])


if __name__ == "__main__":
    write()
