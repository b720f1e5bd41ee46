"""Chance: what a score has to beat."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace, device

from pladapt.functional.certainty import certainty_index
from pladapt.selection.base import BaseSelector

if TYPE_CHECKING:
    from pladapt.types import Array, Prediction


@dataclass(frozen=True, kw_only=True)
class RandomSelector(BaseSelector):
    """Keep predictions by chance: the control of every study of a score.

    The score is uniform in [0, 1) and depends on the seed and the sample's id alone, so the same
    samples are drawn in whatever order and batches they come. Like the certainty index it is
    undefined where no pixel is above the cut-off, and ``min_pixels`` applies: the ranking alone is
    left to chance. The other arguments are those of `pladapt.selection.BaseSelector`.

    Args:
        seed: Of the draw.
    """

    seed: int = 0

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return the same random number for each class, and its pixels above the cut-off."""
        ci, pixels = certainty_index(prediction.probabilities, self.cutoff)
        xp = array_namespace(ci)
        drawn = [[self._drawn(id_)] for id_ in prediction.ids]
        uniform = xp.asarray(drawn, dtype=ci.dtype, device=device(ci))
        return xp.where(pixels > 0, uniform, xp.full_like(ci, xp.nan)), pixels

    def _drawn(self, id_: str) -> float:
        digest = hashlib.sha256(f"{self.seed}:{id_}".encode()).digest()
        return (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53  # all the bits of a double
