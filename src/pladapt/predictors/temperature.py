"""Predictors whose logits are divided by a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pladapt.functional.logits import check_temperature, scale_temperature
from pladapt.predictors.ensembles import averaged, map_members
from pladapt.predictors.prediction import WrapperPredictor, predict_batch
from pladapt.types import Prediction

if TYPE_CHECKING:
    from pladapt.types import Batch


@dataclass(frozen=True, eq=False)
class TemperaturePredictor(WrapperPredictor):
    """Divides another predictor's logits by a temperature.

    The members of a predictor that averages are scaled one by one, and their mean is predicted; so
    it is this mean that `pladapt.evaluation.calibrate_temperature` calibrates. One prediction keeps
    its order: of its classes, and of its pixels where there is one channel. A cut-off found before
    the scaling is to be found anew.

    Args:
        predictor: Gives the probabilities.
        temperature: Above 0; 1 changes nothing.

    Raises:
        InputError: The temperature is not positive and finite; or, when it predicts, what should
            be probabilities are none.
    """

    temperature: float

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the scaled probabilities, or the mean of the scaled members."""
        scaled = partial(scale_temperature, temperature=self.temperature)
        given = predict_batch(self.predictor, batch)
        if given.members is not None:
            return averaged(batch, [map_members(scaled, given.members)])
        return Prediction(batch.ids, scaled(given.probabilities))
