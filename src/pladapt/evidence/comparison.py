"""What can be told of a round without labels: two predictors compared on the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
from array_api_compat import array_namespace

from pladapt.data.batches import batches
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import hard_labels
from pladapt.functional.overlap import count_rows
from pladapt.predictors.prediction import predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Sample, Samples
    from pladapt.typing import Predictor

    Rows = list[dict[str, object]]

LEVEL: Final = 0.95
"""How sure a fall must be to count: the one-sided level of its confidence limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What two predictors made of the target.

    Args:
        before: The predictor before the round.
        after: The one that the round made.
        cutoff: The probability above which a pixel is foreground.
        batch_size: How many samples are predicted at once.
        changed: A row per sample and class: ``id``, ``group``, ``class`` and the counts ``tp``,
            ``fp``, ``fn`` and ``tn`` of what ``after`` predicts, with what ``before`` predicts in
            the place of the truth.
        flipped: The same for ``before`` and for ``after``: the prediction of the flipped image,
            flipped back, with that of the image in the place of the truth; None where none was
            asked for.
    """

    before: Predictor
    after: Predictor
    cutoff: Cutoff
    batch_size: int
    changed: pa.Table
    flipped: tuple[pa.Table, pa.Table] | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one measure says of one class: a row of a gate's evidence.

    Args:
        measure: What was measured.
        class_: The class, from 1; None for all together.
        before: Its value before the round; None where there is none.
        after: Its value after it; None where it is undefined.
        limit: What is allowed, in words and numbers.
        refusal: Why the round must be refused, or None.
        reference: The source's value, or None where it is not known.
    """

    measure: str
    class_: int | None
    before: float | None
    after: float | None
    limit: str
    refusal: str | None
    reference: float | None = None

    def row(self) -> dict[str, object]:
        """Return the columns of a judgement's evidence."""
        return {
            "measure": self.measure,
            "class": self.class_,
            "reference": self.reference,
            "before": self.before,
            "after": self.after,
            "limit": self.limit,
            "passed": self.refusal is None,
        }


def compare(
    before: Predictor,
    after: Predictor,
    target: Samples[Sample],
    *,
    cutoff: Cutoff = 0.5,
    axis: int | None = None,
    batch_size: int = 8,
) -> Comparison:
    """Predict the target with both predictors, in one pass over it, and keep the counts alone.

    Args:
        before: The predictor before the round.
        after: The one that the round made.
        target: At least one sample.
        cutoff: In (0, 1); one for every class, or one per foreground class.
        axis: The spatial axis to flip, counted from the last one, -1; None to flip none.
        batch_size: How many samples are predicted at once.

    Raises:
        InputError: The target is empty, or a predictor returned another shape than its protocol
            asks for.
    """
    if len(target) == 0:
        raise InputError("The target is empty; give at least one unlabelled sample.")
    changed: Rows = []
    flipped: tuple[Rows, Rows] = ([], [])
    for batch, images in batches((target[i] for i in range(len(target))), batch_size=batch_size):
        old, new = (_labels(one, batch, images, cutoff) for one in (before, after))
        classes = max(old[1], new[1])
        changed += count_rows(batch, new[0], old[0], classes)
        if axis is not None:
            for rows, one, (plain, _) in zip(flipped, (before, after), (old, new), strict=True):
                back, _ = _labels(one, batch, images, cutoff, axis)
                rows.extend(count_rows(batch, back, plain, classes))
    tables = [pa.Table.from_pylist(rows) for rows in (changed, *flipped)]
    return Comparison(
        before,
        after,
        cutoff,
        batch_size,
        tables[0],
        None if axis is None else (tables[1], tables[2]),
    )


def _labels(
    predictor: Predictor,
    batch: Sequence[Sample],
    images: Array,
    cutoff: Cutoff,
    axis: int | None = None,
) -> tuple[NDArray[np.uint8], int]:
    """Return the predicted masks, of flipped images flipped back, and the number of classes."""
    seen = images if axis is None else array_namespace(images).flip(images, axis=axis)
    probabilities = predict(predictor, batch, seen).probabilities
    labels = hard_labels(probabilities, cutoff)
    back = labels if axis is None else array_namespace(labels).flip(labels, axis=axis)
    return to_numpy(back), max(1, probabilities.shape[1] - 1)


def judge_fall(
    measure: str, class_: int, before: ArrayLike, after: ArrayLike, slack: float
) -> Finding:
    """Refuse a fall of the mean over groups that surely exceeds the slack.

    Args:
        measure: What was measured; higher is better.
        class_: The class, from 1.
        before: ``(N,)``, a value for each group; none where the measure is undefined.
        after: ``(N,)``, the same groups in the same order.
        slack: The sure fall that is allowed.
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    limit = f"a fall of {slack:g} beyond noise"
    if not old.size:
        return Finding(measure, class_, None, None, limit, None)
    sure, means = sure_fall(old, new), (float(old.mean()), float(new.mean()))
    refusal = None
    if sure > slack:
        refusal = (
            f"{measure} of class {class_} fell from {means[0]:.3g} to {means[1]:.3g} in {old.size} "
            f"group{'s' if old.size > 1 else ''}, surely by {sure:.3g}, above {slack:g}"
        )
    return Finding(measure, class_, *means, limit, refusal)


def sure_fall(before: ArrayLike, after: ArrayLike) -> float:
    """Return by how much the mean of a population of groups fell at least, with 95 % confidence.

    The lower limit of Student's one-sided interval of the paired differences. A single group has
    no noise to be told from: its own fall is returned.

    Args:
        before: ``(N,)``, a value for each group, at least one.
        after: ``(N,)``, the same groups in the same order.
    """
    fall = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    mean = float(fall.mean())
    if fall.size == 1:
        return mean
    error = float(fall.std(ddof=1)) / math.sqrt(fall.size)
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    return mean - float(t.ppf(LEVEL, fall.size - 1)) * error
