"""The base of the built-in selectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, TypeGuard, get_args

from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.certainty import (
    Combination,
    class_cutoffs,
    combine_classes,
    hard_labels,
)
from pladapt.selection.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Prediction
    from pladapt.typing import Selector


@dataclass(frozen=True, kw_only=True)
class BaseSelector(Rules, ABC):
    """A base for selectors: a subclass writes ``score_classes`` alone.

    It has the arguments of `pladapt.Rules`, by which it selects, and these:

    Args:
        cutoff: The probability above which, strictly, a pixel counts and is labelled, in (0, 1);
            one for every class, or one per foreground class.
        min_pixels: The fewest pixels above the cut-off that some class must have; 50 in the paper,
            for 512 x 512 pixels.
        combination: How several classes make one score; see `pladapt.functional.combine_classes`.

    Raises:
        InputError: A parameter outside its range.
    """

    cutoff: Cutoff = 0.5
    min_pixels: int | None = 50
    combination: Combination = "mean"

    column: ClassVar[str] = "score"
    """What the classes' own columns are called, before an underscore and the class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        class_cutoffs(self.cutoff, len(self.cutoff) if isinstance(self.cutoff, tuple | list) else 1)
        if self.combination not in get_args(Combination):
            raise InputError(
                f"No combination rule {self.combination!r}; expected one of "
                f"{get_args(Combination)}."
            )

    @property
    def rules(self) -> Rules:
        """The rules alone."""
        return Rules(**{item.name: getattr(self, item.name) for item in fields(Rules)})

    @abstractmethod
    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's score ``(B, F)``, higher for a surer one, and its pixels ``(B, F)``.

        A score is NaN where it cannot be computed. The pixels, those above the cut-off, are
        integers.
        """

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return ``score``, ``pixels`` (of the largest class), and each class's of several."""
        scores, pixels = self.score_classes(prediction)
        xp = array_namespace(scores)
        classes = scores.shape[1]
        columns = {
            "score": combine_classes(
                scores, pixels, rule=self.combination, min_pixels=self._presence(classes)
            ),
            "pixels": xp.max(pixels, axis=1),
        }
        if classes > 1:
            for index in range(classes):
                columns[f"{self.column}_{index + 1}"] = scores[:, index]
                columns[f"pixels_{index + 1}"] = pixels[:, index]
        return columns

    def label(self, prediction: Prediction, /) -> Array:
        """Return the likeliest class above its cut-off, else the background."""
        return hard_labels(prediction.probabilities, self.cutoff)

    def _presence(self, classes: int) -> int:
        # one class: the score is its own, whatever the rule on pixels says of it later
        return 1 if classes == 1 else self.min_pixels or 0


def by_rules_alone(selector: Selector | Rules) -> TypeGuard[Rules]:
    """Return whether `Rules.select` selects, so that `Rules.columns` says what it reads."""
    return isinstance(selector, Rules) and type(selector).select is Rules.select
