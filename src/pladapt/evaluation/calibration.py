"""The cut-off that does best on labelled in-domain data, to be kept for every target.

"The cut-off threshold is determined based on the in-domain test set and kept the same for external
domains" (section II of the paper). One pass over the probabilities fills a histogram between the
cut-offs; its cumulative sums are the counts for all of them at once, equal bit for bit to trying
each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.functional.arrays import native_float, to_numpy
from pladapt.functional.certainty import foreground, within_unit_interval
from pladapt.functional.overlap import EMPTY_DSC, check_truth, dsc
from pladapt.predictors.prediction import predictions
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.types import LabelledSample, Progress, Samples
    from pladapt.typing import Predictor

Aggregation: TypeAlias = Literal["sample", "group", "pooled"]
"""Whose DSC is best: the samples' mean, the groups' mean, or that of all pixels together."""

DEFAULT_CUTOFFS: Final = tuple(float(value) for value in np.linspace(0.01, 0.99, 99).round(2))
_BLOCK: Final = 65536
_SPARSE: Final = 4  # with fewer than one value in so many above the first cut-off, copy those
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

    @property
    def at_edge(self) -> tuple[int, ...]:
        """The classes whose cut-off is the first or last that was tried.

        A better one may lie beyond. A class of which a single cut-off was tried is not one of them.
        """
        best = self.cutoff if isinstance(self.cutoff, tuple) else (self.cutoff,)
        classes, cutoffs = (self.curve[name].to_numpy() for name in ("class", "cutoff"))
        tried = [(int(c), np.unique(cutoffs[classes == c])) for c in np.unique(classes)]
        return tuple(
            class_
            for (class_, each), chosen in zip(tried, best, strict=True)
            if len(each) > 1 and chosen in (each[0], each[-1])
        )


def calibrate_cutoff(
    predictor: Predictor,
    samples: Samples[LabelledSample],
    *,
    cutoffs: Sequence[float] = DEFAULT_CUTOFFS,
    aggregation: Aggregation = "pooled",
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Calibration:
    """Find the cut-off with the best DSC on labelled in-domain data.

    With several classes each is taken against the rest. Of equally good cut-offs the one nearest
    to 0.5 wins. The samples that chose the cut-off flatter any figure measured on them again.

    Args:
        predictor: The predictor trained on the source.
        samples: Labelled samples of the source that it was not trained on.
        cutoffs: What is tried, in (0, 1), ascending.
        aggregation: ``sample``, ``group`` or ``pooled``; where truth and prediction are both
            empty, the DSC is `pladapt.functional.overlap.EMPTY_DSC`.
        batch_size: How many samples are predicted at once.
        progress: Called as samples are predicted.

    Raises:
        InputError: No samples, masks with values that are no class or with 255 in the place of
            one, or cut-offs that are not ascending within (0, 1).
    """
    if aggregation not in get_args(Aggregation):
        raise InputError(f"No aggregation {aggregation!r}; expected {get_args(Aggregation)}.")
    if len(samples) == 0:
        raise InputError("There are no samples to calibrate on; give labelled in-domain samples.")
    groups: list[str] = []
    counts: list[NDArray[np.int64]] = []
    marked = 0
    for batch, prediction in predictions(predictor, samples, batch_size=batch_size):
        planes = to_numpy(foreground(prediction.probabilities))
        truth = np.stack([to_numpy(sample.mask) for sample in batch])
        check_truth(batch, truth, planes.shape[1])
        marked += int(np.count_nonzero(truth))
        counts.append(class_counts(planes, truth, cutoffs))
        groups += [sample.group for sample in batch]
        if progress is not None:
            progress("calibrate", len(groups), len(samples))
    found = np.concatenate(counts)
    if marked and not found[:, :, 1].any():
        raise InputError(
            f"The masks of all {len(samples)} samples hold 0 and {IGNORE} alone, and pixels of "
            f"{IGNORE} are left out, so that there is no foreground; give masks of 0 and 1."
        )
    curves = _curves(found, np.array(groups), aggregation)
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
    buckets = _buckets(tuple(map(float, cutoffs)), probabilities.dtype)
    values, flags = native_float(probabilities).reshape(-1), truth.reshape(-1)
    cells = np.zeros((buckets.cells, 2), np.int64)
    for start in range(0, values.size, _BLOCK):
        cells += _count(values[start : start + _BLOCK], flags[start : start + _BLOCK], buckets)
    histogram = np.zeros((len(cutoffs) + 1, 2), np.int64)
    np.add.at(histogram, buckets.place, cells)
    trues = np.count_nonzero(flags)
    histogram[0] = np.array([flags.size - trues, trues]) - histogram[1:].sum(axis=0)
    return histogram[::-1].cumsum(axis=0)[::-1].T


def _count(
    block: NDArray[np.floating], flags: NDArray[np.bool_], buckets: _Buckets
) -> NDArray[np.int64]:
    """Count a block's values in each cell; those not above the first edge may be missing."""
    if block.size and not within_unit_interval(block):
        raise InputError("The probabilities hold NaN or values outside [0, 1].")
    above = block > buckets.edges[0]
    if np.count_nonzero(above) < block.size // _SPARSE:
        block, flags = block[above], flags[above]
    return buckets.count(block, flags)


