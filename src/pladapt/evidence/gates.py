"""Gates refuse a round that did harm, by evidence that needs no label of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from pladapt.data.batches import batches
from pladapt.data.leakage import check_leakage, names_of
from pladapt.data.views import subsample
from pladapt.errors import InputError
from pladapt.evidence.comparison import Finding, compare, judge_fall
from pladapt.functional.overlap import COUNTS, dsc, pool, truth_rows
from pladapt.predictors.prediction import predict
from pladapt.types import EVIDENCE, Judgement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.evidence.comparison import Comparison
    from pladapt.functional.certainty import Cutoff
    from pladapt.types import LabelledSample, Sample, Samples
    from pladapt.typing import Predictor


class Measure(Protocol):
    """**Protocol:** what a `pladapt.DoNoHarm` gate measures."""

    def findings(self, comparison: Comparison, /) -> Iterable[Finding]:
        """Judge each class by what the two predictors made of the target."""


def _check_slack(slack: float) -> None:
    if not 0 <= slack < 1:
        raise InputError(f"slack is {slack}; it must lie in [0, 1).")


@dataclass(frozen=True, kw_only=True)
class ForegroundFraction:
    """Refuses a collapse to background or to one class, and an explosion of a class.

    The fraction is that of a class's pixels in all pixels of the target. It says nothing of where
    they are, and it cannot tell a class that was overlooked before, and found by the round, from
    one that grows without end: where the source's fraction is known, what lies between it and the
    fraction before is allowed as well.

    Args:
        factor: By how much a fraction may fall, and its odds (fraction to 1 - fraction) may rise;
            above 1. Of a small class the odds are the fraction; a large one may still not take
            everything.
        reference: The fraction of each foreground class on the source, in [0, 1], or None.
        floor: A fraction that is as good as none, in (0, 1). It is added to every fraction before
            the factor counts, so that a handful of pixels may come and go.

    Raises:
        InputError: A number out of its range, or (when it judges) another number of references
            than of classes.
    """

    factor: float = 4.0
    reference: Sequence[float] | NDArray[np.floating] | None = None
    floor: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.factor > 1 and 0 < self.floor < 1):
            raise InputError(
                f"factor is {self.factor} and floor {self.floor}; the factor must be above 1, and "
                "the floor between 0 and 1."
            )

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Compare each class's fraction of all pixels, before and after."""
        classes = _pooled(comparison)
        known = [None] * len(classes) if self.reference is None else self.reference
        if len(known) != len(classes):
            raise InputError(f"{len(known)} reference fractions for {len(classes)} classes.")
        for row, reference in zip(classes, known, strict=True):
            pixels = sum(row[name] for name in COUNTS)
            before, after = ((row["tp"] + row[other]) / pixels for other in ("fn", "fp"))
            source = None if reference is None else float(reference)
            yield self._finding(row["class"], before, after, source)

    def _finding(
        self, class_: int, before: float, after: float, reference: float | None
    ) -> Finding:
        known = [before] if reference is None else [before, reference]
        low = max(0.0, (min(known) + self.floor) / self.factor - self.floor)
        risen = _raised(min(1.0, max(known) + self.floor), self.factor) - self.floor
        high = max(*known, risen)
        refusal = None
        if not low <= after <= high:
            moved, end = (
                ("fell", f"below {low:.3g}") if after < low else ("rose", f"above {high:.3g}")
            )
            change = f"{moved} from {before:.3g} to {after:.3g}"
            refusal = f"foreground fraction of class {class_} {change}, {end}"
        limit = f"{low:.3g} to {high:.3g}"
        return Finding("foreground fraction", class_, before, after, limit, refusal, reference)


@dataclass(frozen=True)
class GivenFraction:
    """Refuses what marks less or more of all pixels than someone who knows the images says.

    All foreground classes count together. What was marked before does not matter.

    Args:
        low: The lowest fraction of all pixels of the target that is foreground, in [0, 1).
        high: The highest, above ``low`` and at most 1.

    Raises:
        InputError: A number out of its range.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise InputError(
                f"The foreground fraction is given as {self.low} to {self.high}; give two numbers "
                "from 0 to 1, the lower first."
            )

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.low:.3g} to {self.high:.3g}"

    def holds(self, fraction: float) -> bool:
        """Tell whether a fraction lies within."""
        return self.low <= fraction <= self.high

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Compare the fraction of all pixels with the two ends."""
        classes = _pooled(comparison)
        pixels = sum(classes[0][name] for name in COUNTS)
        before, after = (
            sum(row["tp"] + row[other] for row in classes) / pixels for other in ("fn", "fp")
        )
        refusal = None
        if not self.holds(after):
            refusal = f"{after:.3g} of all pixels would be foreground, and given was {self}"
        yield Finding("given foreground fraction", None, before, after, str(self), refusal)


