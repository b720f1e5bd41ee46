"""The cut-off that does best on labelled in-domain data, to be kept for every target.

"The cut-off threshold is determined based on the in-domain test set and kept the same for external
domains" (section II of the paper). One pass over the probabilities fills a histogram between the
cut-offs; its cumulative sums are the counts for all of them at once, equal bit for bit to trying
each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from pladapt.arrays import native_float, to_numpy
from pladapt.certainty import foreground
from pladapt.errors import InputError
from pladapt.inference import predictions
from pladapt.overlap import EMPTY_DSC, dsc
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.protocols import Predictor
    from pladapt.types import LabelledSample, Samples

Aggregation: TypeAlias = Literal["sample", "group", "pooled"]
"""Whose DSC is best: the samples' mean, the groups' mean, or that of all pixels together."""

DEFAULT_CUTOFFS: Final = tuple(float(value) for value in np.linspace(0.01, 0.99, 99).round(2))
_BLOCK: Final = 65536
_MOST_BUCKETS: Final = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The best cut-off of each class, and what it was chosen from.

    Args:
        cutoff: The best cut-off in (0, 1): a number for one foreground class, else one per class.
        curve: ``class``, ``cutoff`` and ``dsc``, a row for each cut-off that was tried.
        aggregation: Whose DSC is best.
    """

    cutoff: float | tuple[float, ...]
    curve: pa.Table
    aggregation: Aggregation

    @classmethod
    def from_curve(cls, curve: pa.Table, aggregation: Aggregation) -> Self:
        """Take the best of the cut-offs in ``curve``; of equally good ones the nearest to 0.5."""
        classes, cutoffs, values = (curve[name].to_numpy() for name in ("class", "cutoff", "dsc"))
        best = tuple(
            _best(values[classes == class_], cutoffs[classes == class_])
            for class_ in np.unique(classes)
        )
        return cls(best[0] if len(best) == 1 else best, curve, aggregation)


def calibrate_cutoff(
    predictor: Predictor,
    samples: Samples[LabelledSample],
    *,
    cutoffs: Sequence[float] = DEFAULT_CUTOFFS,
    aggregation: Aggregation = "pooled",
    batch_size: int = 8,
) -> Calibration:
    """Find the cut-off with the best DSC on labelled in-domain data.

    With several classes each is taken against the rest. Of equally good cut-offs the one nearest
    to 0.5 wins. The samples that chose the cut-off flatter any figure measured on them again.

    Args:
        predictor: The predictor trained on the source.
        samples: Labelled samples of the source that it was not trained on.
        cutoffs: What is tried, in (0, 1), ascending.
        aggregation: ``sample``, ``group`` or ``pooled``; where truth and prediction are both
            empty, the DSC is `pladapt.overlap.EMPTY_DSC`.
        batch_size: How many samples are predicted at once.

    Raises:
        InputError: No samples, or cut-offs that are not ascending within (0, 1).
    """
    if aggregation not in get_args(Aggregation):
        raise InputError(f"No aggregation {aggregation!r}; expected {get_args(Aggregation)}.")
    if len(samples) == 0:
        raise InputError("There are no samples to calibrate on; give labelled in-domain samples.")
    groups: list[str] = []
    counts: list[NDArray[np.int64]] = []
    for batch, prediction in predictions(predictor, samples, batch_size=batch_size):
        planes = to_numpy(foreground(prediction.probabilities))
        truth = np.stack([to_numpy(sample.mask) for sample in batch])
        counts.append(_class_counts(planes, truth, cutoffs))
        groups += [sample.group for sample in batch]
    curves = _curves(np.concatenate(counts), np.array(groups), aggregation)
    return Calibration.from_curve(_table(curves, cutoffs), aggregation)


