"""The certainty index without the boundary, where every network is unsure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.functional.morphology import check_band
from pladapt.functional.uncertainty import interior_certainty
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.functional.morphology import Band
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class BoundaryFreeCertaintySelector(BaseSelector):
    """Keep the predictions that are surest of their foreground away from its boundary.

    See `pladapt.functional.uncertainty.interior_certainty`. The pixels are those that are left, and
    ``min_pixels`` asks for so many of them; the other arguments are those of
    `pladapt.selection.BaseSelector`.

    Args:
        band: How many pixels from the boundary inwards are left out; one number, or one per
            spatial axis.

    Raises:
        InputError: A parameter outside its range.
    """

    band: Band = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_band(self.band)

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return the certainty index of each class's interior, and its pixels."""
        return interior_certainty(prediction.probabilities, self.cutoff, band=self.band)
