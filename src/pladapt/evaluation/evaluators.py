"""How well predicted masks fit true ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pladapt.data.tolerance import LeavingOut, Tolerance, map_batches
from pladapt.errors import InputError
from pladapt.evaluation.details import (
    Details,
    check_spacing,
    detail_notes,
    details_table,
    summarise_details,
)
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import hard_labels
from pladapt.functional.overlap import EMPTY_DSC, check_truth, evaluation, truth_rows
from pladapt.predictors.prediction import predict_finite
from pladapt.types import IGNORE, Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.evaluation.details import Row, Spacing
    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, LabelledSample, Samples
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
        InputError: No samples; or when it evaluates, masks with values that are no class.
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
        marked = 0

        def measured(batch: Sequence[LabelledSample], images: Array) -> list[dict[str, object]]:
            nonlocal marked
            rows = list(truth_rows(batch, predict_finite(predictor, batch, images), self.cutoff))
            marked += sum(int(np.count_nonzero(to_numpy(sample.mask))) for sample in batch)
            return rows

        leaving_out = LeavingOut(self.tolerance, len(self.samples))
        each = map_batches(
            measured, self.samples, batch_size=self.batch_size, leaving_out=leaving_out
        )
        rows = [row for _, some in each for row in some]
        notes = {"cutoff": str(self.cutoff)} | _left_out_notes(leaving_out)
        found = evaluation(rows, empty=self.empty, **notes)
        if marked and not any(found.samples[name].to_numpy().any() for name in ("tp", "fn")):
            warnings.warn(
                f"The masks of all {len(self.samples)} samples hold 0 and {IGNORE} alone, and "
                f"pixels of {IGNORE} are left out: no figure says how well foreground is found. If "
                f"{IGNORE} is a class, give masks of 0 and 1.",
                stacklevel=2,
            )
        return found


@dataclass(frozen=True, kw_only=True)
class DetailEvaluator:
    """Measure borders, lesions and volumes per sample, per group and, where they have one, pooled.

    Args:
        samples: The labelled samples, as for `pladapt.OverlapEvaluator`.
        surface: As for `Details`.
        lesions: As for `Details`.
        volumes: As for `Details`.
        spacing: The size of a pixel in mm along Z, Y and X, or along Y and X: one for all samples,
            or one for each by its id. None: distances and volumes are in pixels.
        cutoff: The probability above which a pixel is foreground, in (0, 1).
        batch_size: How many samples are predicted at once.
        tolerance: What becomes of a sample that cannot be read or predicted.

    Raises:
        InputError: No samples, or nothing is to be measured.
    """

    samples: Samples[LabelledSample]
    surface: float | None = 2.0
    lesions: bool = True
    volumes: bool = True
    spacing: Spacing | Mapping[str, Spacing] | None = None
    cutoff: Cutoff = 0.5
    batch_size: int = 8
    tolerance: Tolerance = field(default=Tolerance(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.samples) == 0:
            raise InputError("There are no samples to evaluate on; give at least one.")
        self._details()
        each = self.spacing.values() if isinstance(self.spacing, Mapping) else [self.spacing]
        for spacing in each:
            if spacing is not None:
                check_spacing(spacing)

    def evaluate(self, predictor: Predictor, /) -> Evaluation:
        """Return a row per sample and class, and what they come to."""
        details = self._details()

        def measured(batch: Sequence[LabelledSample], images: Array) -> list[Row]:
            prediction = predict_finite(predictor, batch, images)
            predicted = to_numpy(hard_labels(prediction.probabilities, self.cutoff))
            truth = np.stack([to_numpy(sample.mask) for sample in batch])
            classes = max(1, prediction.probabilities.shape[1] - 1)
            check_truth(batch, truth, classes)
            spacings = [self._spacing(sample.id) for sample in batch]
            return list(details.rows(batch, predicted, truth, classes, spacings))

        leaving_out = LeavingOut(self.tolerance, len(self.samples))
        each = map_batches(
            measured, self.samples, batch_size=self.batch_size, leaving_out=leaving_out
        )
        rows = [row for _, some in each for row in some]
        notes = {"cutoff": str(self.cutoff)} | detail_notes(rows, details)
        return Evaluation(
            details_table(rows),
            summarise_details(rows),
            notes | _left_out_notes(leaving_out),
        )

    def _details(self) -> Details:
        return Details(surface=self.surface, lesions=self.lesions, volumes=self.volumes)

    def _spacing(self, id_: str) -> Spacing | None:
        if not isinstance(self.spacing, Mapping):
            return self.spacing
        if id_ not in self.spacing:
            raise InputError(f"The spacing of {id_!r} is not given; give that of every sample.")
        return self.spacing[id_]


def _left_out_notes(leaving_out: LeavingOut) -> dict[str, str]:
    """Return the note that names what an evaluation left out; none where it left out nothing."""
    said = "; ".join(f"{one.id}: {one.reason}" for one in sorted(leaving_out.found))
    return {"left out": said} if said else {}