def count_above(
    probabilities: NDArray[np.floating], truth: NDArray[np.bool_], cutoffs: Sequence[float]
) -> NDArray[np.int64]:
    """Count, for every cut-off at once, the pixels above it, inside and outside the truth.

    Args:
        probabilities: One sample's, of any shape, in [0, 1].
        truth: Of the same shape: where the pixel is truly foreground.
        cutoffs: In (0, 1), ascending; rounded to the probabilities' dtype, as a comparison does.

    Returns:
        ``(2, len(cutoffs) + 1)``: false and true positives for a cut-off below every
        probability, then for each given one.

    Raises:
        InputError: Cut-offs that are not ascending within (0, 1), NaN, or values outside [0, 1].
    """
    values = native_float(probabilities).reshape(-1)
    edges = _edges(cutoffs, probabilities.dtype)
    if not (values.min(initial=1) >= 0 and values.max(initial=0) <= 1):
        raise InputError("The probabilities hold NaN or values outside [0, 1].")
    buckets = _Buckets(edges)
    flags = truth.reshape(-1)
    histogram = np.zeros(2 * (len(edges) + 1), np.int64)
    for start in range(0, values.size, _BLOCK):
        place = buckets.place(values[start : start + _BLOCK])
        place += flags[start : start + _BLOCK] * place.dtype.type(len(edges) + 1)
        histogram += np.bincount(place, minlength=histogram.size)
    return histogram.reshape(2, -1)[:, ::-1].cumsum(axis=1)[:, ::-1]


def _edges(cutoffs: Sequence[float], dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    edges = native_float(np.asarray(cutoffs, dtype))
    if edges.size == 0 or not (edges[0] > 0 and edges[-1] < 1 and np.all(np.diff(edges) > 0)):
        raise InputError(f"The cut-offs must ascend between 0 and 1, both excluded; got {cutoffs}.")
    return edges


class _Buckets:
    """Finds how many edges lie below each value without a search.

    Multiplying and truncating is monotone, so edges in lower buckets than a value's are below it
    and those in higher ones are not. With at most one edge a bucket, one comparison settles the
    rest exactly.
    """

    def __init__(self, edges: NDArray[np.floating]) -> None:
        self._edges = edges
        self._scale = edges.dtype.type(_bucket_count(edges))
        bucket = (edges * self._scale).astype(np.int32)
        size = int(self._scale) + 2
        self._below = np.searchsorted(bucket, np.arange(size)).astype(np.int32)
        self._edge = np.full(size, np.inf, edges.dtype)
        self._edge[bucket] = edges
        self._exact = len(np.unique(bucket)) == len(edges)

    def place(self, values: NDArray[np.floating]) -> NDArray[np.integer]:
        """Return, for each value, how many edges are strictly below it."""
        if not self._exact:
            return np.searchsorted(self._edges, values, side="left")
        bucket = (values * self._scale).astype(np.int32)
        place = self._below.take(bucket)
        place += values > self._edge.take(bucket)
        return place


def _bucket_count(edges: NDArray[np.floating]) -> int:
    """Return the smallest power of two that parts the edges, or the largest that is worth it."""
    count = 2
    while count < _MOST_BUCKETS:
        if len(np.unique((edges * edges.dtype.type(count)).astype(np.int32))) == len(edges):
            break
        count *= 2
    return count


def _class_counts(
    planes: NDArray[np.floating], truth: NDArray[np.integer], cutoffs: Sequence[float]
) -> NDArray[np.int64]:
    """Count for each sample and class: ``(B, F, 2, len(cutoffs) + 1)``; ignored pixels left out."""
    counted = truth != IGNORE
    return np.array(
        [
            [
                count_above(plane[mask], (true == class_ + 1)[mask], cutoffs)
                for class_, plane in enumerate(sample)
            ]
            for sample, true, mask in zip(planes, truth, counted, strict=True)
        ]
    )


def _curves(
    counts: NDArray[np.int64], groups: NDArray[np.str_], aggregation: Aggregation
) -> NDArray[np.float64]:
    """Return the DSC ``(F, len(cutoffs))`` from each sample's counts."""
    if aggregation == "pooled":
        counts = counts.sum(axis=0, keepdims=True)
    elif aggregation == "group":
        counts = np.array([counts[groups == group].sum(axis=0) for group in np.unique(groups)])
    fp, tp = counts[:, :, 0, 1:], counts[:, :, 1, 1:]
    fn = counts[:, :, 1, :1] - tp
    curves: NDArray[np.float64] = dsc(tp, fp, fn, empty=EMPTY_DSC).mean(axis=0)
    return curves


def _best(curve: NDArray[np.float64], cutoffs: NDArray[np.float64]) -> float:
    ties = cutoffs[curve == curve.max()]
    return float(ties[np.argmin(np.abs(ties - 0.5))])


def _table(curves: NDArray[np.float64], cutoffs: Sequence[float]) -> pa.Table:
    return pa.table(
        {
            "class": np.repeat(np.arange(1, len(curves) + 1), len(cutoffs)),
            "cutoff": np.tile(np.asarray(cutoffs, np.float64), len(curves)),
            "dsc": curves.reshape(-1),
        }
    )
