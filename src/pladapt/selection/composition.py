"""A selector that scores with one part, and selects and labels with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.selection.rules import with_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pladapt.selection.labelling import Labeller
    from pladapt.selection.rules import Rules
    from pladapt.types import Array, Prediction, Selection, SoftLabels
    from pladapt.typing import Selector


@dataclass(frozen=True)
class ComposedSelector:
    """A selector with other rules, other labels, or both; see `pladapt.compose`.

    Args:
        selector: Scores, and does whatever is not replaced.
        rules: Select by the selector's scores.
        labeller: Labels.
    """

    selector: Selector
    rules: Rules | None = None
    labeller: Labeller | None = None

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Score as the selector does."""
        return self.selector.score(prediction)

    def select(self, scores: pa.Table, /) -> Selection:
        """Select by the rules from the scores by which the selector would select."""
        selection = self.selector.select(scores)
        if self.rules is None:
            return selection
        return self.rules.select(with_score(scores, selection.table["score"]))

    def label(self, prediction: Prediction, /) -> Array | SoftLabels:
        """Label as the labeller does, or else the selector."""
        return (self.labeller or self.selector.label)(prediction)


def compose(
    selector: Selector, *, rules: Rules | None = None, label: Labeller | None = None
) -> ComposedSelector:
    """Return a selector with other rules, another way to label, or both.

    Args:
        selector: Gives the scores, and whatever is not replaced.
        rules: Select instead of it.
        label: Labels instead of it: a `pladapt.selection.Labelling`, a
            `pladapt.selection.SoftLabelling`, the ``label`` of another selector, or any callable of
            a `pladapt.Prediction`.
    """
    return ComposedSelector(selector, rules, label)
