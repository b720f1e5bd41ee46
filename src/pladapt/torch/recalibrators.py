"""Making a network fit its target before anything is trained, where evidence says that it helps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pladapt.data.leakage import names_of
from pladapt.data.views import Subset, subsample
from pladapt.errors import InputError
from pladapt.evidence.estimate import estimate_of
from pladapt.predictors.agreement import Views, measure_agreement
from pladapt.predictors.fraction import shift_to_fraction
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.runs.manifest import describe
from pladapt.source.likeness import measure_likeness
from pladapt.torch.recalibration import batch_norms, recalibrate_batch_norm
from pladapt.torch.wrapping import module_of
from pladapt.types import Verdict
from pladapt.typing import Recalibration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pladapt.evidence.gates import GivenFraction
    from pladapt.predictors.agreement import Agreement
    from pladapt.source.likeness import Likeness
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Progress, Sample, Samples
    from pladapt.typing import Predictor

_NONE: Final = "none"
_BATCH_NORM: Final = "batch norm"
_MATCHED: Final = "matched batch norm"
_SHIFTED: Final = "shifted"
_FEWEST: Final = 16  # images of which statistics are measured at the source's fraction
_INSIDE: Final = 0.05  # how far from the end of a given range what is moved there lies
_NEAR: Final = 3.0  # how many times more or less than on the source is marked, for a training
_EVIDENCE: Final = pa.schema(
    [
        ("adjustment", pa.string()),
        ("agreement", pa.float64()),
        ("per_image", pa.float64()),
        ("fraction", pa.float64()),
        ("taken", pa.bool_()),
    ]
)
_ADJUSTED: Final = pa.schema([("adjustment", pa.string()), ("taken", pa.bool_())])
_ESTIMATED: Final = tuple(pa.field(name, pa.float64()) for name in ("dsc", "low", "high"))


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchNormRecalibrator:
    """Measures batch normalisation's statistics anew, whatever comes of it.

    What it makes is a candidate, for labels or gates to judge.

    Args:
        batch_size: How many samples are normalised together.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        progress: Called as work advances.
    """

    batch_size: int = 32
    device: str = "auto"
    progress: Progress | None = None

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return the predictor with the target's statistics, or a verdict where there are none.

        Raises:
            InputError: As `recalibrate_batch_norm`.
            LabelledTargetError: A sample has a mask.
        """
        if not batch_norms(module_of(predictor)):
            verdict = Verdict("unchanged", "the network has no batch normalisation with statistics")
            return Recalibration(predictor, predictor, _ADJUSTED.empty_table(), verdict)
        made = recalibrate_batch_norm(
            predictor,
            target,
            batch_size=self.batch_size,
            device=self.device,
            progress=self.progress,
        )
        evidence = pa.Table.from_pylist([{"adjustment": _BATCH_NORM, "taken": True}], _ADJUSTED)
        return Recalibration(made, made, evidence)

    def describe(self) -> dict[str, Any]:
        """Return what the result depends on beside predictor and target."""
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"type": kind, "batch_size": self.batch_size}


