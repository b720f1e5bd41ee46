"""An evaluator of one's own metric: by how much the predicted area is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import pladapt
from pladapt.evaluation import summarise_metrics
from pladapt.functional.arrays import to_numpy
from pladapt.predictors import predictions

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class AreaEvaluator:
    """Measures the predicted area of each class against the true one, in pixels.

    Args:
        samples: Labelled samples.
        cutoff: The probability above which a pixel is foreground.
        batch_size: How many samples are predicted at once.
    """

    samples: pladapt.typing.Samples[pladapt.LabelledSample]
    cutoff: float = 0.5
    batch_size: int = 8

    def evaluate(self, predictor: pladapt.typing.Predictor, /) -> pladapt.Evaluation:
        """Return each sample's ``area_error``, predicted less true, and ``area_error_abs``."""
        measured = pa.Table.from_pylist(list(self._rows(predictor)))
        metrics = ["area_error", "area_error_abs"]
        return pladapt.Evaluation(measured, summarise_metrics(measured, metrics))

    def _rows(self, predictor: pladapt.typing.Predictor) -> Iterator[dict[str, Any]]:
        for batch, prediction in predictions(predictor, self.samples, batch_size=self.batch_size):
            masks = to_numpy(pladapt.hard_labels(prediction.probabilities, self.cutoff))
            classes = max(1, prediction.probabilities.shape[1] - 1)
            for sample, mask in zip(batch, masks, strict=True):
                truth = to_numpy(sample.mask)
                for class_ in range(1, classes + 1):
                    error = float(np.sum(mask == class_)) - float(np.sum(truth == class_))
                    yield {
                        "id": sample.id,
                        "group": sample.group,
                        "class": class_,
                        "area_error": error,
                        "area_error_abs": abs(error),
                    }


@pladapt.hookimpl
def pladapt_evaluators() -> list[pladapt.Registration[pladapt.typing.Evaluator]]:
    """Offer the evaluator as ``area``."""
    return [pladapt.Registration("area", AreaEvaluator, "Measures the error of the area.")]
