"""How well predicted masks overlap true ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pladapt.data.tolerance import LeavingOut, Tolerance, map_batches
from pladapt.errors import InputError
from pladapt.functional.overlap import EMPTY_DSC, evaluation, truth_rows
from pladapt.predictors.prediction import predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Evaluation, LabelledSample, Samples
    from pladapt.typing import Predictor


@dataclass(frozen=True, kw_only=True)
class OverlapEvaluator:
    """Measure DSC, SEN and SPC per sample, per group and pooled.

    Args:
        samples: The labelled samples; their masks hold 0 for the background, then one value per
            class, and 255 for pixels to leave out.
        cutoff: The probability above which a pixel is foreground, in (0, 1).
        batch_size: How many samples are predicted at once.
        empty: The DSC where truth and prediction are both empty.
        tolerance: What becomes of a sample that cannot be read or predicted. The notes of the
            evaluation name those that were left out.

    Raises:
        InputError: No samples.
    """

    samples: Samples[LabelledSample]
    cutoff: Cutoff = 0.5
    batch_size: int = 8
    empty: float = EMPTY_DSC
    tolerance: Tolerance = field(default=Tolerance(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.samples) == 0:
            raise InputError("There are no samples to evaluate on; give at least one.")

    def evaluate(self, predictor: Predictor, /) -> Evaluation:
        """Return a row per sample and class: the counts of pixels, and the three metrics."""

        def measured(batch: Sequence[LabelledSample], images: Array) -> list[dict[str, object]]:
            return list(truth_rows(batch, predict(predictor, batch, images), self.cutoff))

        leaving_out = LeavingOut(self.tolerance, len(self.samples))
        each = map_batches(
            measured, self.samples, batch_size=self.batch_size, leaving_out=leaving_out
        )
        rows = [row for _, some in each for row in some]
        notes = {"cutoff": str(self.cutoff)}
        if leaving_out.found:
            out = sorted(leaving_out.found)
            notes["left out"] = "; ".join(f"{one.id}: {one.reason}" for one in out)
        return evaluation(rows, empty=self.empty, **notes)
