"""A prediction's log-odds, and predictors that move them: a network's own cut-off on a target.

Functions of the array API standard: predictions stay on the device that made them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from array_api_compat import array_namespace, device

from pladapt.errors import InputError
from pladapt.functional.certainty import require_probabilities

if TYPE_CHECKING:
    from pladapt.types import Array

LEAST: Final = 2.0**-126
"""The smallest normal number of float32."""

RESOLUTION: Final = 2.0**-24
"""What is nearer to 1 is 1 in float32."""


def logit(probability: float) -> float:
    """Return the log-odds of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))


def foreground_logit(probabilities: Array) -> Array:
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


def shift_logits(probabilities: Array, shift: float | Sequence[float]) -> Array:
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


def scale_temperature(probabilities: Array, temperature: float) -> Array:
    """Divide the logits of probabilities by a temperature.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1]; one channel or a softmax.
            The complement of a single channel counts as at least 2^-24, single precision's
            resolution, so that what has saturated at 1 is scaled as well.
        temperature: Above 0.

    Returns:
        ``(B, K, *S)``, at least in single precision; for a temperature of 1 what was given.

    Raises:
        InputError: NaN or values outside [0, 1].
    """
    require_probabilities(probabilities)
    if temperature == 1:
        return probabilities
    return softmax(class_logits(probabilities) / temperature)[:, -probabilities.shape[1] :, ...]


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not positive and finite.

    Raises:
        InputError: It is not.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"The temperature is {temperature}; it must be positive and finite.")


def class_logits(probabilities: Array) -> Array:
    """Return logits of at least two classes, the likeliest's 0."""
    xp = array_namespace(probabilities)
    p = xp.astype(probabilities, xp.result_type(probabilities.dtype, xp.float32))
    if p.shape[1] == 1:
        # a float32 sigmoid of 1 has saturated: it can be softened too
        p = xp.concat([xp.clip(1 - p, RESOLUTION, 1.0), p], axis=1)
    logits = xp.log(xp.clip(p, LEAST, 1.0))
    return logits - xp.max(logits, axis=1, keepdims=True)


def softmax(logits: Array) -> Array:
    """Return the probabilities ``(B, K, *S)`` of logits ``(B, K, *S)``."""
    xp = array_namespace(logits)
    weights = xp.exp(logits)
    return weights / xp.sum(weights, axis=1, keepdims=True)


def _factors(shifts: Sequence[float], like: Array) -> Array:
    """Return what the odds of each sample are multiplied by, ``(B, 1, ...)``."""
    xp = array_namespace(like)
    factors = xp.asarray(list(map(math.exp, shifts)), dtype=like.dtype, device=device(like))
    return xp.reshape(factors, (-1,) + (1,) * (like.ndim - 1))
