"""Sure is who has little entropy where there is foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.functional.uncertainty import foreground_entropy
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class ForegroundEntropySelector(BaseSelector):
    """Keep the predictions with the least entropy in their foreground.

    The score is 1 minus the mean entropy of the pixels above the cut-off, in [0, 1]; see
    `pladapt.functional.uncertainty.foreground_entropy`. Arguments and errors are those of
    `pladapt.selection.BaseSelector`.
    """

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return 1 minus each class's mean entropy, and its pixels above the cut-off."""
        entropy, pixels = foreground_entropy(prediction.probabilities, self.cutoff)
        return 1 - entropy, pixels
