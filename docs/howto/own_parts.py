"""A plugin in one file: a predictor by brightness, and a retrainer that moves its threshold."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import pladapt
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Brightness:
    """Takes for foreground what is brighter than a threshold.

    Args:
        threshold: The brightness of probability 0.5.
        steepness: How quickly the probability rises there.
    """

    threshold: float = 0.5
    steepness: float = 20.0

    def predict(self, images: Any, /) -> NDArray[np.float32]:
        """Map images ``(B, C, *S)`` to probabilities ``(B, 1, *S)``."""
        logits = self.steepness * (to_numpy(images)[:, :1] - self.threshold)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


@dataclass(frozen=True)
class Midpoint:
    """Moves the threshold to the middle of what is labelled as foreground and as background."""

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Return a predictor with another threshold."""
        means: dict[int, list[float]] = {0: [], 1: []}
        for index in range(len(labels)):
            sample = labels[index]
            for value, known in means.items():
                pixels = to_numpy(sample.image)[0][to_numpy(sample.label) == value]
                if pixels.size:
                    known.append(float(pixels.mean()))
        if not (means[0] and means[1]):
            return replace(predictor)
        return replace(predictor, threshold=float(np.mean(means[0]) + np.mean(means[1])) / 2)

    def save(self, predictor: Any, folder: Path, /) -> None:
        """Write the threshold into the run folder, so that an interrupted run can go on."""
        (folder / "threshold.json").write_text(json.dumps(predictor.threshold))

    def load(self, predictor: Any, folder: Path, /) -> Any:
        """Read back what `save` wrote."""
        return replace(predictor, threshold=json.loads((folder / "threshold.json").read_text()))


@pladapt.hookimpl
def pladapt_predictors() -> list[pladapt.Registration[Any]]:
    """Offer the predictor."""
    return [pladapt.Registration("brightness", Brightness, "Takes what is bright for foreground.")]


@pladapt.hookimpl
def pladapt_retrainers() -> list[pladapt.Registration[Any]]:
    """Offer the retrainer."""
    return [pladapt.Registration("midpoint", Midpoint, "Moves the threshold of brightness.")]
