"""Choosing among predictors by a few labelled images of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pladapt.data.leakage import names_of
from pladapt.errors import InputError
from pladapt.evaluation.calibration import DEFAULT_CUTOFFS, class_counts
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import foreground
from pladapt.functional.logits import logit
from pladapt.functional.overlap import EMPTY_DSC, check_truth, dsc
from pladapt.predictors.prediction import predictions
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt.types import LabelledSample, Samples
    from pladapt.typing import Predictor

AS_IT_IS: Final = "none"
"""The candidate that is the model as it is."""

EVIDENCE: Final = pa.schema(
    [
        ("candidate", pa.string()),
        ("cutoff", pa.float64()),
        ("dsc", pa.float64()),
        ("gain", pa.float64()),
        ("better", pa.int64()),
        ("images", pa.int64()),
        ("taken", pa.bool_()),
    ]
)
"""The columns of a `Choice`'s evidence."""

LEAST: Final = 3
"""The fewest labelled images that choose; of fewer, any order is luck."""

_TWO: Final = 2  # images on which it must be better, and how many times as many as worse
_CUTOFF_IMAGES: Final = 5  # of fewer, a cut-off is luck
_GAP: Final = 1e-9  # between two figures that are the same


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which predictor a few labelled images chose.

    Args:
        name: The candidate's; ``none`` is the model as it is.
        cutoff: The cut-off at which it is best, in (0, 1): the source's, unless another is surely
            better.
        shift: What is to be added to its foreground logits, so that it marks at the source's
            cut-off what it now marks at ``cutoff``.
        reason: In a sentence.
        evidence: A row per ``candidate`` and ``cutoff``, and whether it was ``taken``. ``dsc`` is
            the mean over the images. At a candidate's own cut-off it is that of each image at the
            cut-off that is best on the others. ``gain`` is its difference from the model as it is,
            and ``better`` says on how many of the ``images`` it is higher.
    """

    name: str
    cutoff: float
    shift: float
    reason: str
    evidence: pa.Table

    @property
    def changes(self) -> bool:
        """Whether it is anything else than the model as it is."""
        return self.name != AS_IT_IS or self.shift != 0


class _Option(NamedTuple):
    """A candidate at a cut-off, and the DSC ``(N,)`` of each labelled image."""

    name: str
    place: int
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean DSC."""
        return float(self.values.mean())

    def better(self, other: _Option) -> int:
        """Return on how many of the images it is better than another."""
        return _better(self.values, other.values)


