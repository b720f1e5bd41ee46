"""How well predicted masks overlap true ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pladapt.errors import InputError
from pladapt.functional.overlap import EMPTY_DSC, evaluation, truth_rows
from pladapt.predictors.prediction import predictions

if TYPE_CHECKING:
    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Evaluation, LabelledSample, Samples
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

    Raises:
        InputError: No samples.
    """

    samples: Samples[LabelledSample]
    cutoff: Cutoff = 0.5
    batch_size: int = 8
    empty: float = EMPTY_DSC

    def __post_init__(self) -> None:
        if len(self.samples) == 0:
            raise InputError("There are no samples to evaluate on; give at least one.")

    def evaluate(self, predictor: Predictor, /) -> Evaluation:
        """Return a row per sample and class: the counts of pixels, and the three metrics."""
        rows: list[dict[str, object]] = []
        for batch, prediction in predictions(predictor, self.samples, batch_size=self.batch_size):
            rows += truth_rows(batch, prediction, self.cutoff)
        return evaluation(rows, empty=self.empty, cutoff=str(self.cutoff))
