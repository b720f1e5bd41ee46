"""Kin of the certainty index that ask other questions of a prediction's foreground.

Functions of the array API standard, like ``pladapt.functional.certainty``: arrays stay on their
device. Each gives one number for each foreground class, with the number of pixels that it is of.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from array_api_compat import array_namespace, device

from pladapt.errors import InputError
from pladapt.functional.certainty import (
    above_cutoff,
    certainty_index,
    class_cutoffs,
    foreground,
    hard_labels,
    mean_where,
    require_probabilities,
    widest_float,
)
from pladapt.functional.morphology import eroded
from pladapt.functional.overlap import EMPTY_DSC

if TYPE_CHECKING:
    from pladapt.functional.certainty import Cutoff
    from pladapt.functional.morphology import Band
    from pladapt.types import Array


def foreground_entropy(probabilities: Array, cutoff: Cutoff = 0.5) -> tuple[Array, Array]:
    """Return the mean predictive entropy of each class's pixels above its cut-off.

    A pixel's entropy is that of its whole distribution over the K classes (foreground and
    background for one channel), divided by log K: 0 where one class is certain, 1 where all are
    equally likely.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1], as for `pladapt.certainty_index`.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        The entropy ``(B, F)`` in [0, 1], NaN where no pixel is above the cut-off, and the number
        of pixels ``(B, F)`` as int64.

    Raises:
        InputError: As for `pladapt.certainty_index`.
    """
    planes = foreground(probabilities)
    require_probabilities(planes)
    xp = array_namespace(planes)
    where = above_cutoff(planes, cutoff)
    entropy = xp.expand_dims(pixel_entropy(probabilities), axis=1)
    return mean_where(xp.broadcast_to(entropy, where.shape), where)


def pixel_entropy(probabilities: Array) -> Array:
    """Return each pixel's entropy ``(B, *S)`` in [0, 1], at least in single precision.

    It is that of `foreground_entropy`, and the probabilities are not checked.
    """
    xp = array_namespace(probabilities)
    p = xp.astype(probabilities, xp.result_type(probabilities.dtype, xp.float32))
    p = p if p.shape[1] > 1 else xp.concat([p, 1 - p], axis=1)
    safe = xp.where(p > 0, p, xp.ones_like(p))  # 0 log 0 is 0
    return xp.clip(-xp.sum(safe * xp.log(safe), axis=1) / math.log(p.shape[1]), 0.0, 1.0)


def interior_certainty(
    probabilities: Array, cutoff: Cutoff = 0.5, *, band: Band = 1
) -> tuple[Array, Array]:
    """Return the certainty index of the pixels away from the mask's boundary.

    A network is unsure at every boundary, so the index of a small or ragged mask is low however
    well it is placed; without the band this effect of size is gone.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1], as for `pladapt.certainty_index`.
        cutoff: In (0, 1); one for every class, or one per foreground class.
        band: How many pixels from the boundary inwards are left out; one number, or one per
            spatial axis. The image's border is no boundary.

    Returns:
        The index ``(B, F)`` in (cutoff, 1], NaN where nothing is left, and the number of pixels
        that are left ``(B, F)`` as int64.

    Raises:
        InputError: As for `pladapt.certainty_index`; a negative band, or one of another number of
            axes.
    """
    planes = foreground(probabilities)
    require_probabilities(planes)
    return mean_where(planes, eroded(above_cutoff(planes, cutoff), band))


def trimmed_certainty(
    probabilities: Array, cutoff: Cutoff = 0.5, *, trim: float = 0.5
) -> tuple[Array, Array]:
    """Return the trimmed mean of the probabilities above the cut-off.

    The certainty index is a mean, which a few very sure or very unsure pixels move; the trimmed
    mean leaves out that share of them at either end. A fraction of 0 gives the certainty index, 0.5
    the median.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1], as for `pladapt.certainty_index`.
        cutoff: In (0, 1); one for every class, or one per foreground class.
        trim: The fraction of the pixels that is left out at either end, in [0, 0.5].

    Returns:
        The trimmed mean ``(B, F)`` in (cutoff, 1], NaN where no pixel is above the cut-off, and
        the number of pixels above it ``(B, F)`` as int64.

    Raises:
        InputError: As for `pladapt.certainty_index`; a fraction outside [0, 0.5].
    """
    check_trim(trim)
    planes = foreground(probabilities)
    require_probabilities(planes)
    xp = array_namespace(planes)
    above = above_cutoff(planes, cutoff)
    flat = xp.reshape(xp.where(above, planes, -xp.ones_like(planes)), (*planes.shape[:2], -1))
    rising = xp.sort(flat, axis=-1)  # the pixels above the cut-off come last
    _, count = mean_where(planes, above)
    left_out = _fraction(count, trim)
    place = xp.arange(rising.shape[-1], dtype=xp.int64, device=device(planes))
    first = xp.expand_dims(rising.shape[-1] - count + left_out, axis=-1)
    last = xp.expand_dims(rising.shape[-1] - left_out, axis=-1)
    return mean_where(rising, (place >= first) & (place < last))[0], count


def check_trim(trim: float) -> None:
    """Refuse a fraction that cannot be left out at either end.

    Raises:
        InputError: It is outside [0, 0.5].
    """
    if not 0 <= trim <= 0.5:  # noqa: PLR2004 - half at either end is all
        raise InputError(
            f"trim is {trim}; it must lie in [0, 0.5], a fraction left out at each end."
        )


def _fraction(count: Array, trim: float) -> Array:
    """Return how many pixels are left out at either end; one or two are always left."""
    xp = array_namespace(count)
    wished = xp.astype(xp.floor(xp.astype(count, widest_float(count)) * trim), xp.int64)
    middle = xp.where(count > 0, (count - 1) // 2, xp.zeros_like(count))
    return xp.minimum(wished, middle)


def soft_dice(probabilities: Array, cutoff: Cutoff = 0.5) -> tuple[Array, Array]:
    """Return the Soft Dice Confidence: the Dice coefficient of each class's mask and probabilities.

    Twice the probabilities' sum over the pixels above the cut-off, over the sum of all
    probabilities and the number of those pixels. If pixels were independent, and probabilities
    true, it would be within a narrow bound of the expected DSC of the mask (B. Borges, B. Pacheco
    and D. Silva, "Soft Dice Confidence: A Near-Optimal Confidence Estimator for Selective
    Prediction in Semantic Segmentation", arXiv 2402.10665). Unlike the certainty index it also
    heeds the foreground that the mask may have missed.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1], as for `pladapt.certainty_index`.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        The confidence ``(B, F)`` in (0, 1], NaN where no pixel is above the cut-off, and the number
        of pixels above it ``(B, F)`` as int64.

    Raises:
        InputError: As for `pladapt.certainty_index`.
    """
    certainty, count = certainty_index(probabilities, cutoff)
    planes = foreground(probabilities)
    xp = array_namespace(planes)
    axes = tuple(range(2, planes.ndim))
    total = xp.sum(planes, axis=axes, dtype=certainty.dtype)
    number = xp.astype(count, certainty.dtype)
    return 2 * certainty * number / (total + number), count


def pairwise_dice(members: Array, cutoff: Cutoff = 0.5) -> Array:
    """Return how well the members of an averaged prediction agree on each class's mask.

    The mean DSC over all pairs of members, each labelled as `pladapt.hard_labels` does. Members are
    augmentations, checkpoints, the networks of an ensemble, or passes of MC-dropout.

    Args:
        members: ``(M, B, K, *S)``, floating point in [0, 1], at least two members.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        The agreement ``(B, F)`` in [0, 1]; a pair of empty masks counts as
        `pladapt.functional.overlap.EMPTY_DSC`.

    Raises:
        InputError: Fewer than two members, or as for `pladapt.hard_labels`.
    """
    if members.ndim not in (5, 6) or members.shape[0] < 2:  # noqa: PLR2004 - (M, B, K, H, W)
        raise InputError(
            f"Members have shape {tuple(members.shape)}; expected (member, batch, channel, "
            "*spatial) with at least two members, for there to be a pair."
        )
    xp = array_namespace(members)
    labels = [hard_labels(members[index, ...], cutoff) for index in range(members.shape[0])]
    classes = range(1, 1 + len(class_cutoffs(cutoff, max(1, members.shape[2] - 1))))
    return xp.stack(
        [_agreement([label == class_ for label in labels]) for class_ in classes], axis=1
    )


def _agreement(masks: list[Array]) -> Array:
    """Return the mean DSC ``(B,)`` of all pairs of masks ``(B, *S)``."""
    xp = array_namespace(masks[0])
    sizes = [_pixels(mask) for mask in masks]
    pairs = list(combinations(range(len(masks)), 2))
    total = xp.zeros(sizes[0].shape, dtype=widest_float(sizes[0]), device=device(sizes[0]))
    for one, other in pairs:
        both = xp.astype(2 * _pixels(masks[one] & masks[other]), total.dtype)
        either = xp.astype(sizes[one] + sizes[other], total.dtype)
        empty = either == 0
        dsc = both / xp.where(empty, xp.ones_like(either), either)
        total = total + xp.where(empty, xp.full_like(dsc, EMPTY_DSC), dsc)
    return total / len(pairs)


def _pixels(mask: Array) -> Array:
    xp = array_namespace(mask)
    return xp.sum(xp.astype(mask, xp.int8), axis=tuple(range(1, mask.ndim)), dtype=xp.int64)
