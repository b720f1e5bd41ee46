"""The certainty index, Eq. (1) of the paper, as functions of the array API standard.

The paper is N. Enshaei, M. J. Rafiee and F. Naderkhani, "A Generalization Enhancement Approach for
Deep Learning Segmentation Models". Arrays stay where they are: numpy, torch on any device, CuPy,
JAX. In host memory the sums run block by block in numpy, because a block that stays in the cache
costs little more than reading it once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.errors import InputError
from pladapt.functional.arrays import host_view, native_float
from pladapt.functional.numbers import real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pladapt.types import Array

Cutoff: TypeAlias = float | Sequence[float]
"""One cut-off in (0, 1) for every class, or one per foreground class."""

Combination: TypeAlias = Literal["mean", "min", "pixels"]
"""How a sample's classes make one score: see `combine_classes`."""

_BLOCK: Final = 65536  # elements: 256 KiB of float32, which the second-level cache holds
_BITS_OF_ONE: Final[dict[np.dtype[np.floating], np.unsignedinteger]] = {
    np.dtype(kind): np.ones(1, kind).view(bits)[0]
    for kind, bits in ((np.float32, np.uint32), (np.float64, np.uint64))
}


def class_cutoffs(cutoff: Cutoff, classes: int) -> tuple[float, ...]:
    """Return one cut-off per foreground class.

    Raises:
        InputError: A cut-off outside (0, 1), or another number of them than of classes.
    """
    given: list[Any] = [cutoff] * classes
    if isinstance(cutoff, Sequence) and not isinstance(cutoff, str):
        given = list(cutoff)
    values = tuple(real("cutoff", value) for value in given)
    if len(values) != classes:
        raise InputError(f"{len(values)} cut-offs for {classes} classes; give one, or one a class.")
    for said, value in zip(given, values, strict=True):
        if not 0 < value < 1:
            raise InputError(f"The cut-off is {said}; it must lie between 0 and 1, both excluded.")
    return values


def check_cutoffs(cutoff: Cutoff) -> None:
    """Refuse a cut-off outside (0, 1), before it is known how many classes there are.

    Raises:
        InputError: There is one.
    """
    class_cutoffs(cutoff, len(cutoff) if isinstance(cutoff, Sequence) else 1)


def foreground(probabilities: Array) -> Array:
    """Return the foreground's channels ``(B, F, *S)``: the only one, or all but the first.

    Raises:
        InputError: Not a floating-point array ``(B, K, *S)`` with two or three spatial axes.
    """
    xp = array_namespace(probabilities)
    if probabilities.ndim not in (4, 5) or probabilities.shape[1] == 0:
        raise InputError(
            f"Probabilities have shape {tuple(probabilities.shape)}; expected "
            "(batch, channel, *spatial) with at least one channel and two or three spatial axes."
        )
    if not xp.isdtype(probabilities.dtype, "real floating"):
        raise InputError(
            f"Probabilities have dtype {probabilities.dtype}; expected floating point in [0, 1]. "
            "Divide integers by their largest value first."
        )
    return probabilities if probabilities.shape[1] == 1 else probabilities[:, 1:, ...]


def certainty_index(probabilities: Array, cutoff: Cutoff = 0.5) -> tuple[Array, Array]:
    """Return how sure a prediction is of its foreground: the CI and its pixel count N.

    Over the pixels whose probability is strictly above the cut-off, N is their number and CI their
    mean probability (Eq. 1). The comparison is made in the array's own precision: the cut-off is
    rounded to its dtype first, as numpy and torch do.

    Args:
        probabilities: ``(B, K, *S)``, floating point in [0, 1], with two or three spatial axes.
            One channel: the foreground's. Two or more: a softmax, channel 0 the background.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        The CI ``(B, F)``, in (cutoff, 1] and NaN where N is 0, and N ``(B, F)`` as int64, for the
        ``F`` foreground classes; arrays of the same library and device as the probabilities.

    Raises:
        InputError: NaN or values outside [0, 1], another shape, or a cut-off outside (0, 1).
    """
    planes = foreground(probabilities)
    cutoffs = class_cutoffs(cutoff, planes.shape[1])
    view = host_view(planes)
    if view is None:
        return _certainty(planes, cutoffs)
    xp = array_namespace(probabilities)
    totals, counts = _host_sums(view, cutoffs)
    ci = np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
    where = device(probabilities)
    return xp.asarray(ci, device=where), xp.asarray(counts, device=where)


