"""Sure is where several predictions agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.certainty import certainty_index
from pladapt.functional.uncertainty import pairwise_dice
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class PairwiseDiceSelector(BaseSelector):
    """Keep the predictions whose members agree best.

    The score is the mean DSC over all pairs of members, in [0, 1]; see
    `pladapt.functional.uncertainty.pairwise_dice`. Members come from a
    `pladapt.typing.BatchPredictor`: augmentations, checkpoints, an ensemble, or MC-dropout. The
    score is defined where the mean of the members has a pixel above the cut-off. Arguments are
    those of `pladapt.selection.BaseSelector`.
    """

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return the members' agreement on each class, and the mean's pixels above the cut-off.

        Raises:
            InputError: The prediction has no members, or a single one.
        """
        if prediction.members is None:
            raise InputError(
                "The prediction has no members whose agreement could be measured. Give a predictor "
                "that shows the predictions that it averages as members (augmentations, "
                "checkpoints, an ensemble, MC-dropout), or a score that needs one prediction."
            )
        _, pixels = certainty_index(prediction.probabilities, self.cutoff)
        dice = pairwise_dice(prediction.members, self.cutoff)
        xp = array_namespace(dice)
        return xp.where(pixels > 0, dice, xp.full_like(dice, xp.nan)), pixels