@dataclass(frozen=True, kw_only=True)
class Churn:
    """Refuses a round after which next to nothing of the predicted foreground is where it was.

    Churn is 1 minus the DSC between what was predicted before and after, all pixels of the target
    together. A round that helps has churn, too: only a rewrite is evidence of harm.

    Args:
        limit: The highest churn allowed, in (0, 1).

    Raises:
        InputError: The limit is out of its range.
    """

    limit: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.limit < 1:
            raise InputError(f"limit is {self.limit}; it must lie between 0 and 1.")

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Measure how much of each class's foreground changed."""
        for row in _pooled(comparison):
            churn = 1 - row["dsc"]
            refusal = None
            if churn > self.limit:
                refusal = f"churn of class {row['class']} is {churn:.3g}, above {self.limit:g}"
            yield Finding("churn", row["class"], None, churn, f"at most {self.limit:g}", refusal)


@dataclass(frozen=True, kw_only=True)
class FlipAgreement:
    """Refuses a round after which predictions of an image and of its mirror image disagree.

    A sample's agreement is the DSC of the two masks. Two empty masks agree perfectly, so only
    those samples count in which both predictors show the class. A predictor that is wrong in the
    same way on both agrees with itself as well, and one that averages over this flip always does:
    give another axis there. The mean is over groups, and a fall must exceed
    the slack beyond the noise between groups; see `pladapt.evidence.comparison.sure_fall`.

    Args:
        slack: The sure fall that is allowed, in [0, 1).
        axis: The spatial axis that is flipped, counted from the last one, -1.

    Raises:
        InputError: A number out of its range.
    """

    slack: float = 0.05
    axis: int = -1

    def __post_init__(self) -> None:
        _check_slack(self.slack)
        if self.axis not in (-1, -2, -3):
            raise InputError(f"axis is {self.axis}; spatial axes are -1, -2 and -3.")

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Compare each class's agreement, before and after."""
        if comparison.flipped is None:
            raise InputError("The comparison has no flipped images; give compare an axis.")
        old, new = (_columns(table, "class", "id") for table in comparison.flipped)
        shown = np.all([c["tp"] + c["fp"] + c["fn"] > 0 for c in (old, new)], axis=0)
        for class_ in np.unique(old["class"]):
            rows = shown & (old["class"] == class_)
            before, after = (
                _group_means(c["group"][rows], dsc(c["tp"], c["fp"], c["fn"])[rows])
                for c in (old, new)
            )
            yield judge_fall("agreement under flips", int(class_), before, after, self.slack)


@dataclass(frozen=True, kw_only=True)
class InDomain:
    """Refuses a round that unlearnt the labelled source samples.

    A group's DSC is that of its pooled pixels. What a round does to the source it need not do to
    the target: some forgetting is the price of adaptation, and a fall beyond it a sign that the
    pseudo-labels taught something else than the task. A fall must exceed the slack beyond the
    noise between groups; see `pladapt.evidence.comparison.sure_fall`.

    Args:
        samples: Labelled source samples that the model was not trained on. None may have an id or
            a group of the target.
        slack: The sure fall of the DSC that is allowed, in [0, 1).

    Raises:
        InputError: No samples, a slack out of its range, or (when it judges) samples of the
            target.
    """

    samples: Samples[LabelledSample]
    slack: float = 0.1

    def __post_init__(self) -> None:
        _check_slack(self.slack)
        if len(self.samples) == 0:
            raise InputError("There are no in-domain samples; give at least one.")

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Compare each class's DSC on the source, before and after."""
        ids, groups = (comparison.changed[name].to_pylist() for name in ("id", "group"))
        check_leakage(
            list(zip(ids, groups, strict=True)), names_of(self.samples), "in-domain samples"
        )
        yield from self._falls(comparison, "in-domain DSC")

    def _falls(self, comparison: Comparison, name: str) -> Iterator[Finding]:
        old, new = (_columns(table, "class", "group") for table in self._measured(comparison))
        for class_ in np.unique(old["class"]):
            before, after = (c["dsc"][c["class"] == class_] for c in (old, new))
            yield judge_fall(name, int(class_), before, after, self.slack)

    def _measured(self, comparison: Comparison) -> Iterator[pa.Table]:
        predictors = (comparison.before, comparison.after)
        rows: tuple[list[dict[str, object]], ...] = ([], [])
        each = (self.samples[index] for index in range(len(self.samples)))
        for batch, images in batches(each, batch_size=comparison.batch_size):
            for found, predictor in zip(rows, predictors, strict=True):
                prediction = predict(predictor, batch, images)
                found.extend(truth_rows(batch, prediction, comparison.cutoff))
        return (pool(pa.Table.from_pylist(found), ["class", "group"]) for found in rows)


