"""Training on true labels beside pseudo-labels, where a user hands them over for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.data.views import Mapped
from pladapt.functional.arrays import to_numpy
from pladapt.runs.manifest import describe
from pladapt.torch.data import joined
from pladapt.types import PseudoLabelled

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.types import LabelledSample, Samples
    from pladapt.typing import Predictor, ResumableRetrainer


@dataclass(frozen=True, eq=False, kw_only=True)
class TaughtBeside:
    """Retrains as another retrainer does, on true labels of the target beside the pseudo-labels.

    Args:
        retrainer: Does the training.
        labelled: Samples of the target with true masks; none may be pseudo-labelled as well.
        ratio: How many of them there are to be per pseudo-labelled sample: a few are gone through
            several times in an epoch.
    """

    retrainer: ResumableRetrainer
    labelled: Samples[LabelledSample]
    ratio: float = 0.25

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return what the retrainer makes of both."""
        times = max(1, round(self.ratio * len(labels) / len(self.labelled)))
        true = Mapped(self.labelled, _as_taught)
        return self.retrainer.retrain(predictor, joined(labels, *[true] * times))

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write what the retrainer writes."""
        self.retrainer.save(predictor, folder)

    def load(self, predictor: Predictor, folder: Path, /) -> Predictor:
        """Read back what `save` wrote."""
        return self.retrainer.load(predictor, folder)

    def describe(self) -> dict[str, Any]:
        """Return what the predictor depends on beside predictor and pseudo-labels."""
        return {
            "type": f"{type(self).__module__}.{type(self).__qualname__}",
            "retrainer": describe(self.retrainer),
            "labelled": describe(self.labelled),
            "ratio": self.ratio,
        }


def _as_taught(sample: LabelledSample) -> PseudoLabelled:
    """Return a sample whose true mask is taught as the surest of labels."""
    label = to_numpy(sample.mask).astype(np.uint8)
    return PseudoLabelled(sample.id, sample.group, sample.image, label, 1.0)