@lru_cache(maxsize=8)
def _buckets(cutoffs: tuple[float, ...], dtype: np.dtype[np.floating]) -> _Buckets:
    edges = native_float(np.asarray(cutoffs, dtype))
    if edges.size == 0 or not (edges[0] > 0 and edges[-1] < 1 and np.all(np.diff(edges) > 0)):
        raise InputError(f"The cut-offs must ascend between 0 and 1, both excluded; got {cutoffs}.")
    return _Buckets(edges)


class _Buckets:
    """Finds between which edges each value lies, without a search.

    Multiplying and truncating is monotone, so edges in lower buckets than a value's are below it
    and those in higher ones are not. With at most one edge a bucket, one comparison settles the
    rest exactly: it parts the bucket into two cells.

    Attributes:
        edges: What the values are compared with, ascending.
        cells: How many cells there are.
        place: For each cell, how many edges are strictly below its values.
    """

    def __init__(self, edges: NDArray[np.floating]) -> None:
        self.edges = edges
        self._scale = edges.dtype.type(_bucket_count(edges))
        bucket = (edges * self._scale).astype(np.intp)
        size = int(self._scale) + 1
        self._edge = np.full(size, np.inf, edges.dtype)
        self._edge[bucket] = edges
        self._exact = len(np.unique(bucket)) == len(edges)
        if self._exact:
            below = np.searchsorted(bucket, np.arange(size))
            self.place = np.stack([below, below + (self._edge < np.inf)], axis=1).reshape(-1)
        else:
            self.place = np.arange(len(edges) + 1)
        self.cells = len(self.place)

    def count(self, values: NDArray[np.floating], flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the values in each cell, by flag: ``(cells, 2)``."""
        if self._exact:
            code = (values * self._scale).astype(np.intp)
            # every index is in bounds: "wrap" only spares the check
            above = values > self._edge.take(code, mode="wrap")
            code <<= 2
            code += 2 * above.view(np.uint8) + flags  # in bytes, eight times less to move
        else:
            code = 2 * np.searchsorted(self.edges, values, side="left") + flags
        return np.bincount(code, minlength=2 * self.cells).reshape(-1, 2)


def _bucket_count(edges: NDArray[np.floating]) -> int:
    """Return the smallest power of two that parts the edges, or the largest that is worth it."""
    count = 2
    while count < _MOST_BUCKETS:
        if len(np.unique((edges * edges.dtype.type(count)).astype(np.int32))) == len(edges):
            break
        count *= 2
    return count


def class_counts(
    planes: NDArray[np.floating], truth: NDArray[np.integer], cutoffs: Sequence[float]
) -> NDArray[np.int64]:
    """Count as `count_above` for each sample and class, ignored pixels left out.

    Args:
        planes: The foreground classes' probabilities, ``(B, F, *S)`` in [0, 1].
        truth: ``(B, *S)``, integer class values; pixels of 255 are left out.
        cutoffs: In (0, 1), ascending.

    Returns:
        ``(B, F, 2, len(cutoffs) + 1)``.
    """
    return np.array(
        [
            [
                count_above(*_counted(plane, true, class_), cutoffs)
                for class_, plane in enumerate(sample, start=1)
            ]
            for sample, true in zip(planes, truth, strict=True)
        ]
    )


def _counted(
    plane: NDArray[np.floating], truth: NDArray[np.integer], class_: int
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return the probabilities and the class's truth where the pixels count."""
    counted = truth != IGNORE
    if counted.all():  # as a rule, and a copy costs more than counting
        return plane, truth == class_
    return plane[counted], truth[counted] == class_


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