def combine_classes(
    ci: Array, pixels: Array, *, rule: Combination = "mean", min_pixels: int = 1
) -> Array:
    """Combine the certainty indices of the classes that a sample shows into its score.

    A class is present where at least ``min_pixels`` pixels, and at least one, are above the
    cut-off. With one class every rule gives its CI.

    Args:
        ci: ``(B, F)``, as `pladapt.certainty_index` returns it.
        pixels: ``(B, F)``, likewise.
        rule: ``mean``: every present class counts the same, so that a large one cannot hide a
            small one. ``min``: the least certain present class. ``pixels``: every pixel counts the
            same.
        min_pixels: What a class needs to be present.

    Returns:
        The scores ``(B,)``; NaN where no class is present.

    Raises:
        InputError: An unknown rule.
    """
    xp = array_namespace(ci, pixels)
    present = (pixels >= min_pixels) & (pixels > 0)
    shown = xp.any(present, axis=1)
    if rule == "min":
        score = xp.min(xp.where(present, ci, xp.full_like(ci, xp.inf)), axis=1)
    elif rule in get_args(Combination):
        weight = xp.astype(present if rule == "mean" else xp.where(present, pixels, 0), ci.dtype)
        total = xp.sum(xp.where(present, ci, xp.zeros_like(ci)) * weight, axis=1)
        weights = xp.sum(weight, axis=1)
        score = total / xp.where(shown, weights, xp.ones_like(weights))
    else:
        raise InputError(f"No combination rule {rule!r}; expected one of {get_args(Combination)}.")
    return xp.where(shown, score, xp.full_like(score, xp.nan))


def hard_labels(probabilities: Array, cutoff: Cutoff = 0.5) -> Array:
    """Return the predicted masks: the likeliest class above its cut-off, else the background.

    Args:
        probabilities: ``(B, K, *S)``, as for `pladapt.certainty_index`.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        ``(B, *S)`` uint8: 0 the background, then 1 to F.

    Raises:
        InputError: As for `pladapt.certainty_index`, but for the values, which are not searched for
            NaN.
    """
    planes = foreground(probabilities)
    cutoffs = class_cutoffs(cutoff, planes.shape[1])
    xp = array_namespace(planes)
    label = xp.zeros(planes[:, 0, ...].shape, dtype=xp.uint8, device=device(planes))
    best = xp.zeros_like(planes[:, 0, ...])
    for index, limit in enumerate(cutoffs):
        plane = planes[:, index, ...]
        wins = (plane > limit) & (plane > best)
        label = xp.where(wins, xp.full_like(label, index + 1), label)
        best = xp.where(wins, plane, best)
    return label


def _certainty(planes: Array, cutoffs: tuple[float, ...]) -> tuple[Array, Array]:
    """Compute CI and N on the arrays' own device, with float64 sums where it has them."""
    require_probabilities(planes)
    xp = array_namespace(planes)
    return mean_where(planes, xp.stack(list(_above(planes, cutoffs)), axis=1))


def above_cutoff(planes: Array, cutoff: Cutoff) -> Array:
    """Tell, for each class, which pixels are above its cut-off, strictly.

    Args:
        planes: ``(B, F, *S)``, as `foreground` returns them.
        cutoff: In (0, 1); one for every class, or one per foreground class.

    Returns:
        ``(B, F, *S)``, boolean.
    """
    xp = array_namespace(planes)
    return xp.stack(list(_above(planes, class_cutoffs(cutoff, planes.shape[1]))), axis=1)


def _above(planes: Array, cutoffs: tuple[float, ...]) -> Iterator[Array]:
    return (planes[:, index, ...] > limit for index, limit in enumerate(cutoffs))


