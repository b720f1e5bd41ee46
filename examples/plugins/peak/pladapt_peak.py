"""A plugin as a stranger would write it: a selector, and an observer that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

import pladapt
from pladapt.functional.certainty import foreground

if TYPE_CHECKING:
    from pladapt.types import Array

kept_in_rounds: list[int] = []
"""How many samples each round of this process kept."""


@dataclass(frozen=True, kw_only=True)
class PeakSelector(pladapt.selection.BaseSelector):
    """Keep the predictions with the highest foreground probability anywhere."""

    def score_classes(self, prediction: pladapt.Prediction, /) -> tuple[Array, Array]:
        """Return each class's highest probability, and its pixels above the cut-off."""
        _, pixels = pladapt.certainty_index(prediction.probabilities, self.cutoff)
        planes = foreground(prediction.probabilities)
        peak = array_namespace(planes).max(planes, axis=tuple(range(2, planes.ndim)))
        return peak, pixels


@pladapt.hookimpl
def pladapt_selectors() -> list[pladapt.Registration[pladapt.typing.Selector]]:
    """Offer the selector as ``peak``."""
    return [
        pladapt.Registration(
            "peak", "pladapt_peak:PeakSelector", "Keeps the highest foreground probabilities."
        )
    ]


@pladapt.hookimpl
def pladapt_selected(selection: pladapt.Selection) -> None:
    """Count what was kept."""
    kept_in_rounds.append(len(selection.kept))
