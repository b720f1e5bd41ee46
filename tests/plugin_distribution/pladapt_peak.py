"""A plugin as a stranger would write it: a selector, and an observer that counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

import pladapt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.types import Array

kept_in_rounds: list[int] = []
"""How many samples each round of this process kept."""


@dataclass(frozen=True, kw_only=True)
class PeakSelector(pladapt.RankingSelector):
    """Keep the predictions with the highest foreground probability anywhere."""

    def score(self, prediction: pladapt.Prediction, /) -> Mapping[str, Array]:
        """Return the highest probability of the last channel."""
        xp = array_namespace(prediction.probabilities)
        last = prediction.probabilities[:, -1, ...]
        return {"score": xp.max(last, axis=tuple(range(1, last.ndim)))}


@pladapt.hookimpl
def pladapt_selectors() -> list[pladapt.Registration[pladapt.Selector]]:
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