def require_probabilities(planes: Array) -> None:
    """Check the values of ``(B, F, *S)``.

    Raises:
        InputError: NaN or values outside [0, 1]; names the sample of the batch.
    """
    xp = array_namespace(planes)
    if not _valid(xp, planes):
        _reject(next(i for i in range(planes.shape[0]) if not _valid(xp, planes[i, ...])))


def mean_where(values: Array, where: Array) -> tuple[Array, Array]:
    """Return the mean of each class's values at some of its pixels, and how many these are.

    Args:
        values: ``(B, F, *S)``, floating point.
        where: ``(B, F, *S)``, boolean.

    Returns:
        The means ``(B, F)``, NaN where there is no pixel, as float64 where the device has it, and
        the numbers of pixels ``(B, F)`` as int64.
    """
    xp = array_namespace(values)
    axes = tuple(range(2, values.ndim))
    zero = xp.zeros((), dtype=values.dtype, device=device(values))
    wide = widest_float(values)
    # the sums widen as they go: no wide copy of the whole batch is made
    count = xp.sum(xp.astype(where, xp.int8), axis=axes, dtype=xp.int64)
    total = xp.sum(xp.where(where, values, zero), axis=axes, dtype=wide)
    divisor = xp.astype(xp.where(count > 0, count, xp.ones_like(count)), wide)
    return xp.where(count > 0, total / divisor, xp.full_like(total, xp.nan)), count


def widest_float(array: Array) -> object:
    """Return float64, or float32 on a device without it, such as Apple's GPU."""
    xp = array_namespace(array)
    known = xp.__array_namespace_info__().dtypes(device=device(array), kind="real floating")
    return known.get("float64", xp.float32)


def _valid(xp: Array, array: Array) -> bool:
    """Tell whether every value is in [0, 1]; NaN is what minimum and maximum become of one."""
    return 0 in array.shape or bool((xp.min(array) >= 0) & (xp.max(array) <= 1))


def _reject(index: int) -> None:
    raise InputError(
        f"The probabilities of sample {index} of the batch hold NaN or values outside [0, 1]. "
        "Give probabilities: apply a sigmoid or softmax to logits first."
    )


def _host_sums(
    planes: NDArray[np.floating], cutoffs: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and count, for each plane ``(B, F)``, the values above the class's cut-off."""
    totals = np.empty(planes.shape[:2], np.float64)
    counts = np.empty(planes.shape[:2], np.int64)
    size = min(_BLOCK, math.prod(planes.shape[2:]))
    scratch = np.empty(size, np.bool_), np.empty(size, np.result_type(planes, np.float32))
    for index in np.ndindex(totals.shape):
        plane = native_float(planes[index]).reshape(-1)
        limit = planes.dtype.type(cutoffs[index[1]])  # in half precision for half precision
        totals[index], counts[index] = _sum_above(plane, plane.dtype.type(limit), index[0], scratch)
    return totals, counts


def _sum_above(
    plane: NDArray[np.floating],
    cutoff: np.floating,
    sample: int,
    scratch: tuple[NDArray[np.bool_], NDArray[np.floating]],
) -> tuple[float, int]:
    """Sum and count the values above the cut-off, a block that fits the cache at a time."""
    total, count = 0.0, 0
    for start in range(0, plane.size, _BLOCK):
        block = plane[start : start + _BLOCK]
        if not within_unit_interval(block):
            _reject(sample)
        mask, values = scratch[0][: block.size], scratch[1][: block.size]
        found = int(np.count_nonzero(np.greater(block, cutoff, out=mask)))
        if found:  # most blocks of a lesion's map have nothing to add
            count += found
            total += float(np.add.reduce(np.multiply(block, mask, out=values)))  # pairwise
    return total, count


def within_unit_interval(block: NDArray[np.floating]) -> bool:
    """Tell whether every value is in [0, 1], with one reduction where all are.

    Read as unsigned integers, floats in [0, 1] keep their order and lie below those above 1, the
    negative ones and NaN; only -0.0, which is in the interval, needs the second look.
    """
    one = _BITS_OF_ONE[block.dtype]
    return bool(np.maximum.reduce(block.view(one.dtype)) <= one) or bool(
        np.all((block >= 0) & (block <= 1))
    )
