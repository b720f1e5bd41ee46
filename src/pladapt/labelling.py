"""Pseudo-labels that leave out the pixels a prediction is not sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from pladapt.certainty import class_cutoffs, hard_labels
from pladapt.errors import InputError
from pladapt.morphology import check_band, near_boundary
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from pladapt.certainty import Cutoff
    from pladapt.morphology import Band
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """Label the pixels that are sure, and have the others ignored; for `pladapt.compose`.

    A pixel is labelled with the likeliest class above its cut-off. It is background where no class
    is above its background cut-off. Between the two it is ignored (255), and so is what lies
    within ``boundary`` pixels of the boundary of a class, on either side. With the defaults these
    are the hard labels of `pladapt.hard_labels`.

    Where a predictor averages several predictions, augmented views say, the probabilities are the
    members' mean, and so the labels are those of the average.

    Args:
        cutoff: The probability above which a pixel is foreground, in (0, 1); one for every class,
            or one per foreground class.
        background_cutoff: The probability up to which a pixel is background, at most the cut-off;
            None for the cut-off.
        boundary: How many pixels on either side of a boundary are ignored; one number, or one per
            spatial axis.

    Raises:
        InputError: A cut-off outside (0, 1), a background cut-off above the cut-off, or a negative
            boundary.
    """

    cutoff: Cutoff = 0.5
    background_cutoff: Cutoff | None = None
    boundary: Band = 0

    def __post_init__(self) -> None:
        check_band(self.boundary)
        given = [
            self.cutoff,
            self.cutoff if self.background_cutoff is None else self.background_cutoff,
        ]
        classes = max(1 if isinstance(value, float | int) else len(value) for value in given)
        high, low = (class_cutoffs(value, classes) for value in given)
        if any(one > other for one, other in zip(low, high, strict=True)):
            raise InputError(
                f"background_cutoff is {self.background_cutoff} and cutoff is {self.cutoff}; the "
                "pixels to ignore lie between them, so the first must not be the higher."
            )

    def label(self, prediction: Prediction, /) -> Array:
        """Return the labels ``(B, *S)`` as uint8, 255 where a pixel is ignored.

        Raises:
            InputError: As for `pladapt.hard_labels`.
        """
        labels = hard_labels(prediction.probabilities, self.cutoff)
        xp = array_namespace(labels)
        ignored = xp.full_like(labels, IGNORE)
        if self.background_cutoff is not None:
            possible = hard_labels(prediction.probabilities, self.background_cutoff)
            labels = xp.where((labels == 0) & (possible > 0), ignored, labels)
        if self.boundary != 0:
            labels = xp.where(
                self._near(labels, prediction.probabilities.shape[1]), ignored, labels
            )
        return labels

    def _near(self, labels: Array, channels: int) -> Array:
        """Tell which pixels are near the boundary of any class."""
        xp = array_namespace(labels)
        masks = xp.stack([labels == class_ for class_ in range(1, max(2, channels))], axis=1)
        return xp.any(near_boundary(masks, self.boundary), axis=1)
