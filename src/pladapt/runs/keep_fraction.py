"""Students that keep the fraction of foreground that they were taught."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.data.views import subsample
from pladapt.functional.arrays import to_numpy
from pladapt.predictors.fraction import drawn_logits, shift_for
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.runs.manifest import describe
from pladapt.storage import read_json
from pladapt.types import IGNORE
from pladapt.typing import ResumableRetrainer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import PseudoLabelled, Samples
    from pladapt.typing import Predictor, Retrainer

_SHIFT: Final = "shift.json"


@dataclass(frozen=True, eq=False)
class FractionKeeping:
    """Retrains as another retrainer does, and keeps the fraction of foreground that was taught.

    Networks that are trained on uncertain labels mark less than they were taught, round after
    round. So the retrained predictor's logits are shifted until it marks the pseudo-labels'
    fraction of the pixels that they label, on the very images that they label.

    Args:
        retrainer: Does the training.
        cutoff: The probability above which a pixel is foreground, in (0, 1).
        batch_size: How many samples are predicted at once.
        max_samples: The fraction is measured on at most so many samples, drawn by their ids.
    """

    retrainer: Retrainer
    cutoff: float = 0.5
    batch_size: int = 8
    max_samples: int = 256

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return a `pladapt.predictors.LogitShiftPredictor` around the retrained one."""
        trained = self.retrainer.retrain(_unshifted(predictor), labels)
        odds, marked = _labelled_logits(
            trained, subsample(labels, self.max_samples), self.batch_size
        )
        fraction = float(np.mean(marked)) if marked.size else 0.0
        reachable = 0 < fraction < 1
        shift = shift_for(odds, fraction, self.cutoff) if reachable else 0.0
        return LogitShiftPredictor(trained, shift)

    def describe(self) -> dict[str, Any]:
        """Return what the predictor depends on beside predictor and labels."""
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        others = {"cutoff": self.cutoff, "max_samples": self.max_samples}
        return {"type": kind, **others, "retrainer": describe(self.retrainer)}


class ResumableFractionKeeping(FractionKeeping):
    """The same around a `pladapt.typing.ResumableRetrainer`; see `keep_fraction`."""

    retrainer: ResumableRetrainer

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write what the retrainer writes, and ``shift.json``."""
        shifted = _shifted(predictor)
        self.retrainer.save(shifted.predictor, folder)
        (folder / _SHIFT).write_text(json.dumps(shifted.shift), encoding="utf-8")

    def load(self, predictor: Predictor, folder: Path, /) -> Predictor:
        """Read back what `save` wrote."""
        loaded = self.retrainer.load(_unshifted(predictor), folder)
        return LogitShiftPredictor(loaded, read_json(folder / _SHIFT))


def keep_fraction(
    retrainer: Retrainer, cutoff: float = 0.5, *, batch_size: int = 8
) -> FractionKeeping:
    """Have a retrainer keep the fraction of foreground that it is taught.

    See `pladapt.runs.keep_fraction.FractionKeeping`.
    """
    kind = (
        ResumableFractionKeeping if isinstance(retrainer, ResumableRetrainer) else FractionKeeping
    )
    return kind(retrainer, cutoff, batch_size)


def _unshifted(predictor: Predictor) -> Predictor:
    return predictor.predictor if isinstance(predictor, LogitShiftPredictor) else predictor


def _shifted(predictor: Predictor) -> LogitShiftPredictor:
    return (
        predictor
        if isinstance(predictor, LogitShiftPredictor)
        else LogitShiftPredictor(predictor, 0.0)
    )


def _labelled_logits(
    predictor: Predictor, labels: Samples[PseudoLabelled], batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the log-odds of pixels that have a label, and whether it is foreground."""
    odds, marked = [], []
    for sample, places, values in drawn_logits(predictor, labels, _labelled, batch_size):
        odds.append(values)
        marked.append(to_numpy(sample.label).reshape(-1)[places] > 0)
    return np.concatenate(odds), np.concatenate(marked)


def _labelled(sample: PseudoLabelled, _size: int) -> NDArray[np.bool_]:
    labelled: NDArray[np.bool_] = (to_numpy(sample.label) != IGNORE).reshape(-1)
    return labelled
