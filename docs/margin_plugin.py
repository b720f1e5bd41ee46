"""A selector that keeps predictions far from one half, and an observer that counts."""

from collections.abc import Mapping
from dataclasses import dataclass

from array_api_compat import array_namespace

from pladapt import Prediction, RankingSelector, Registration, Selection, Selector, hookimpl
from pladapt.types import Array


@dataclass(frozen=True, kw_only=True)
class MarginSelector(RankingSelector):
    """Keep the predictions whose probabilities lie far from one half."""

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return the mean distance from one half, from 0 to 1."""
        p = prediction.probabilities
        xp = array_namespace(p)
        return {"score": xp.mean(xp.abs(2 * p - 1), axis=tuple(range(1, p.ndim)))}


@hookimpl
def pladapt_selectors() -> list[Registration[Selector]]:
    """Offer the selector as ``margin``."""
    return [Registration("margin", MarginSelector, "Keeps probabilities far from one half.")]


@hookimpl
def pladapt_selected(number: int, selection: Selection) -> None:
    """Print how many samples a round kept."""
    print(f"round {number} kept {len(selection.kept)}")
