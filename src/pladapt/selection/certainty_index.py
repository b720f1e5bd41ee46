"""The paper's selector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pladapt.errors import InputError
from pladapt.functional.certainty import certainty_index
from pladapt.functional.numbers import real
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class CertaintyIndexSelector(BaseSelector):
    """Keep the predictions that are surest of their foreground (Eq. 1 and section II).

    A sample is dropped by ``min_pixels`` where no class has that many pixels above the cut-off, by
    ``limit`` where its score is below ``ci_limit``, and by ``top_k`` beyond the number kept. The
    other rules are those of `pladapt.Rules`.

    Args:
        cutoff: The probability above which, strictly, a pixel counts and is labelled; in (0, 1).
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        ci_limit: The lowest CI that is kept, in [0, 1]; None for no limit. It is the rule
            ``limit``, as the paper calls it.
        top_k: How many samples are kept at the most; None for no end.
        combination: How several classes make one score; see `pladapt.functional.combine_classes`.

    Raises:
        InputError: A parameter outside its range.
    """

    ci_limit: float | None = None
    limit: float | None = field(init=False, default=None)

    column: ClassVar[str] = "ci"

    def __post_init__(self) -> None:
        if self.ci_limit is not None and not 0 <= real("ci_limit", self.ci_limit) <= 1:
            raise InputError(f"ci_limit is {self.ci_limit}; a CI lies in [0, 1].")
        object.__setattr__(self, "limit", self.ci_limit)
        super().__post_init__()

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's CI and N."""
        return certainty_index(prediction.probabilities, self.cutoff)
