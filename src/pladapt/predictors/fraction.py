"""The shift of the logits with which a predictor marks a given fraction of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from pladapt.data.batches import batches
from pladapt.data.views import draw_places
from pladapt.functional.arrays import to_numpy
from pladapt.functional.logits import foreground_logit, logit
from pladapt.predictors.prediction import predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pladapt.types import PseudoLabelled, Sample, Samples
    from pladapt.typing import Predictor

S = TypeVar("S", "Sample", "PseudoLabelled")

_PIXELS: Final = 1_000_000  # measured at the most, all samples together


def drawn_logits(
    predictor: Predictor,
    samples: Samples[S],
    inside: Callable[[S, int], NDArray[np.bool_]],
    batch_size: int,
) -> Iterator[tuple[S, NDArray[np.int64], NDArray[np.float32]]]:
    """Yield each sample, the places that were drawn of its pixels, and their foreground logits.

    Args:
        predictor: Gives the probabilities.
        samples: What it predicts.
        inside: Says of a sample, and of how many pixels it has, which of them may be drawn.
        batch_size: How many samples are predicted at once.
    """
    most = max(1, _PIXELS // max(1, len(samples)))
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        probabilities = predict(predictor, batch, images).probabilities
        for sample, values in zip(batch, to_numpy(foreground_logit(probabilities)), strict=True):
            flat = values.reshape(-1)
            places = draw_places(sample.id, inside(sample, flat.size), most)
            yield sample, places, flat[places]


def shift_for(logits: NDArray[np.float32], fraction: float, cutoff: float) -> float:
    """Return what to add to logits, so that this fraction, in (0, 1), is above a cut-off."""
    return logit(cutoff) - float(np.quantile(logits, 1 - fraction))


def shift_to_fraction(
    predictor: Predictor,
    target: Samples[Sample],
    fraction: float,
    *,
    cutoff: float = 0.5,
    batch_size: int = 8,
) -> float:
    """Return what to add to the foreground's logits, so that so many pixels are above the cut-off.

    Of many pixels a part is measured, drawn by the samples' ids.

    Args:
        predictor: Gives the probabilities.
        target: At least one sample.
        fraction: Of all pixels of the target, in (0, 1).
        cutoff: In (0, 1).
        batch_size: How many samples are predicted at once.
    """
    drawn = drawn_logits(predictor, target, lambda _, size: np.ones(size, bool), batch_size)
    return shift_for(np.concatenate([values for _, _, values in drawn]), fraction, cutoff)
