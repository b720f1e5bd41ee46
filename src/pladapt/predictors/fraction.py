"""The shift of the logits with which a predictor marks a given fraction of a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.data.batches import batches
from pladapt.data.views import draw_places
from pladapt.functional.arrays import to_numpy
from pladapt.functional.logits import foreground_logit, logit
from pladapt.predictors.prediction import predict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pladapt.types import Sample, Samples
    from pladapt.typing import Predictor

_PIXELS: Final = 1_000_000  # measured at the most, all samples together


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
    drawn = np.concatenate(list(_drawn_logits(predictor, target, batch_size)))
    return logit(cutoff) - float(np.quantile(drawn, 1 - fraction))


def _drawn_logits(
    predictor: Predictor, samples: Samples[Sample], batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the foreground's logits of the pixels that were drawn of each sample."""
    most = max(1, _PIXELS // max(1, len(samples)))
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        probabilities = predict(predictor, batch, images).probabilities
        for sample, values in zip(batch, to_numpy(foreground_logit(probabilities)), strict=True):
            flat = values.reshape(-1)
            yield flat[draw_places(sample.id, np.ones(flat.size, bool), most)]
