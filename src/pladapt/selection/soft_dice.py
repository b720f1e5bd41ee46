"""Sure is whose mask has a high Dice coefficient with its own probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.functional.uncertainty import soft_dice
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class SoftDiceSelector(BaseSelector):
    """Keep the predictions with the highest Soft Dice Confidence, in (0, 1].

    See `pladapt.functional.uncertainty.soft_dice`. Arguments and errors are those of
    `pladapt.selection.BaseSelector`.
    """

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's Soft Dice Confidence, and its pixels above the cut-off."""
        return soft_dice(prediction.probabilities, self.cutoff)
