"""Sure is what the neighbours in the volume show as well."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.errors import InputError
from pladapt.functional.certainty import (
    above_cutoff,
    certainty_index,
    combine_classes,
    foreground,
    widest_float,
)
from pladapt.selection.base import BaseSelector
from pladapt.selection.rules import values, with_score

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True, kw_only=True)
class NeighbourAgreementSelector(BaseSelector):
    """Keep the predictions that agree with the ones before and after them in their group.

    A lesion extends from slice to slice; a confident mistake often does not. Since a batch need not
    hold a sample's neighbours, `score` gives each mask's moments, and `select` compares them when
    all samples are scored. Two masks of areas A and B, with the centres m and n and the standard
    deviations s and t along the axes, agree by

        2 √(A B) / (A + B) · Π √(2 s t / (s² + t²)) · exp(-(m - n)² / (4 (s² + t²))),

    the DSC of the Gaussians with these moments (2 ∫√(f g) over ∫f + ∫g, which for masks f and g is
    their DSC). It is 1 for equal moments and 0 where one mask is empty. The score is the mean
    over the neighbours: one at the group's ends, else two.

    The order within a group is the natural one of the ids: s2 comes before s10. A sample that is
    alone in its group has no neighbours and no score.

    Arguments and errors are those of `pladapt.selection.BaseSelector`.
    """

    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's certainty index and N: what there is before `select` compares."""
        return certainty_index(prediction.probabilities, self.cutoff)

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return the certainty index as ``score``, and each class's pixels, centre and spread.

        ``centre_0`` and ``spread_0`` are those along the first spatial axis, as fractions of its
        length; NaN where no pixel is above the cut-off.
        """
        columns = dict(super().score(prediction))
        masks = above_cutoff(foreground(prediction.probabilities), self.cutoff)
        classes = masks.shape[1]
        for index in range(classes):
            suffix = "" if classes == 1 else f"_{index + 1}"
            columns |= _moments(masks[:, index, ...], suffix)
        return columns

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply the rules to the agreement, which is the selection's score.

        What has no certainty index has no agreement either.

        Raises:
            InputError: ``group`` or a column that `score` returned is missing.
        """
        return super().select(with_score(scores, self._agreement(scores)))

    def _agreement(self, scores: pa.Table) -> NDArray[np.float64]:
        """Return each sample's agreement with its neighbours."""
        first = "centre_0"
        suffixes = [name[len(first) :] for name in scores.column_names if name.startswith(first)]
        if not suffixes:
            raise InputError(
                f"The scores have no column {first!r}; they have {scores.column_names}. Give what "
                "this selector scored."
            )
        before, after = _neighbours(values(scores, "group"), values(scores, "id"))
        agreement = [_mean_agreement(_masks(scores, s), before, after) for s in suffixes]
        score: NDArray[np.float64] = combine_classes(
            np.stack(agreement, axis=1),
            np.stack([values(scores, f"pixels{s}") for s in suffixes], axis=1),
            rule=self.combination,
            min_pixels=self._presence(len(suffixes)),
        )
        score[np.isnan(values(scores, "score").astype(np.float64))] = np.nan
        return score


def _moments(masks: Array, suffix: str) -> dict[str, Array]:
    """Return the centres and standard deviations ``(B,)`` of masks ``(B, *S)`` along each axis."""
    xp = array_namespace(masks)
    columns = {}
    for axis in range(1, masks.ndim):
        others = tuple(other for other in range(1, masks.ndim) if other != axis)
        profile = xp.sum(xp.astype(masks, xp.int8), axis=others, dtype=xp.int64)
        weight = xp.astype(profile, widest_float(masks))
        size = profile.shape[1]
        place = (xp.arange(size, dtype=weight.dtype, device=device(masks)) + 0.5) / size
        total = xp.sum(weight, axis=1, keepdims=True)
        weight = weight / xp.where(total > 0, total, xp.full_like(total, xp.nan))
        centre = xp.sum(weight * place, axis=1, keepdims=True)
        # a pixel has a width of its own, so that no mask is a point
        variance = xp.sum(weight * (place - centre) ** 2, axis=1) + 1 / (12 * size**2)
        columns[f"centre_{axis - 1}{suffix}"] = centre[:, 0]
        columns[f"spread_{axis - 1}{suffix}"] = xp.sqrt(variance)
    return columns


class _Masks(NamedTuple):
    """The masks of one class by their moments."""

    area: NDArray[np.float64]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


def _masks(scores: pa.Table, suffix: str) -> _Masks:
    names = [f"centre_{axis}{suffix}" for axis in range(3)]
    axes = [axis for axis, name in enumerate(names) if name in scores.column_names]
    centre, spread = (
        np.stack([values(scores, f"{name}_{axis}{suffix}") for axis in axes], axis=1)
        for name in ("centre", "spread")
    )
    return _Masks(values(scores, f"pixels{suffix}").astype(np.float64), centre, spread)


def _neighbours(
    groups: NDArray[Any], ids: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of every two samples that follow each other in a group."""

    def natural(row: int) -> tuple[str, list[str | int], str]:
        words = re.split(r"(\d+)", ids[row])  # words and numbers take turns, so that they compare
        return groups[row], [int(w) if i % 2 else w for i, w in enumerate(words)], ids[row]

    order = np.array(sorted(range(len(ids)), key=natural), np.int64)
    follow = groups[order[1:]] == groups[order[:-1]]
    return order[:-1][follow], order[1:][follow]


def _mean_agreement(
    masks: _Masks, before: NDArray[np.int64], after: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each sample's mean agreement with its neighbours; NaN where it has none."""
    agreement = _agreement(masks, before, after)
    rows, size = np.concatenate([before, after]), len(masks.area)
    total = np.bincount(rows, np.concatenate([agreement, agreement]), size)
    count = np.bincount(rows, minlength=size)
    mean: NDArray[np.float64] = np.full(size, np.nan)
    return np.divide(total, count, out=mean, where=count > 0)


def _agreement(
    masks: _Masks, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the DSC of the Gaussians that have the moments of each two masks."""
    shown = (masks.area[one] > 0) & (masks.area[other] > 0)
    agreement = np.zeros(len(one))
    one, other = one[shown], other[shown]
    a, b = masks.area[one], masks.area[other]
    s, t = masks.spread[one], masks.spread[other]
    variance = s**2 + t**2
    distance = (masks.centre[one] - masks.centre[other]) ** 2
    overlap = np.sqrt(2 * s * t / variance) * np.exp(-distance / (4 * variance))
    agreement[shown] = 2 * np.sqrt(a * b) / (a + b) * overlap.prod(axis=1)
    return agreement
