"""A certainty index that a few pixels cannot move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.functional.uncertainty import check_trim, trimmed_certainty
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class TrimmedCertaintySelector(BaseSelector):
    """Keep the predictions with the highest trimmed mean of the foreground's probabilities.

    See `pladapt.functional.uncertainty.trimmed_certainty`; the other arguments are those of
    `pladapt.selection.BaseSelector`.

    Args:
        trim: The fraction of the pixels above the cut-off that is left out at either end, in
            [0, 0.5]: 0 for the certainty index, 0.5 for the median.

    Raises:
        InputError: A parameter outside its range.
    """

    trim: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_trim(self.trim)

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's trimmed mean, and its pixels above the cut-off."""
        return trimmed_certainty(prediction.probabilities, self.cutoff, trim=self.trim)
