"""An estimate of a predictor's DSC on images without labels, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from pladapt.predictors.agreement import Views, measure_agreement
from pladapt.source.estimation import FACTOR, MIN_GROUPS, excess
from pladapt.source.likeness import measure_likeness

if TYPE_CHECKING:
    from pladapt.predictors.agreement import Agreement
    from pladapt.source.estimation import DscCalibration, Interval, Line
    from pladapt.source.likeness import Likeness
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Progress, Sample, Samples
    from pladapt.typing import Predictor

Status: TypeAlias = Literal["estimated", "unknown", "unfit"]
"""What may come of an estimate; see `Estimate`."""

EVERYTHING: Final = 0.9
"""The marked fraction beyond which a predictor is not fit for the images."""

_GROUPS: Final = pa.schema(
    [
        ("group", pa.string()),
        ("samples", pa.int64()),
        ("agreement", pa.float64()),
        ("fraction", pa.float64()),
        ("dsc", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Estimate:
    """How well a predictor does on some images, as far as it can be told without labels.

    Args:
        status: ``estimated``; ``unknown``, where nothing like it was simulated on the source, so
            that no number would be honest; or ``unfit``, where the images look like nothing that
            the model knows.
        reason: In a sentence; empty where there is an estimate.
        interval: The estimated pooled ``dsc``, and ``low`` and ``high``, between which 90 % of such
            cases lie, or 90 % of single groups where there are fewer than five; None where there is
            no estimate.
        groups: A row per group: ``group``, ``samples``, ``agreement``, ``fraction`` of its pixels
            that is marked, and ``dsc``, ``low`` and ``high``; null where nothing is marked, or
            there is no estimate at all.
        agreement: How far the predictor agrees with itself on other views, in [0, 1].
        fraction: The fraction of all pixels that it marks.
        likeness: How unlike the source's intensities the images' are.
    """

    status: Status
    reason: str
    interval: Interval | None
    groups: pa.Table
    agreement: float
    fraction: float
    likeness: Likeness

    def __str__(self) -> str:
        """Return it in words."""
        if self.interval is None:
            return f"{self.status}: {self.reason}"
        dsc, low, high = self.interval
        return f"estimated DSC {dsc:.2f} (90 % interval {low:.2f} to {high:.2f})"


def estimate(
    predictor: Predictor,
    target: Samples[Sample],
    *,
    source: SourceStatistics,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Estimate:
    """Estimate a predictor's DSC on images without labels.

    It is read off what was simulated on the source's labelled samples, from how far the predictor
    agrees with itself on mirrored and scaled images. Only for a predictor that was not trained on
    the target: training makes any predictor agree with itself.

    Args:
        predictor: The model that ``source`` was measured with, as it is.
        target: Images without masks, prepared as the source's were.
        source: What the source is like, with what `pladapt.source.calibrate_estimate` measured.
        batch_size: How many samples are predicted at once.
        progress: Called as work advances.

    Raises:
        InputError: The target is empty, or its images have other channels than the source's.
        LabelledTargetError: A sample has a mask.
    """
    agreement = measure_agreement(
        predictor,
        target,
        cutoff=source.cutoff,
        views=Views(source.axes, source.scales),
        batch_size=batch_size,
        progress=progress,
    )
    likeness = measure_likeness(target, source, batch_size=batch_size)
    return estimate_of(agreement, likeness, source)


def estimate_of(agreement: Agreement, likeness: Likeness, source: SourceStatistics) -> Estimate:
    """Return the estimate of what `estimate` measures first."""
    status, reason = _status(agreement, likeness, source)
    simulated = source.estimation if status == "estimated" else None
    groups = _groups(agreement, None if simulated is None else simulated.group)
    interval = None
    if simulated is not None:
        line = simulated.whole if len(groups) >= MIN_GROUPS else simulated.group
        interval = line.at(agreement.pooled)
    return Estimate(
        status=status,
        reason=reason,
        interval=interval,
        groups=groups,
        agreement=agreement.pooled,
        fraction=float(agreement.fraction.sum()),
        likeness=likeness,
    )


def _status(
    agreement: Agreement, likeness: Likeness, source: SourceStatistics
) -> tuple[Status, str]:
    """Return whether there may be an estimate, and why not."""
    marked = float(agreement.fraction.sum())
    if likeness.reason is not None:
        return "unfit", likeness.reason
    if marked > EVERYTHING:
        return "unfit", f"the model marks {marked:.0%} of all pixels as foreground"
    if marked == 0:
        return "unknown", "the model finds no foreground in these images"
    if source.estimation is None or source.foreground_fraction is None:
        return "unknown", (
            "the source's statistics were measured without its masks; "
            "measure them with pladapt source --truth"
        )
    times = excess(agreement, float(source.foreground_fraction.sum()))
    reason = _outside(times, agreement.pooled, likeness.distance, source.estimation)
    return ("unknown", reason) if reason else ("estimated", "")


def _outside(times: float, agreement: float, distance: float, simulated: DscCalibration) -> str:
    """Tell what of some images lies outside all that was simulated; nothing where all is inside."""
    if abs(times) > math.log(FACTOR):
        return (
            f"the model marks {math.exp(times):.2g} times the fraction of pixels that it marks on "
            "the source, and agreement does not tell whether that is right"
        )
    if distance > simulated.distance:
        return (
            f"the intensities lie {distance:.2f} standard deviations from the source's, and no "
            f"simulated ones further than {simulated.distance:.2f}"
        )
    if agreement < simulated.agreement:
        return (
            f"the model agrees with itself to {agreement:.2f}, and on no simulated images to less "
            f"than {simulated.agreement:.2f}"
        )
    return ""


def _groups(agreement: Agreement, line: Line | None) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for group in sorted(agreement.marked["group"].unique().to_pylist()):
        ids = agreement.marked.filter(pc.equal(agreement.marked["group"], group))["id"].unique()
        own = agreement.of(ids.to_pylist())
        row = {
            "group": group,
            "samples": len(ids),
            "agreement": own.pooled,
            "fraction": float(own.fraction.sum()),
        }
        if line is not None and row["fraction"] > 0:
            row |= line.at(own.pooled)._asdict()
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=_GROUPS)
