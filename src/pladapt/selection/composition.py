"""A selector whose three steps come from three parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.protocols import RescoringSelector, SoftLabeller

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pladapt.protocols import Chooser, Labeller, Selector
    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True)
class ComposedSelector:
    """Scores with one part, chooses with another, and labels with a third; see `pladapt.compose`.

    Args:
        scorer: Whose ``score``, and ``rescore`` where it has that, is used.
        chooser: Whose ``select`` is used.
        labeller: Whose ``label``, and ``soft_label`` where it has that, is used.
    """

    scorer: Selector
    chooser: Chooser
    labeller: Labeller

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Score as the scorer does."""
        return self.scorer.score(prediction)

    def rescore(self, scores: pa.Table, /) -> pa.Table:
        """Rescore as the scorer does, if it does."""
        if isinstance(self.scorer, RescoringSelector):
            return self.scorer.rescore(scores)
        return scores

    def select(self, scores: pa.Table, /) -> Selection:
        """Choose as the chooser does from the final scores."""
        return self.chooser.select(self.rescore(scores))

    def label(self, prediction: Prediction, /) -> Array:
        """Label as the labeller does."""
        return self.labeller.label(prediction)

    def soft_label(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Add what the labeller does, if it does."""
        if isinstance(self.labeller, SoftLabeller):
            return self.labeller.soft_label(prediction)
        return {}


def compose(
    selector: Selector, *, select: Chooser | None = None, label: Labeller | None = None
) -> ComposedSelector:
    """Return a selector with another way to choose, to label, or both.

    Args:
        selector: Gives the scores, and whatever is not replaced.
        select: Chooses instead of it: a `pladapt.Choice`, or another selector.
        label: Labels instead of it: a `pladapt.Labelling`, a `pladapt.SoftLabelling`, or another
            selector.
    """
    return ComposedSelector(selector, select or selector, label or selector)
