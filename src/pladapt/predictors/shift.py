"""Predictors whose logits are shifted, so that another fraction of the pixels is foreground."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pladapt.errors import InputError
from pladapt.functional.logits import shift_logits
from pladapt.predictors.ensembles import map_members
from pladapt.predictors.prediction import WrapperPredictor, predict_batch
from pladapt.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.types import Batch


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
        shifts = [self.shift + self.groups.get(group, 0.0) for group in batch.groups]
        shifted = partial(shift_logits, shift=shifts if self.groups else self.shift)
        given = predict_batch(self.predictor, batch)
        members = None if given.members is None else map_members(shifted, given.members)
        return Prediction(batch.ids, shifted(given.probabilities), members)