@dataclass(frozen=True, kw_only=True, eq=False)
class FewLabels:
    """Chooses a predictor by its DSC on three to five labelled images of the target, or more.

    Few images tell large differences and no small ones, and the best of several candidates looks
    better than it is. So what `choose` starts from stays (the model as it is, or what was chosen
    without labels), unless another's DSC, compared image by image, is higher by more than
    ``margin`` in the mean and by more than ``errors`` standard errors of that mean, and is higher
    on at least two images and on at least twice as many as it is lower on. Of several such ones the
    highest mean is taken. Another cut-off than the source's is taken only from five images on, and
    only where it is better by more than the margin in the mean and on every one, each measured at
    the cut-off that is best on the others. With several foreground classes the source's cut-off
    stays.

    The rule was chosen by drawing such images from the targets of the study of adaptation, shifted
    and not: with fewer errors the mean gain was a little higher, and several times as many draws
    lost more than 0.01. This is no proof: on other images of the target what was chosen may still
    be worse.

    Args:
        samples: The labelled images, at least three, with foreground in at least one; their masks
            hold 0 for the background, then one value per class, and 255 for pixels to leave out.
        cutoff: The source's cut-off, in (0, 1).
        margin: By how much the mean DSC must be higher, in [0, 1).
        errors: By how many of its standard errors, from 0.
        batch_size: How many samples are predicted at once.

    Raises:
        InputError: Fewer than three samples, none with foreground, or a number out of its range.
    """

    samples: Samples[LabelledSample]
    cutoff: float = 0.5
    margin: float = 0.05
    errors: float = 2.0
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not (0 < self.cutoff < 1 and 0 <= self.margin < 1 and self.errors >= 0):
            raise InputError(
                f"cutoff is {self.cutoff}, margin {self.margin} and errors {self.errors}; a "
                "cut-off lies between 0 and 1, a margin in [0, 1), and errors are 0 or more."
            )
        if len(self.samples) < LEAST:
            raise InputError(
                f"There are {len(self.samples)} labelled images; label at least {LEAST}, since "
                "fewer say next to nothing."
            )
        each = (self.samples[index] for index in range(len(self.samples)))
        if not any(_has_foreground(sample) for sample in each):
            raise InputError(
                f"None of the {len(self.samples)} labelled images has foreground; label some that "
                "do, and see that the values in the masks are those of the classes."
            )

    @property
    def ids(self) -> tuple[str, ...]:
        """The labelled samples' ids."""
        return tuple(id_ for id_, _ in names_of(self.samples))

    def choose(
        self,
        candidates: Mapping[str, Predictor],
        *,
        start: str = AS_IT_IS,
        cutoffs: bool = True,
    ) -> Choice:
        """Compare predictors with the model as it is.

        Args:
            candidates: By name; that of the model as it is is ``none``.
            start: Which of them stays unless another is clearly better.
            cutoffs: Whether another cut-off than the source's may be chosen.

        Raises:
            InputError: The model as it is, or ``start``, is not among them; or a mask has a value
                that is no class.
        """
        if not {AS_IT_IS, start} <= candidates.keys():
            raise InputError(
                f"The candidates are {sorted(candidates)}; the model as it is ({AS_IT_IS!r}) and "
                f"{start!r} must be among them."
            )
        grid = np.unique([*DEFAULT_CUTOFFS, self.cutoff])
        usual = int(np.searchsorted(grid, self.cutoff))
        options = {
            name: _options(name, self._curves(each, grid), usual, cutoffs=cutoffs)
            for name, each in candidates.items()
        }
        as_it_is, first = options[AS_IT_IS][0], options[start][0]
        taken = self._best(options, first)
        cutoff = float(grid[taken.place])
        reason = _reason(taken, as_it_is, first)
        if taken.place != usual:
            reason += f"; at the cut-off {cutoff:g} in place of {self.cutoff:g}"
            if taken.place in (0, len(grid) - 1):
                reason += ", the last that was tried: a better one may lie beyond"
        rows = [_row(each, taken, as_it_is, grid) for some in options.values() for each in some]
        evidence = pa.Table.from_pylist(rows, schema=EVIDENCE)
        shift = logit(self.cutoff) - logit(cutoff)
        return Choice(taken.name, cutoff, shift, reason, evidence)

    def _curves(self, predictor: Predictor, grid: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each sample's and class's DSC at each cut-off: ``(N, F, len(grid))``."""
        counts = []
        for batch, prediction in predictions(predictor, self.samples, batch_size=self.batch_size):
            planes = to_numpy(foreground(prediction.probabilities))
            truth = np.stack([to_numpy(sample.mask) for sample in batch])
            check_truth(batch, truth, planes.shape[1])
            counts.append(class_counts(planes, truth, tuple(grid)))
        found = np.concatenate(counts)
        fp, tp = found[:, :, 0, 1:], found[:, :, 1, 1:]
        return dsc(tp, fp, found[:, :, 1, :1] - tp, empty=EMPTY_DSC)

    def _best(self, options: Mapping[str, list[_Option]], first: _Option) -> _Option:
        limits, best = (self.margin, self.errors), first
        for plain, *own in options.values():
            ahead = own[0] if own and self._clearly_best(own[0], plain) else plain
            higher = ahead.mean > best.mean + _GAP
            if higher and clearly_better(ahead.values, first.values, *limits):
                best = ahead
        return best

    def _clearly_best(self, one: _Option, other: _Option) -> bool:
        return one.better(other) == len(one.values) and one.mean - other.mean > self.margin


def clearly_better(
    one: NDArray[np.float64], other: NDArray[np.float64], margin: float, errors: float
) -> bool:
    """Return whether a predictor is clearly better than another, as `FewLabels` says.

    Args:
        one: ``(N,)``, its DSC on each of some images, at least two.
        other: ``(N,)``, the other's.
        margin: By how much its mean must be higher.
        errors: By how many standard errors of the mean difference.
    """
    differences = one - other
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    better, worse = _better(one, other), _better(other, one)
    higher = float(differences.mean()) > max(margin, errors * error)
    return higher and better >= max(_TWO, _TWO * worse)


def _better(one: NDArray[np.float64], other: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(one - other > _GAP))


def _has_foreground(sample: LabelledSample) -> bool:
    mask = to_numpy(sample.mask)
    return bool(((mask > 0) & (mask != IGNORE)).any())


def _options(name: str, curves: NDArray[np.float64], usual: int, *, cutoffs: bool) -> list[_Option]:
    """Return a candidate at the source's cut-off, and where that may change at its own."""
    plain = _Option(name, usual, curves.mean(axis=1)[:, usual])
    if not cutoffs or curves.shape[1] > 1 or len(curves) < _CUTOFF_IMAGES:
        return [plain]
    curve = curves[:, 0]
    total = curve.sum(axis=0)
    if (place := _nearest_best(total, usual)) == usual:
        return [plain]
    held_out = [own[_nearest_best(total - own, usual)] for own in curve]
    return [plain, _Option(name, place, np.array(held_out))]


def _nearest_best(curve: NDArray[np.float64], usual: int) -> int:
    """Return the best place of a curve; of equally good ones the nearest to the usual."""
    best = np.flatnonzero(curve >= curve.max() - _GAP)
    return int(best[np.argmin(np.abs(best - usual))])


def _reason(taken: _Option, as_it_is: _Option, first: _Option) -> str:
    known = f"the {len(as_it_is.values)} labelled images"
    if taken is as_it_is is first:
        return (
            f"nothing is clearly better on {known}, where the model's mean DSC is {taken.mean:.3f}"
        )
    whose = {AS_IT_IS: "the model as it was"}.get(taken.name, taken.name)
    if taken is not first and taken.name == first.name:
        whose = "another cut-off"
    said = f"{whose} has a mean DSC of {taken.mean:.3f} on {known}"
    if taken is first:
        return (
            f"{said}, and the model as it was {as_it_is.mean:.3f}: chosen without labels, and "
            "nothing is clearly better"
        )
    other = {AS_IT_IS: "the model as it was"}.get(first.name, first.name)
    return f"{said}, and {other} {first.mean:.3f}: better on {taken.better(first)} of them"


def _row(
    option: _Option, taken: _Option, as_it_is: _Option, grid: NDArray[np.float64]
) -> dict[str, Any]:
    return {
        "candidate": option.name,
        "cutoff": float(grid[option.place]),
        "dsc": option.mean,
        "gain": option.mean - as_it_is.mean,
        "better": option.better(as_it_is),
        "images": len(option.values),
        "taken": option is taken,
    }
