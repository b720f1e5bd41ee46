"""How a predictor's agreement with itself goes with its DSC, measured on labelled samples."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.batches import batches
from pladapt.data.views import subsample, unlabelled
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.overlap import count_rows, pool
from pladapt.predictors.agreement import Views, agreement_of, compare_views
from pladapt.source.likeness import measure_likeness
from pladapt.source.simulation import CHANGES
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.predictors.agreement import Agreement
    from pladapt.source.simulation import Change
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import LabelledSample, Progress, Samples
    from pladapt.typing import Predictor

CONFIDENCE: Final = 0.9
"""The fraction of the truths that an interval is to cover."""

FACTOR: Final = 3.0
"""How many times more or less than on the source may be marked for a DSC to be estimated."""

MIN_GROUPS: Final = 5
"""Of fewer groups a target is no surer than each of them."""

_NEAR: Final = math.log(FACTOR)
_MIN_CASES: Final = 20
_MIN_PATIENTS: Final = 4
_MIN_SAMPLES: Final = 4


class Interval(NamedTuple):
    """An estimated DSC, and between what it lies in 90 % of simulated cases; all in [0, 1]."""

    dsc: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line through simulated cases, and how far they lie below and above it.

    Args:
        intercept: The DSC at an agreement of 0.
        slope: How the DSC rises with the agreement.
        low: The 5 % quantile of the residuals.
        high: The 95 % quantile.
    """

    intercept: float
    slope: float
    low: float
    high: float

    def at(self, agreement: float) -> Interval:
        """Return the DSC at an agreement."""
        dsc = self.intercept + self.slope * agreement
        return Interval(*(min(max(dsc + by, 0.0), 1.0) for by in (0.0, self.low, self.high)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DscCalibration:
    """How agreement goes with DSC where the source's images are changed; no image is in it.

    Made by `calibrate_estimate`.

    Args:
        whole: For a target as a whole.
        group: For one of its groups (a patient, say).
        agreement: The lowest agreement of a simulated target.
        distance: The largest distance of its intensities from the source's
            (`pladapt.source.Likeness`).
        cases: How many simulated targets there were.
        error: The mean absolute residual: of cases of one half of the groups and one kind of
            change, from a line through the other half's cases of other kinds.
    """

    whole: Line
    group: Line
    agreement: float
    distance: float
    cases: int
    error: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `as_dict` was made of."""
        return cls(**{**values, **{name: Line(**values[name]) for name in ("whole", "group")}})


def calibrate_estimate(
    statistics: SourceStatistics,
    samples: Samples[LabelledSample],
    predictor: Predictor,
    *,
    max_samples: int = 96,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> SourceStatistics:
    """Measure how a DSC can be told without labels, on labelled samples of the source.

    The samples are changed as other devices might show them (``pladapt.source.simulation``): in
    intensity, noise, sharpness and size; and mixed: all, those with the most and with the least
    foreground, and those without any. For each it is measured how far the predictor agrees with
    itself, and how far with the truth. What travels is a line through these cases, and how far
    those of one half of the groups lie from the other half's line, fitted without changes of the
    same kind.

    Args:
        statistics: What the source is like, measured with the predictor.
        samples: Of patients that the predictor was not trained on: four groups at least, and
            better ten; of few the interval is wide.
        predictor: The model that was trained on the source.
        max_samples: At most so many are changed, drawn by their ids; they are held in memory.
        batch_size: How many are predicted at once.
        progress: Called after each change.

    Returns:
        The statistics, with ``estimation``.

    Raises:
        InputError: The statistics were measured without a predictor, there are fewer than four
            groups or none has foreground, or on too few of the changed images the predictor marks
            about as much as on the source's.
    """
    if statistics.foreground_fraction is None:
        raise InputError("The statistics were measured without a predictor; measure with it.")
    chosen = subsample(samples, max_samples)
    held = [chosen[index] for index in range(len(chosen))]
    halves = _halves(held)
    found: list[_Simulated] = []
    for change in CHANGES:
        found.append(_simulated(change, held, predictor, statistics, batch_size))
        if progress is not None:
            progress("simulate", len(found), len(CHANGES))
    fraction = float(statistics.foreground_fraction.sum())
    return replace(statistics, estimation=_calibration(found, halves, fraction))


def excess(agreement: Agreement, fraction: float) -> float:
    """Return the natural logarithm of how many times a fraction of all pixels is marked.

    Infinite where nothing is marked, or the fraction is 0.
    """
    marked = float(agreement.fraction.sum())
    return math.log(marked / fraction) if marked and fraction else math.inf


class _Case(NamedTuple):
    """A simulated target, or a group of one: what is known of it, its `excess`, and the truth."""

    kind: str
    agreement: float
    marked: float
    dsc: float


class _Simulated(NamedTuple):
    """The source's samples, changed in one way."""

    kind: str
    agreement: Agreement
    truth: pa.Table
    distance: float


def _halves(samples: Sequence[LabelledSample]) -> list[list[str]]:
    """Part the samples' ids, by groups, so that both halves have like amounts of foreground."""
    amounts: dict[str, int] = {}
    for sample in samples:
        mask = to_numpy(sample.mask)
        amount = int(np.count_nonzero((mask > 0) & (mask != IGNORE)))
        amounts[sample.group] = amounts.get(sample.group, 0) + amount
    ranked = sorted(amounts, key=lambda group: (amounts[group], group))
    if len(ranked) < _MIN_PATIENTS or not any(amounts.values()):
        raise InputError(
            f"The labelled samples are of {len(ranked)} groups; give at least {_MIN_PATIENTS} "
            "(patients, volumes, pictures), some with foreground."
        )
    parts = ({*ranked[::2]}, {*ranked[1::2]})
    return [[sample.id for sample in samples if sample.group in part] for part in parts]


def _simulated(
    change: Change,
    held: Sequence[LabelledSample],
    predictor: Predictor,
    statistics: SourceStatistics,
    batch_size: int,
) -> _Simulated:
    low, high = (np.quantile(statistics.quantiles, level, axis=1) for level in (0.005, 0.995))
    changed = [change.of(sample, low, high) for sample in held]
    views = Views(statistics.axes, statistics.scales)
    counts: list[dict[str, Any]] = []
    marked: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    for batch, images in batches(changed, batch_size=batch_size):
        compared = compare_views(predictor, batch, images, statistics.cutoff, views)
        counts += compared.counts
        marked += compared.marked
        masks = np.stack([to_numpy(sample.mask) for sample in batch])
        truth += count_rows(batch, compared.masks, masks, compared.classes)
    distance = measure_likeness(unlabelled(changed), statistics, batch_size=batch_size).distance
    agreement = agreement_of(counts, marked)
    return _Simulated(change.kind, agreement, pa.Table.from_pylist(truth), distance)


def _calibration(
    simulated: Sequence[_Simulated], halves: Sequence[Sequence[str]], fraction: float
) -> DscCalibration:
    near = [each for each in simulated if abs(excess(each.agreement, fraction)) <= _NEAR]
    targets = [
        [case for case in _cases(simulated, half, _mixes, fraction) if abs(case.marked) <= _NEAR]
        for half in halves
    ]
    groups = [list(_cases(near, half, _groups, fraction)) for half in halves]
    if (least := min(map(len, targets))) < _MIN_CASES:
        raise InputError(
            f"In {least} simulated cases the predictor marks about as much as on the source's "
            f"images, and {_MIN_CASES} are needed: it may be too weak, or the cut-off wrong."
        )
    whole, error = _line(*targets)
    every = [case for half in targets for case in half]
    return DscCalibration(
        whole=whole,
        group=_line(*groups)[0],
        agreement=min(case.agreement for case in every),
        distance=max(each.distance for each in near),
        cases=len(every),
        error=error,
    )


def _cases(
    simulated: Iterable[_Simulated],
    ids: Sequence[str],
    sets: Callable[[pa.Table], Iterator[Sequence[str]]],
    fraction: float,
) -> Iterator[_Case]:
    """Yield the cases of sets of some samples, where anything is marked."""
    for each in simulated:
        for chosen in sets(_of(each.truth, ids)):
            agreement = each.agreement.of(chosen)
            marked = excess(agreement, fraction)
            if math.isfinite(marked):
                dsc = pool(_of(each.truth, chosen), ["class"])["dsc"].to_numpy().mean()
                yield _Case(each.kind, agreement.pooled, marked, float(dsc))


def _of(rows: pa.Table, ids: Sequence[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows["id"], pa.array(ids)))


def _mixes(truth: pa.Table) -> Iterator[Sequence[str]]:
    """Yield the ids of all samples, of those with the least and most foreground, and without."""
    sizes = truth.append_column("size", pc.add(truth["tp"], truth["fn"]))
    summed = sizes.group_by("id", use_threads=False).aggregate([("size", "sum")])
    rows = summed.sort_by([("size_sum", "ascending"), ("id", "ascending")])
    ids = rows["id"].to_pylist()
    third = max(_MIN_SAMPLES, len(ids) // 3)
    empty = int(np.count_nonzero(rows["size_sum"].to_numpy() == 0))
    yield from (ids, ids[:third], ids[-third:])
    if empty >= _MIN_SAMPLES:
        yield ids[:empty]


def _groups(truth: pa.Table) -> Iterator[Sequence[str]]:
    """Yield the ids of each group's samples."""
    for group in sorted(truth["group"].unique().to_pylist()):
        yield truth.filter(pc.equal(truth["group"], group))["id"].unique().to_pylist()


def _line(first: Sequence[_Case], second: Sequence[_Case]) -> tuple[Line, float]:
    """Return the line through the cases of both halves, and their mean absolute residual."""
    residuals = np.concatenate([_residuals(first, second), _residuals(second, first)])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(residuals, [tail, 1 - tail]).tolist()
    intercept, slope = _fitted([*first, *second]).tolist()
    return Line(intercept, slope, low, high), float(np.abs(residuals).mean())


def _residuals(cases: Sequence[_Case], others: Sequence[_Case]) -> NDArray[np.float64]:
    """Return how far cases lie above a line through others, without those of their own kind."""
    found: list[float] = []
    for kind in sorted({case.kind for case in cases}):
        intercept, slope = _fitted([case for case in others if case.kind != kind]).tolist()
        line = Line(intercept, slope, 0, 0)
        of_kind = (case for case in cases if case.kind == kind)
        found += [case.dsc - line.at(case.agreement).dsc for case in of_kind]
    return np.array(found)


def _fitted(cases: Sequence[_Case]) -> NDArray[np.float64]:
    """Return the intercept and slope of the least squares."""
    design = np.array([(1.0, case.agreement) for case in cases])
    dsc = np.array([case.dsc for case in cases])
    fitted: NDArray[np.float64] = np.linalg.lstsq(design, dsc, rcond=None)[0]
    return fitted
