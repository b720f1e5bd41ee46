"""A pixel classifier of scikit-learn, adapted without any deep learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pladapt
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.typing import Array, Samples

_SCALES: Final = (0.0, 1.0, 2.0, 4.0)


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """Classifies each pixel by its brightness and that of its surroundings, by linear logits.

    Args:
        weights: ``(4,)``, of the image as it is and smoothed over 1, 2 and 4 pixels.
        bias: What is added to them.
    """

    weights: NDArray[np.float64]
    bias: float

    @classmethod
    def load(cls, path: str | Path) -> PixelClassifier:
        """Read what `save` wrote; ``pladapt score --predictor pixels`` gives the path."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["weights"], float(stored["bias"]))

    def save(self, path: str | Path) -> None:
        """Write the weights, which are numbers alone: nothing of them can run code."""
        np.savez(path, weights=self.weights, bias=np.float64(self.bias))

    def predict(self, images: Array, /) -> NDArray[np.float32]:
        """Map images ``(B, C, *S)`` to probabilities ``(B, 1, *S)`` of their first channel."""
        logits = [_features(image) @ self.weights + self.bias for image in to_numpy(images)]
        return np.asarray(1 / (1 + np.exp(-np.stack(logits)[:, None])), np.float32)


def _features(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the brightness of each pixel at each scale, ``(*S, 4)``."""
    plane = image[0].astype(np.float64)
    return np.stack([gaussian_filter(plane, scale) for scale in _SCALES], axis=-1)


@dataclass(frozen=True)
class Refit:
    """Fits the classifier anew, to the pseudo-labels.

    Args:
        pixels: At most so many pixels of each image are used.
        regularisation: The C of scikit-learn's logistic regression: the lower, the stronger.
        seed: Of which pixels are used.
    """

    pixels: int = 2000
    regularisation: float = 1.0
    seed: int = 0

    def fit(self, samples: Samples[Any]) -> PixelClassifier:
        """Fit a classifier to samples with a ``label``, or with a ``mask`` on the source."""
        rng = np.random.default_rng(self.seed)
        drawn = [self._drawn(samples[index], rng) for index in range(len(samples))]
        features, truth = (np.concatenate(each) for each in zip(*drawn, strict=True))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self.regularisation))
        model.fit(features, truth)
        scaler, regression = model[0], model[1]
        weights = regression.coef_[0] / scaler.scale_
        return PixelClassifier(weights, float(regression.intercept_[0] - weights @ scaler.mean_))

    def retrain(
        self, _predictor: PixelClassifier, labels: Samples[pladapt.PseudoLabelled], /
    ) -> PixelClassifier:
        """Return a new classifier; the one given is not changed."""
        return self.fit(labels)

    def save(self, predictor: PixelClassifier, folder: Path, /) -> None:
        """Write a classifier into a run folder, so that an interrupted run can go on."""
        predictor.save(folder / "model.npz")

    def load(self, _predictor: PixelClassifier, folder: Path, /) -> PixelClassifier:
        """Read back what `save` wrote."""
        return PixelClassifier.load(folder / "model.npz")

    def _drawn(
        self, sample: Any, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        label = to_numpy(sample.mask if hasattr(sample, "mask") else sample.label).ravel()
        usable = np.flatnonzero(label != pladapt.IGNORE)
        chosen = rng.permutation(usable)[: self.pixels]
        features = _features(to_numpy(sample.image)).reshape(-1, len(_SCALES))
        return features[chosen], label[chosen] > 0
