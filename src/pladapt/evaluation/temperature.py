"""Temperature scaling: probabilities that are as sure as they are right.

Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks",
ICML 2017. Dividing logits by a temperature above 1 makes a prediction less sure, below 1 surer.
Given probabilities, their logarithms are such logits: a softmax p becomes p^(1/T), normalised, and
a single channel the sigmoid of logit(p)/T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import require_probabilities
from pladapt.functional.logits import check_temperature, class_logits, softmax
from pladapt.predictors.prediction import predictions
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.types import LabelledSample, Prediction, Samples
    from pladapt.typing import Predictor

DEFAULT_TEMPERATURES: Final = tuple(2 ** (step / 8) for step in range(-8, 25))
"""From 1/2 to 8, each 9 % above the one before; 1 among them."""

_BINS: Final = 15  # as in the paper


@dataclass(frozen=True, slots=True, eq=False)
class TemperatureCalibration:
    """The best temperature, and what it was chosen from.

    Args:
        temperature: The one with the least negative log-likelihood.
        curve: ``temperature``, ``nll`` (the mean over pixels of -ln of the true class's
            probability) and ``ece`` (the expected calibration error in [0, 1]: the mean distance of
            confidence and accuracy over 15 bins of confidence), a row for each temperature tried.
        pixels: How many pixels it was measured on.
    """

    temperature: float
    curve: pa.Table
    pixels: int

    @property
    def nll_before(self) -> float:
        """The negative log-likelihood at temperature 1, in nats a pixel."""
        return self._value("nll", 1.0)

    @property
    def nll_after(self) -> float:
        """The negative log-likelihood at the best temperature, in nats a pixel."""
        return self._value("nll", self.temperature)

    @property
    def ece_before(self) -> float:
        """The expected calibration error at temperature 1, in [0, 1]."""
        return self._value("ece", 1.0)

    @property
    def ece_after(self) -> float:
        """The expected calibration error at the best temperature, in [0, 1]."""
        return self._value("ece", self.temperature)

    def _value(self, measure: str, temperature: float) -> float:
        row = self.curve["temperature"].to_pylist().index(temperature)
        return float(self.curve[measure][row].as_py())


def calibrate_temperature(
    predictor: Predictor,
    samples: Samples[LabelledSample],
    *,
    temperatures: Sequence[float] = DEFAULT_TEMPERATURES,
    batch_size: int = 8,
) -> TemperatureCalibration:
    """Find the temperature with the least negative log-likelihood on labelled in-domain data.

    Every sample is predicted once, and only sums for each temperature are kept. The best one at
    either end of what was tried says to try further ones.

    Args:
        predictor: The predictor trained on the source.
        samples: Labelled samples of the source that it was not trained on; ignored pixels do not
            count.
        temperatures: What is tried, above 0; 1 is always tried as well.
        batch_size: How many samples are predicted at once.

    Raises:
        InputError: No samples, no pixel that counts, a temperature that is not positive and finite,
            or a mask with a class that the predictor does not have.
    """
    if len(samples) == 0:
        raise InputError("There are no samples to calibrate on; give labelled in-domain samples.")
    tried = sorted({1.0, *map(float, temperatures)})
    for temperature in tried:
        check_temperature(temperature)
    sums, pixels = np.zeros((len(tried), 1 + _BINS)), 0
    for batch, prediction in predictions(predictor, samples, batch_size=batch_size):
        truth = np.stack([to_numpy(sample.mask) for sample in batch])
        pixels += int(np.count_nonzero(truth != IGNORE))
        sums += _sums(prediction, truth, tried)
    if pixels == 0:
        raise InputError("Every pixel of the samples' masks is to be ignored; give labelled ones.")
    return _calibration(tried, sums / pixels, pixels)


def _sums(
    prediction: Prediction, truth: NDArray[np.integer], temperatures: Sequence[float]
) -> NDArray[np.float64]:
    """Return for each temperature the sum of the NLL, and of each bin's gaps."""
    given = prediction.probabilities[None] if prediction.members is None else prediction.members
    members = to_numpy(given)
    for member in members:
        require_probabilities(member)
    logits = [class_logits(member) for member in members]
    _check_classes(prediction, truth, logits[0].shape[1])
    counted = truth != IGNORE
    pixels = [np.stack([plane[counted] for plane in np.moveaxis(each, 1, 0)]) for each in logits]
    classes, rows = truth[counted].astype(np.intp), []
    for temperature in temperatures:
        mean = sum(softmax(each[None] / temperature)[0] for each in pixels) / len(pixels)
        rows.append(_measured(mean, classes))
    return np.stack(rows)


def _measured(probabilities: NDArray[np.floating], truth: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum the NLL, and each bin's confidence minus accuracy, over pixels ``(K, N)``."""
    right = np.take_along_axis(probabilities, truth[None], axis=0)
    nll = -np.log(np.maximum(right, np.finfo(right.dtype).tiny)).sum(dtype=np.float64)
    likeliest, confidence = np.zeros_like(truth), probabilities[0]
    for class_, plane in enumerate(probabilities[1:], start=1):  # far quicker than numpy's argmax
        likeliest[plane > confidence] = class_
        confidence = np.maximum(confidence, plane)
    gap = confidence - (likeliest == truth)
    place = np.clip(np.ceil(confidence * _BINS).astype(np.intp) - 1, 0, _BINS - 1)
    return np.concatenate([[nll], np.bincount(place, weights=gap, minlength=_BINS)])


def _check_classes(prediction: Prediction, truth: NDArray[np.integer], classes: int) -> None:
    for id_, mask in zip(prediction.ids, truth, strict=True):
        wrong = np.unique(mask[(mask != IGNORE) & ((mask < 0) | (mask >= classes))])
        if wrong.size:
            raise InputError(
                f"The mask of sample {id_!r} has the classes {wrong.tolist()}; the predictor has "
                f"0 to {classes - 1}. Give masks of its classes, {IGNORE} where to ignore."
            )


def _calibration(
    temperatures: Sequence[float], means: NDArray[np.float64], pixels: int
) -> TemperatureCalibration:
    nll, ece = means[:, 0], np.abs(means[:, 1:]).sum(axis=1)
    curve = pa.table({"temperature": np.asarray(temperatures), "nll": nll, "ece": ece})
    return TemperatureCalibration(temperatures[int(np.argmin(nll))], curve, pixels)
