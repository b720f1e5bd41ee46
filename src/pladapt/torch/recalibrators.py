"""Making a network fit its target before anything is trained, where evidence says that it helps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pladapt.data.views import subsample
from pladapt.predictors.agreement import Views, measure_agreement
from pladapt.protocols import Recalibration
from pladapt.runs.manifest import describe
from pladapt.source.likeness import measure_likeness
from pladapt.torch.recalibration import batch_norms, recalibrate_batch_norm
from pladapt.torch.wrapping import module_of
from pladapt.types import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.predictors.agreement import Agreement
    from pladapt.protocols import Predictor
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Progress, Sample, Samples

_NONE: Final = "none"
_BATCH_NORM: Final = "batch norm"
_TOLERANCE: Final = 0.01
_EVIDENCE: Final = pa.schema(
    [
        ("adjustment", pa.string()),
        ("agreement", pa.float64()),
        ("per_image", pa.float64()),
        ("fraction", pa.float64()),
        ("source", pa.float64()),
        ("taken", pa.bool_()),
    ]
)


@dataclass(frozen=True, eq=False, kw_only=True)
class AgreementRecalibrator:
    """Measures batch normalisation's statistics anew where the network then agrees better.

    First the images are looked at: where their intensities are not like the source's at all, or the
    network marks next to all of them, it is not fit for them, and adaptation ends.

    Then the masks of images are compared with those of mirrored and scaled ones, at the source's
    own cut-off, by the network as it is and with batch normalisation's statistics of the target
    (`pladapt.predictors.measure_agreement`, `recalibrate_batch_norm`). Those are taken only where
    the agreement of all pixels is higher by more than ``margin``, and that of single images is not
    lower by more than 0.01: on images without foreground the first alone would be fooled. Else the
    network stays as it is, and adaptation ends: the paper's rule and others may still be tried, but
    nothing here says that they would help.

    Args:
        cutoff: The source's cut-off, in (0, 1).
        source: What the source's images are like; without it they are not looked at.
        views: What the network is asked about; give the mirror axes that are natural.
        margin: By how much the agreement must be higher, in [0, 1).
        max_fraction: A network that marks more of the target's pixels than this is not fit for it.
        batch_size: How many samples are predicted at once.
        max_samples: At most so many samples are compared, drawn by their ids. Statistics are
            measured on all.
        statistics_batch_size: How many are normalised together where statistics are measured.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        progress: Called as work advances.
    """

    cutoff: float = 0.5
    source: SourceStatistics | None = None
    views: Views = field(default_factory=Views)
    margin: float = 0.005
    max_fraction: float = 0.9
    batch_size: int = 8
    max_samples: int = 256
    statistics_batch_size: int = 32
    device: str = "auto"
    progress: Progress | None = None

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return the network with the target's statistics, or a verdict why not.

        The evidence has a row for each network that was measured: ``adjustment``, the ``agreement``
        of all pixels, that ``per_image``, the ``fraction`` of the pixels that it marks at the
        source's cut-off, that of the ``source`` (null where it is not known), and whether it was
        ``taken``.

        Raises:
            InputError: The predictor has no module, the target is empty, or its images have other
                channels than the source's.
            LabelledTargetError: A sample has a mask.
        """
        found = {_NONE: self._measured(predictor, target)}
        if (verdict := self._first_look(predictor, target, found[_NONE])) is not None:
            return self._ended(predictor, found, verdict)
        normalised = recalibrate_batch_norm(
            predictor,
            target,
            batch_size=self.statistics_batch_size,
            device=self.device,
            progress=self.progress,
        )
        found[_BATCH_NORM] = self._measured(normalised, target)
        if self._surely_better(found[_BATCH_NORM], found[_NONE]):
            evidence = self._evidence(found, _BATCH_NORM)
            return Recalibration(normalised, normalised, evidence)
        reason = "no change makes the model surely agree better with itself on these images"
        return self._ended(predictor, found, Verdict("unchanged", reason))

    def describe(self) -> dict[str, Any]:
        """Return what the result depends on beside predictor and target."""
        ignored = ("batch_size", "device", "progress")
        named = {k: describe(v) for k, v in vars(self).items() if k not in ignored}
        return {"type": f"{type(self).__module__}.{type(self).__qualname__}", **named}

    def _measured(self, predictor: Predictor, target: Samples[Sample]) -> Agreement:
        return measure_agreement(
            predictor,
            subsample(target, self.max_samples),
            cutoff=self.cutoff,
            views=self.views,
            batch_size=self.batch_size,
            progress=self.progress,
        )

    def _first_look(
        self, predictor: Predictor, target: Samples[Sample], as_it_is: Agreement
    ) -> Verdict | None:
        """Return why there is nothing to try, or None."""
        if self.source is not None:
            unlike = measure_likeness(target, self.source, batch_size=self.batch_size).reason
            if unlike is not None:
                return Verdict("unfit", f"{unlike}; label a few images")
        marked = float(as_it_is.fraction.sum())
        if marked > self.max_fraction:
            reason = f"the model marks {marked:.0%} of all pixels as foreground; label a few images"
            return Verdict("unfit", reason)
        if marked == 0:
            return Verdict("unchanged", "the model finds no foreground in these images")
        if not batch_norms(module_of(predictor)):
            reason = "the network has no batch normalisation, which is what would be measured anew"
            return Verdict("unchanged", reason)
        return None

    def _surely_better(self, new: Agreement, old: Agreement) -> bool:
        return new.pooled > old.pooled + self.margin and new.per_image >= old.per_image - _TOLERANCE

    def _ended(
        self, predictor: Predictor, found: Mapping[str, Agreement], verdict: Verdict
    ) -> Recalibration:
        return Recalibration(predictor, predictor, self._evidence(found, _NONE), verdict)

    def _evidence(self, found: Mapping[str, Agreement], taken: str) -> pa.Table:
        source = None
        if self.source is not None and self.source.foreground_fraction is not None:
            source = float(self.source.foreground_fraction.sum())
        rows = [
            {
                "adjustment": name,
                "agreement": each.pooled,
                "per_image": each.per_image,
                "fraction": float(each.fraction.sum()),
                "source": source,
                "taken": name == taken,
            }
            for name, each in found.items()
        ]
        return pa.Table.from_pylist(rows, schema=_EVIDENCE)
