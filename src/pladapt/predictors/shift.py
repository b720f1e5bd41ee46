"""Predictors whose logits are shifted, so that another fraction of the pixels is foreground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.logits import shift_logits
from pladapt.predictors.prediction import WrapperPredictor, predict_batch
from pladapt.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.types import Array, Batch


@dataclass(frozen=True, eq=False)
class LogitShiftPredictor(WrapperPredictor):
    """Shifts another predictor's foreground logits: all samples alike, and each group by more.

    The prior shift of M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a
    Classifier to New a Priori Probabilities", Neural Computation 2002. The order of the pixels
    stays, and so does that of the foreground classes. What the other predictor makes of its members
    is shifted, and so is each member: the mean of shifted members would be another one.

    Args:
        predictor: Gives the probabilities.
        shift: What is added to the foreground's logits.
        groups: What is added beside that for the samples of a group: a volume, say.

    Raises:
        InputError: A shift is not finite; or, when it predicts, what should be probabilities
            are none.
    """

    shift: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for shift in (self.shift, *self.groups.values()):
            if not math.isfinite(shift):
                raise InputError(f"A shift is {shift}; it must be finite.")

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the shifted probabilities and members."""
        given = predict_batch(self.predictor, batch)
        if given.members is None:
            return Prediction(batch.ids, self._shifted(batch, given.probabilities))
        xp = array_namespace(given.members)
        mean = xp.expand_dims(given.probabilities, axis=0)
        every = xp.concat([mean, given.members], axis=0)
        flat = xp.reshape(every, (-1, *every.shape[2:]))  # all at once
        shifted = xp.reshape(self._shifted(batch, flat), every.shape)
        return Prediction(batch.ids, shifted[0, ...], shifted[1:, ...])

    def _shifted(self, batch: Batch, probabilities: Array) -> Array:
        """Shift predictions ``(M * B, K, *S)`` of a batch, one after the other."""
        if not self.groups:
            return shift_logits(probabilities, self.shift)
        shifts = [self.shift + self.groups.get(group, 0.0) for group in batch.groups]
        return shift_logits(probabilities, shifts * (probabilities.shape[0] // len(shifts)))
