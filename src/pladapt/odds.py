"""A prediction's log-odds, and predictors that move them: a network's own cut-off on a target.

Functions of the array API standard: predictions stay on the device that made them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from array_api_compat import array_namespace, device

from pladapt.averaging import ViewPredictor, map_members, members_of, of_groups
from pladapt.certainty import require_probabilities
from pladapt.errors import InputError
from pladapt.inference import average

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.protocols import Predictor
    from pladapt.types import Array

LEAST: Final = 2.0**-126
"""The smallest normal number of float32."""

RESOLUTION: Final = 2.0**-24
"""What is nearer to 1 is 1 in float32."""


def logit(probability: float) -> float:
    """Return the log-odds of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))


def log_odds(probabilities: Array) -> Array:
    """Return the log-odds that a pixel is foreground, of any class.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1]; one channel or a softmax.

    Returns:
        ``(B, *S)``, at least in single precision, within what its resolution can tell.
    """
    xp = array_namespace(probabilities)
    p = xp.astype(probabilities, xp.result_type(probabilities.dtype, xp.float32))
    if p.shape[1] == 1:
        foreground, rest = p[:, 0, ...], xp.clip(1 - p[:, 0, ...], RESOLUTION, 1.0)
    else:
        foreground, rest = xp.sum(p[:, 1:, ...], axis=1), xp.clip(p[:, 0, ...], RESOLUTION, 1.0)
    return xp.log(xp.clip(foreground, LEAST, 1.0)) - xp.log(rest)


def shift_odds(probabilities: Array, shift: float | Sequence[float]) -> Array:
    """Multiply the odds of the foreground, all classes alike, by ``exp(shift)``.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1]; one channel or a softmax.
        shift: What is added to the foreground's logits, to all or to each of the ``B`` samples'; 0
            changes nothing.

    Returns:
        ``(B, K, *S)``, at least in single precision.

    Raises:
        InputError: NaN or values outside [0, 1].
    """
    require_probabilities(probabilities)
    xp = array_namespace(probabilities)
    p = xp.astype(probabilities, xp.result_type(probabilities.dtype, xp.float32))
    factor = _factors(shift, p) if isinstance(shift, Sequence) else math.exp(shift)
    if p.shape[1] == 1:
        # what has saturated at 1 can be brought back as well
        rest = xp.where(p < 1, 1 - p, xp.full_like(p, RESOLUTION))
        return p * factor / (p * factor + rest)
    background, others = p[:, :1, ...], p[:, 1:, ...] * factor
    background = xp.clip(background, RESOLUTION, 1.0)
    total = background + xp.sum(others, axis=1, keepdims=True)
    return xp.concat([background, others], axis=1) / total


def _factors(shifts: Sequence[float], like: Array) -> Array:
    """Return what the odds of each sample are multiplied by, ``(B, 1, ...)``."""
    xp = array_namespace(like)
    factors = xp.asarray(list(map(math.exp, shifts)), dtype=like.dtype, device=device(like))
    return xp.reshape(factors, (-1,) + (1,) * (like.ndim - 1))


@dataclass(frozen=True, eq=False)
class ShiftedPredictor(ViewPredictor):
    """Moves another predictor's logits, so that another share of the pixels is foreground.

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
        shift = partial(shift_odds, shift=self.shift)
        return map_members(shift, members_of(self.predictor, images))

    def average(self, members: Array, /) -> Array:
        """Shift what the other predictor makes of its members, ``(B, K, *S)``.

        The mean of shifted members would be another one: near a cut-off of 1 nearly the least of
        them, near 0 nearly the greatest.
        """
        back = [-s for s in self.shift] if isinstance(self.shift, Sequence) else -self.shift
        given = map_members(partial(shift_odds, shift=back), members)
        return shift_odds(average(self.predictor, given), self.shift)


@dataclass(frozen=True, eq=False)
class GroupShiftedPredictor(ViewPredictor):
    """Moves another predictor's logits for each group of samples by its own amount.

    Volumes of one target differ as well: each may come from another scanner, and hold another
    share of foreground. A sample of a group without an amount is predicted as it was.

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