@dataclass(frozen=True, eq=False, kw_only=True)
class AgreementRecalibrator:
    """Measures batch normalisation's statistics anew where the network then agrees better.

    First the images are looked at: where their intensities are not like the source's at all, or the
    network marks next to all of them, it is not fit for them, and adaptation ends.

    Where the mean image lies less than ``recalibration_shift`` from the source's
    (`pladapt.source.Likeness`), there is no shift, and nothing more is tried.

    Else the masks of images are compared with those of mirrored and scaled ones, at the source's
    own cut-off, by the network as it is and with batch normalisation's statistics of the target
    (`pladapt.predictors.measure_agreement`, `recalibrate_batch_norm`). These are measured twice: on
    all images, and on those that together show as much foreground as the source's, in the network's
    own view of them (`pladapt.predictors.Agreement.matching`), if sixteen or more do. For the
    statistics of a target with more or less foreground are other ones even where nothing else has
    changed, and a network that is given them marks too little or too much (compare the
    prediction-balanced sampling of Gong et al. 2022, NOTE).

    Either is taken only where the agreement of all pixels is higher by more than ``margin``, and
    that of single images not lower by more than that, surely, whichever of the target's groups are
    drawn (`pladapt.predictors.Agreement.surely_above`): the first alone is fooled by images without
    foreground. And the network must not mark more with them
    than ``factor`` times the fraction of pixels that it marked before or on the source: an
    agreement is a Dice coefficient, which is higher for larger objects, so that a network which
    marks twice as much agrees better even where it is worse. Of fewer than five groups (patients,
    volumes, pictures) nothing is sure, and nothing is changed.

    What won is to be trained where there is a shift to learn, and its masks are worth learning:

    - The mean image lies ``shift`` or more from the source's. Training on images that are like the
      source's can only lose.
    - Its masks agree with those of the views to ``min_agreement``, whichever groups are drawn.
    - It marks between a third of what it marks on the source and three times that: a few specks,
      and most of the background, agree as well and teach nothing.

    Where the network as it is won and is not to be trained, adaptation ends and it stays as it is.

    Where a user says which fraction of all pixels is foreground, statistics with which the network
    marks another are refused. Where the network marks another itself, its logits are shifted, so
    that it marks the nearest one; where no shift does that, the verdict says so.

    Args:
        cutoff: The source's cut-off, in (0, 1).
        source: What the source's images are like, and the model's masks on them; without it the
            target's images are not looked at, and nothing is trained.
        views: What the network is asked about, as for ``source``; give natural mirror axes.
        margin: By how much an agreement must be higher, in [0, 1).
        factor: How many times as much may be marked as before or as on the source, at least 1.
        recalibration_shift: How far from the source's the images must be for statistics to be
            measured, at least 0, in the standard deviations of the source's own images.
        shift: How far they must be for a training, at least 0. Parts of a
            source's own images, chosen by their amount of foreground, lay up to 2.8 away.
        min_agreement: The least agreement for a training, in [0, 1].
        given: The fraction of foreground that a user expects, or None.
        max_fraction: A network that marks more of the target's pixels than this is not fit for it.
        batch_size: How many samples are predicted at once.
        max_samples: At most so many samples are compared, drawn by their ids. Statistics are
            measured on all.
        statistics_batch_size: How many are normalised together where statistics are measured.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        progress: Called as work advances.

    Raises:
        InputError: A number out of its range.
    """

    cutoff: float = 0.5
    source: SourceStatistics | None = None
    views: Views = field(default_factory=Views)
    margin: float = 0.005
    factor: float = 1.5
    recalibration_shift: float = 1.25
    shift: float = 3.0
    min_agreement: float = 0.8
    given: GivenFraction | None = None
    max_fraction: float = 0.9
    batch_size: int = 8
    max_samples: int = 256
    statistics_batch_size: int = 32
    device: str = "auto"
    progress: Progress | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("cutoff", self.cutoff > 0, self.cutoff < 1),
            ("margin", self.margin >= 0, self.margin < 1),
            ("min_agreement", self.min_agreement >= 0, self.min_agreement <= 1),
            ("max_fraction", self.max_fraction > 0, self.max_fraction <= 1),
        ):
            if not (low and high):
                raise InputError(f"{name} is {getattr(self, name)}; give a number from 0 to 1.")
        for name, least in (("factor", 1), ("shift", 0), ("recalibration_shift", 0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name} is {getattr(self, name)}; give at least {least}.")
        if self.max_samples < 1:
            raise InputError(f"max_samples is {self.max_samples}; give at least 1.")

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return what won, with a verdict where it is not to be trained.

        The evidence has a row for each network that was measured: ``adjustment``, the ``agreement``
        of all pixels, that ``per_image``, the ``fraction`` of the pixels that it marks at the
        source's cut-off, and whether it was ``taken``; and a row ``source``, where that is known.
        Where the source's statistics allow it, also an estimate of its ``dsc``, between ``low`` and
        ``high`` (`pladapt.estimate`).

        Raises:
            InputError: The predictor has no module, the target is empty, or its images have other
                channels than the source's.
            LabelledTargetError: A sample has a mask.
        """
        compared = subsample(target, self.max_samples)
        found = {_NONE: self._measured(predictor, compared)}
        unlike = None
        if self.source is not None:
            unlike = measure_likeness(target, self.source, batch_size=self.batch_size)
        if (verdict := self._warned(self._first_look(unlike, found[_NONE]), found)) is not None:
            evidence = self._evidence(found, _NONE, unlike)
            return Recalibration(predictor, predictor, evidence, verdict)
        taken, winner = _NONE, predictor
        options = self._looked_at(predictor, target, compared, found[_NONE])
        for name, images in () if self._no_shift(unlike) else options:
            normalised = self._normalised(predictor, images)
            found[name] = self._measured(normalised, compared)
            if self._better(found[name], found[taken], found[_NONE]):
                taken, winner = name, normalised
        if self._outside(found[taken]):
            moved = self._moved(winner, found[taken], compared)
            again = self._measured(moved, compared)
            if not self._outside(again):
                taken, winner, found[_SHIFTED] = _SHIFTED, moved, again
        verdict = self._warned(self._without_training(taken, found[taken], unlike), found)
        return Recalibration(winner, winner, self._evidence(found, taken, unlike), verdict)

    def describe(self) -> dict[str, Any]:
        """Return what the result depends on beside predictor and target."""
        ignored = ("batch_size", "device", "progress")
        named = {k: describe(v) for k, v in vars(self).items() if k not in ignored}
        return {"type": f"{type(self).__module__}.{type(self).__qualname__}", **named}

    def _measured(self, predictor: Predictor, compared: Samples[Sample]) -> Agreement:
        return measure_agreement(
            predictor,
            compared,
            cutoff=self.cutoff,
            views=self.views,
            batch_size=self.batch_size,
            progress=self.progress,
        )

    def _looked_at(
        self,
        predictor: Predictor,
        target: Samples[Sample],
        compared: Samples[Sample],
        as_it_is: Agreement,
    ) -> Iterator[tuple[str, Samples[Sample]]]:
        """Yield the images on which statistics are to be measured, with the adjustment's name."""
        if not batch_norms(module_of(predictor)):
            return
        yield _BATCH_NORM, target
        matching = set(as_it_is.matching(self._usual)) if self._usual else set()
        if _FEWEST <= len(matching) < len(compared):
            places = [i for i, (id_, _) in enumerate(names_of(compared)) if id_ in matching]
            yield _MATCHED, Subset(compared, places)

    def _normalised(self, predictor: Predictor, target: Samples[Sample]) -> Predictor:
        return recalibrate_batch_norm(
            predictor,
            target,
            batch_size=self.statistics_batch_size,
            device=self.device,
            progress=self.progress,
        )

    def _better(self, one: Agreement, other: Agreement, as_it_is: Agreement) -> bool:
        """Tell whether one surely agrees better, and not because it marks more."""
        usual = max(float(as_it_is.fraction.sum()), self._usual)
        if self._outside(one) or float(one.fraction.sum()) > self.factor * usual:
            return False
        return one.surely_above(other, self.margin)

    def _outside(self, agreement: Agreement) -> bool:
        return self.given is not None and not self.given.holds(float(agreement.fraction.sum()))

    def _moved(
        self, predictor: Predictor, marked: Agreement, compared: Samples[Sample]
    ) -> Predictor:
        """Return a predictor that marks about the nearest fraction of what was given."""
        if self.given is None:
            return predictor
        low, high = self.given.low, self.given.high
        inside = _INSIDE * (high - low)
        near = low + inside if float(marked.fraction.sum()) < low else high - inside
        shift = shift_to_fraction(
            predictor, compared, near, cutoff=self.cutoff, batch_size=self.batch_size
        )
        return LogitShiftPredictor(predictor, shift)

    def _warned(self, verdict: Verdict | None, found: Mapping[str, Agreement]) -> Verdict | None:
        """Return the verdict with what marks another fraction of the pixels than was given."""
        if verdict is None or self.given is None or verdict.outcome == "adapted":
            return verdict
        own, matched = "the target's statistics", "those at the source's fraction"
        words = {_NONE: "", _BATCH_NORM: f" with {own}", _MATCHED: f" with {matched}"}
        said = [
            f"the model{words[name]} marks {float(each.fraction.sum()):.3g} of all pixels, and "
            f"given was {self.given}"
            for name, each in found.items()
            if self._outside(each)
        ]
        return Verdict(verdict.outcome, "; ".join([verdict.reason, *said]))

    @property
    def _usual(self) -> float:
        """The fraction of the source's pixels that the model marks; 0 where it is not known."""
        known = None if self.source is None else self.source.foreground_fraction
        return 0.0 if known is None else float(known.sum())

    def _first_look(self, unlike: Likeness | None, as_it_is: Agreement) -> Verdict | None:
        """Return why there is nothing to try, or None."""
        if unlike is not None and unlike.reason is not None:
            return Verdict("unfit", f"{unlike.reason}; label a few images")
        marked = float(as_it_is.fraction.sum())
        if marked > self.max_fraction:
            reason = f"the model marks {marked:.0%} of all pixels as foreground; label a few images"
            return Verdict("unfit", reason)
        if marked == 0:
            return Verdict("unchanged", "the model finds no foreground in these images")
        return None

    def _without_training(
        self, taken: str, winner: Agreement, unlike: Likeness | None
    ) -> Verdict | None:
        """Return the verdict where what won is not to be trained, or None where it is."""
        if taken == _SHIFTED:
            marked = float(winner.fraction.sum())
            reason = f"it now marks {marked:.3g} of all pixels, since given was {self.given}"
            return Verdict("adapted", reason)
        if (why_not := self._nothing_to_learn(winner, unlike)) is None:
            return None
        if alike := self._no_shift(unlike):
            return Verdict("unchanged", f"there is no shift: {alike}")
        if taken == _NONE:
            reason = "no change makes the model surely agree better with itself"
            return Verdict("unchanged", f"{reason}, and nothing is trained: {why_not}")
        reason = "with batch normalisation's statistics of the target it agrees better"
        return Verdict("adapted", f"{reason} with itself on other views of the images")

    def _no_shift(self, unlike: Likeness | None) -> str | None:
        """Return why nothing is to be tried, or None."""
        if unlike is None or not unlike.shift < self.recalibration_shift:  # NaN is not known
            return None
        return _alike(unlike.shift, "a shift", self.recalibration_shift)

    def _nothing_to_learn(self, winner: Agreement, unlike: Likeness | None) -> str | None:
        """Return why a training would teach nothing, or None."""
        if unlike is None or math.isnan(unlike.shift) or not self._usual:
            return "without the source's statistics, with the model, no shift is known"
        if unlike.shift < self.shift:
            return _alike(unlike.shift, "training", self.shift)
        marked, usual = float(winner.fraction.sum()), self._usual
        if not usual / _NEAR <= marked <= usual * _NEAR:
            return (
                f"the model marks {marked:.2%} of all pixels here and {usual:.2%} on the source, "
                "which is too far off to learn from"
            )
        if not winner.surely_reaches(self.min_agreement):
            return (
                f"the model agrees with itself to {winner.pooled:.3f} on these images, and below "
                f"{self.min_agreement:g} there is too little to learn from"
            )
        return None

    def _evidence(
        self, found: Mapping[str, Agreement], taken: str, unlike: Likeness | None
    ) -> pa.Table:
        rows: list[dict[str, Any]] = [
            {
                "adjustment": name,
                "agreement": each.pooled,
                "per_image": each.per_image,
                "fraction": float(each.fraction.sum()),
                "taken": name == taken,
                **({} if name == _SHIFTED else self._estimated(each, unlike)),
            }
            for name, each in found.items()
        ]
        if self.source is not None and self.source.foreground_fraction is not None:
            known = {"agreement": self.source.agreement, "fraction": self._usual}
            rows.append({"adjustment": "source", **known})
        estimated = _ESTIMATED if any("dsc" in row for row in rows) else ()
        return pa.Table.from_pylist(rows, schema=pa.schema([*_EVIDENCE, *estimated]))

    def _estimated(self, agreement: Agreement, unlike: Likeness | None) -> dict[str, float]:
        """Return the estimated DSC, which is one for the source's cut-off and views alone."""
        known = self.source
        if known is None or unlike is None or known.cutoff != self.cutoff:
            return {}
        if self.views != Views(known.axes, known.scales):
            return {}
        interval = estimate_of(agreement, unlike, known).interval
        return {} if interval is None else interval._asdict()


def _alike(shift: float, what: str, limit: float) -> str:
    away = f"their mean lies {shift:.1f} standard deviations away, and {what} begins at {limit:g}"
    return f"the images are like the source's ({away})"