@dataclass(frozen=True, kw_only=True)
class ReviewedMasks(InDomain):
    """Refuses a round that fits the very masks which taught it worse than the model before it.

    It says what a model cannot say of itself, that it had marked nearly everything, say. What fits
    the masks that taught it need not be better elsewhere.

    Args:
        samples: Samples of the target with the masks of people.
        slack: The sure fall of the DSC that is allowed, in [0, 1).

    Raises:
        InputError: No samples, or a slack out of its range.
    """

    slack: float = 0.0

    def findings(self, comparison: Comparison, /) -> Iterator[Finding]:
        """Compare each class's DSC with people's masks, before and after."""
        yield from self._falls(comparison, "DSC on reviewed masks")


@dataclass(frozen=True, kw_only=True)
class DoNoHarm:
    """A gate that refuses a round where any of its measures speaks of harm.

    Everything is measured in one pass over the target, with both predictors; with an agreement
    (`pladapt.evidence.FlipAgreement`) both predict every image twice.

    Args:
        cutoff: The probability above which a pixel is foreground, in (0, 1).
        measures: What is measured; at most one agreement.
        batch_size: How many samples are predicted at once.
        max_samples: At most so many samples are compared, drawn by their ids; or None for all.

    Raises:
        InputError: No measures, more than one agreement, or ``max_samples`` is below 1.
    """

    cutoff: Cutoff = 0.5
    measures: Sequence[Measure] = (ForegroundFraction(), Churn(), FlipAgreement())
    batch_size: int = 8
    max_samples: int | None = None

    def __post_init__(self) -> None:
        if self.max_samples is not None and self.max_samples < 1:
            raise InputError(
                f"max_samples is {self.max_samples}; give at least 1, or None for all."
            )
        if not self.measures or len(self._axes) > 1:
            raise InputError(
                f"{len(self.measures)} measures, {len(self._axes)} of them Agreement; give at "
                "least one, and at most one Agreement."
            )

    @property
    def _axes(self) -> list[int]:
        return [each.axis for each in self.measures if isinstance(each, FlipAgreement)]

    def judge(self, before: Predictor, after: Predictor, target: Samples[Sample], /) -> Judgement:
        """Compare what both predictors make of the target.

        Raises:
            InputError: The target is empty, or as the measures say.
        """
        comparison = compare(
            before,
            after,
            target if self.max_samples is None else subsample(target, self.max_samples),
            cutoff=self.cutoff,
            axis=next(iter(self._axes), None),
            batch_size=self.batch_size,
        )
        findings = [found for each in self.measures for found in each.findings(comparison)]
        reasons = tuple(found.refusal for found in findings if found.refusal is not None)
        evidence = pa.Table.from_pylist([found.row() for found in findings], schema=EVIDENCE)
        return Judgement(not reasons, reasons, evidence)


def _raised(fraction: float, factor: float) -> float:
    """Multiply the odds of a fraction."""
    return fraction * factor / (1 - fraction + fraction * factor)


def _pooled(comparison: Comparison) -> list[dict[str, Any]]:
    """Return each class's counts and metrics over the whole target."""
    rows: list[dict[str, Any]] = pool(comparison.changed, ["class"]).sort_by("class").to_pylist()
    return rows


def _columns(table: pa.Table, *order: str) -> Mapping[str, NDArray[Any]]:
    ordered = table.sort_by([(name, "ascending") for name in order])
    return {name: ordered[name].to_numpy() for name in ordered.column_names}


def _group_means(groups: NDArray[Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each group's mean, in the order of the groups' names."""
    found, place = np.unique(groups.astype(str), return_inverse=True)
    means: NDArray[np.float64] = np.bincount(place, values, len(found)) / np.bincount(
        place, minlength=len(found)
    )
    return means
