"""Predictors whose logits are shifted: all alike, or group by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pladapt.errors import InputError
from pladapt.functional.logits import shift_logits
from pladapt.predictors.averaging import ViewPredictor, map_members, members_of, of_groups
from pladapt.predictors.inference import average

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.protocols import Predictor
    from pladapt.types import Array


@dataclass(frozen=True, eq=False)
class ShiftedPredictor(ViewPredictor):
    """Moves another predictor's logits, so that another fraction of the pixels is foreground.

    The prior shift of M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a
    Classifier to New a Priori Probabilities", Neural Computation 2002. The order of the pixels
    stays, and so does that of the foreground classes.

    Args:
        predictor: Gives the probabilities.
        shift: What is added to the foreground's logits: one number, or one for each sample of a
            batch, as `GroupShiftedPredictor` has them.

    Raises:
        InputError: A shift is not finite; or, when it predicts, what should be probabilities
            are none.
    """

    shift: float | Sequence[float]

    def __post_init__(self) -> None:
        _check_finite(self.shift if isinstance(self.shift, Sequence) else [self.shift])

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the shifted probabilities ``(M, B, K, *S)``."""
        shift = partial(shift_logits, shift=self.shift)
        return map_members(shift, members_of(self.predictor, images))

    def average(self, members: Array, /) -> Array:
        """Shift what the other predictor makes of its members, ``(B, K, *S)``.

        The mean of shifted members would be another one: near a cut-off of 1 nearly the least of
        them, near 0 nearly the greatest.
        """
        back = [-s for s in self.shift] if isinstance(self.shift, Sequence) else -self.shift
        given = map_members(partial(shift_logits, shift=back), members)
        return shift_logits(average(self.predictor, given), self.shift)


@dataclass(frozen=True, eq=False)
class GroupShiftedPredictor(ViewPredictor):
    """Moves another predictor's logits for each group of samples by its own amount.

    Volumes of one target differ as well: each may come from another scanner, and hold another
    fraction of foreground. A sample of a group without an amount is predicted as it was.

    Args:
        predictor: Gives the probabilities.
        shifts: What is added to the foreground's logits, by group.

    Raises:
        InputError: A shift is not finite.
    """

    shifts: Mapping[str, float]

    def __post_init__(self) -> None:
        _check_finite(list(self.shifts.values()))

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` of no known group to the probabilities ``(M, B, K, *S)``."""
        return members_of(self.predictor, images)

    def average(self, members: Array, /) -> Array:
        """Return what the other predictor makes of its members, ``(B, K, *S)``."""
        return average(self.predictor, members)

    def for_groups(self, groups: Sequence[str], /) -> Predictor:
        """Return the predictor of a batch whose samples are of these groups."""
        shifts = [self.shifts.get(group, 0.0) for group in groups]
        return ShiftedPredictor(of_groups(self.predictor, groups), shifts)


def _check_finite(shifts: Sequence[float]) -> None:
    for shift in shifts:
        if not math.isfinite(shift):
            raise InputError(f"shift is {shift}; it must be finite.")
