"""Where alignments are used: before samples that are read, and before images that are predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from array_api_compat import array_namespace

from pladapt.data.views import Mapped
from pladapt.predictors.prediction import CompositePredictor, predict_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.protocols import Predictor
    from pladapt.types import Array, Batch, LabelledSample, Prediction, Sample, Samples

S = TypeVar("S", bound="Sample | LabelledSample")

Alignment: TypeAlias = "Callable[[Array], Array]"
"""Maps images ``(B, C, *S)`` to others of the same shape, dtype, library and device."""


class Aligned(Mapped[S, S]):
    """A lazy view of samples whose images are aligned when they are read.

    Args:
        samples: Of the target, with masks or without: a mask is passed on and not read.
        alignment: How their images are aligned.
    """

    def __init__(self, samples: Samples[S], alignment: Alignment) -> None:
        super().__init__(samples, partial(_aligned, alignment))


def _aligned(alignment: Alignment, sample: S) -> S:
    images = array_namespace(sample.image).expand_dims(sample.image, axis=0)
    return replace(sample, image=alignment(images)[0, ...])


@dataclass(frozen=True, eq=False)
class AlignedPredictor(CompositePredictor):
    """Aligns images before it predicts: what deploys a model that was adapted to aligned images.

    It is no `pladapt.typing.WrappingPredictor`, so that nothing trains the network in it on images
    that are not aligned: adapt the inner predictor to `Aligned` samples, then put the alignment
    before it.

    Args:
        predictor: Predicts the aligned images.
        alignment: How images are aligned.
    """

    predictor: Predictor
    alignment: Alignment

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the prediction of the aligned images."""
        return predict_batch(self.predictor, batch.with_images(self.alignment(batch.images)))
