"""Predictors whose logits are divided by a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pladapt.functional.logits import check_temperature, scale_temperature
from pladapt.predictors.averaging import ViewPredictor, map_members, members_of

if TYPE_CHECKING:
    from pladapt.types import Array


@dataclass(frozen=True, eq=False)
class TemperaturePredictor(ViewPredictor):
    """Divides another predictor's logits by a temperature.

    The members of a predictor that averages are scaled one by one, and their mean is predicted; so
    it is this mean that `pladapt.calibrate_temperature` calibrates. One prediction keeps its order:
    of its classes, and of its pixels where there is one channel. A cut-off found before the scaling
    is to be found anew.

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

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the scaled probabilities ``(M, B, K, *S)``."""
        scale = partial(scale_temperature, temperature=self.temperature)
        return map_members(scale, members_of(self.predictor, images))
