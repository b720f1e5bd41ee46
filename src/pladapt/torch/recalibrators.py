"""Making a predictor fit its target before anything is trained: statistics, and a consensus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pladapt.data.views import subsample
from pladapt.functional.logits import logit
from pladapt.predictors.aligned import Aligned, AlignedPredictor
from pladapt.predictors.consensus import find_consensus
from pladapt.predictors.ensembles import FlipPredictor, ScalePredictor
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.protocols import Recalibration
from pladapt.runs.manifest import describe
from pladapt.source.alignment import QuantileMatching
from pladapt.torch.recalibration import batch_norms, recalibrate_batch_norm
from pladapt.torch.wrapping import module_of

if TYPE_CHECKING:
    from pladapt.functional.intensities import Region
    from pladapt.protocols import Predictor
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Progress, Sample, Samples


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchNormRecalibrator:
    """Measures batch normalisation's statistics anew; see `recalibrate_batch_norm`.

    Args:
        momentum: The target's weight in [0, 1].
        batch_size: At most so many images are normalised together.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
    """

    momentum: float = 1.0
    batch_size: int = 32
    device: str = "auto"

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return the predictor with the target's statistics."""
        new = recalibrate_batch_norm(
            predictor,
            target,
            momentum=self.momentum,
            batch_size=self.batch_size,
            device=self.device,
        )
        layers = len(batch_norms(module_of(new)))
        evidence = pa.table({"layers": [layers], "samples": [len(target)]})
        return Recalibration(new, new, evidence)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConsensusRecalibrator:
    """Predicts with several adjustments of one network, as far as they agree on the target.

    The adjustments are none at all, batch normalisation's statistics of the target
    (`recalibrate_batch_norm`), the target's intensities mapped to the source's quantiles
    (`pladapt.QuantileMatching`), and both. No one of them is safe on every target. Each predicts
    an image and its mirror images, and `pladapt.find_consensus` tells, without labels, which of
    them to trust and how much of the target is foreground. The mean of those is the teacher of the
    first round; the network with the target's statistics is its student, which averages mirror
    images and scales. The foreground that the teacher marks is what lies above ``cutoff``, as the
    source's was.

    Args:
        cutoff: The source's cut-off, in (0, 1).
        source: What the source's images are like; without it no intensities are mapped.
        align: Whether intensities are mapped.
        batch_norm: Whether batch normalisation's statistics are measured anew. They are left
            alone where the network has none.
        fraction: Whether the fraction of the foreground is found anew; else the source's cut-off
            stays.
        groups: Whether it is found for each group as well, as far as the group's samples tell.
        axes: The spatial axes to mirror along, counted from the end.
        tta_scales: At which the student predicts as well, for `ScalePredictor`; by default none.
        region: Which pixels are compared, as for `pladapt.SourceStatistics`.
        batch_size: How many samples are predicted at once.
        max_samples: At most so many samples are compared, drawn by their ids. Batch normalisation
            and intensities are measured on all.
        statistics_batch_size: How many are normalised together where statistics are measured.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        progress: Called as work advances.
    """

    cutoff: float = 0.5
    source: SourceStatistics | None = None
    align: bool = True
    batch_norm: bool = True
    fraction: bool = True
    groups: bool = True
    axes: tuple[int, ...] = (-1,)
    tta_scales: tuple[float, ...] = ()
    region: Region = "informative"
    batch_size: int = 8
    max_samples: int = 256
    statistics_batch_size: int = 32
    device: str = "auto"
    progress: Progress | None = None

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return the teacher and its student.

        The evidence has a row for each adjustment: ``adjustment``, its ``agreement`` (Cohen's
        kappa), whether it was ``kept``, its ``shift`` (of the logits), the
        ``agreed`` fraction of the region's pixels, null where nothing is agreed on, the consensus'
        ``fraction``, and for how many ``groups`` it was found as well.

        Raises:
            InputError: The predictor has no module, or as for `pladapt.find_consensus`.
            LabelledTargetError: A sample has a mask.
        """
        adjusted = self._adjusted(predictor, target)
        candidates = list(adjusted.values())
        found = find_consensus(
            candidates,
            subsample(target, self.max_samples),
            cutoff=self.cutoff,
            region=self.region,
            batch_size=self.batch_size,
            progress=self.progress,
        )
        given = logit(self.cutoff)
        shifts = found.shifts if self.fraction else (-given,) * len(candidates)
        groups = found.groups if self.fraction and self.groups else {}
        teacher = LogitShiftPredictor(found.predictor(candidates, shifts), given, groups)
        student = adjusted.get("batch norm", adjusted["none"])
        if self.tta_scales:
            student = ScalePredictor(student, self.tta_scales)
        evidence = pa.table(
            {
                "adjustment": list(adjusted),
                "agreement": pa.array(found.agreement, pa.float64()),
                "kept": [place in found.kept for place in range(len(candidates))],
                "shift": pa.array(shifts, pa.float64()),
                "agreed": pa.array([found.agreed] * len(candidates), pa.float64()),
                "fraction": pa.array([found.fraction] * len(candidates), pa.float64()),
                "groups": [len(groups)] * len(candidates),
            }
        )
        return Recalibration(teacher, student, evidence)

    def describe(self) -> dict[str, Any]:
        """Return what the teacher depends on beside predictor and target."""
        ignored = ("batch_size", "device", "progress")
        named = {k: describe(v) for k, v in vars(self).items() if k not in ignored}
        return {"type": f"{type(self).__module__}.{type(self).__qualname__}", **named}

    def _adjusted(self, predictor: Predictor, target: Samples[Sample]) -> dict[str, Predictor]:
        adjusted = {"none": self._flipped(predictor)}
        normalised = self.batch_norm and bool(batch_norms(module_of(predictor)))
        if normalised:
            adjusted["batch norm"] = self._flipped(self._normalised(predictor, target))
        if self.align and self.source is not None:
            alignment = QuantileMatching.fit(target, self.source, batch_size=self.batch_size)
            adjusted["aligned"] = AlignedPredictor(self._flipped(predictor), alignment)
            if normalised:
                both = self._normalised(predictor, Aligned(target, alignment))
                adjusted["aligned, batch norm"] = AlignedPredictor(self._flipped(both), alignment)
        return adjusted

    def _flipped(self, predictor: Predictor) -> Predictor:
        return FlipPredictor(predictor, self.axes)

    def _normalised(self, predictor: Predictor, target: Samples[Sample]) -> Predictor:
        return recalibrate_batch_norm(
            predictor,
            target,
            batch_size=self.statistics_batch_size,
            device=self.device,
            progress=self.progress,
        )
