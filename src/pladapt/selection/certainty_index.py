"""The paper's selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pladapt.errors import InputError
from pladapt.functional.certainty import certainty_index
from pladapt.selection.ranking import rank
from pladapt.selection.scoring import ClassSelector

if TYPE_CHECKING:
    import pyarrow as pa

    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True, kw_only=True)
class CertaintyIndexSelector(ClassSelector):
    """Keep the predictions that are surest of their foreground (Eq. 1 and section II).

    A sample is dropped by ``min_pixels`` where no class has that many pixels above the cut-off, by
    ``ci_limit`` where its score is below the limit, and by ``top_k`` beyond the number kept.

    Args:
        cutoff: The probability above which, strictly, a pixel counts and is labelled; in (0, 1).
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        ci_limit: The lowest CI that is kept, in [0, 1]; None for no limit.
        top_k: How many samples are kept at the most; None for no end.
        combination: How several classes make one score; see `pladapt.combine_classes`.

    Raises:
        InputError: A parameter outside its range.
    """

    ci_limit: float | None = None

    column: ClassVar[str] = "ci"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None:
            raise InputError("The limit of a certainty index is called ci_limit; leave out limit.")
        if self.ci_limit is not None and not 0 <= self.ci_limit <= 1:
            raise InputError(f"ci_limit is {self.ci_limit}; a CI lies in [0, 1].")

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's CI and N."""
        return certainty_index(prediction.probabilities, self.cutoff)

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply ``min_pixels``, ``ci_limit`` and ``top_k``, in this order."""
        return rank(
            scores,
            min_pixels=self.min_pixels,
            limit=self.ci_limit,
            limit_name="ci_limit",
            top_k=self.top_k,
        )
