"""Where alignments are used: before samples that are read, and before images that are predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from array_api_compat import array_namespace

from pladapt.data.views import Mapped
from pladapt.predictors.averaging import of_groups
from pladapt.predictors.inference import average
from pladapt.protocols import MemberPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.protocols import Predictor
    from pladapt.types import Array, LabelledSample, Sample, Samples

S = TypeVar("S", bound="Sample | LabelledSample")


class Alignment(Protocol):
    """**Protocol:** makes images look like the source's; without state."""

    def __call__(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to images of the same shape, dtype, library and device."""


class Aligned(Mapped[S, S]):
    """A lazy view of samples whose images are aligned when they are asked for.

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
class AlignedPredictor:
    """Aligns images before it predicts: what deploys a model that was adapted to aligned images.

    It is a `pladapt.MemberPredictor` where the inner predictor is one. It is no
    `pladapt.WrappingPredictor`, so that nothing trains the network in it on images that are not
    aligned: adapt the inner predictor to `Aligned` samples, then put the alignment before it.

    Args:
        predictor: Predicts the aligned images.
        alignment: How images are aligned.
    """

    predictor: Predictor
    alignment: Alignment

    def __new__(cls, predictor: object = None, *_others: object, **_named: object) -> Self:
        """Make one that shows members where the inner predictor does; copies give none."""
        kind = _AlignedMembers if isinstance(predictor, MemberPredictor) else cls
        return super().__new__(kind)  # type: ignore[return-value]  # the one or the other

    def for_groups(self, groups: Sequence[str], /) -> Self:
        """Return the same around the predictor of a batch of these groups."""
        inner = of_groups(self.predictor, groups)
        return self if inner is self.predictor else replace(self, predictor=inner)

    def predict(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the probabilities ``(B, K, *S)`` of the aligned ones."""
        return self.predictor.predict(self.alignment(images))


class _AlignedMembers(AlignedPredictor):
    """Aligns images for a predictor that averages several predictions."""

    predictor: MemberPredictor

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the averaged probabilities ``(M, B, K, *S)``."""
        return self.predictor.predict_members(self.alignment(images))

    def average(self, members: Array, /) -> Array:
        """Return what the inner predictor makes of its members, ``(B, K, *S)``."""
        return average(self.predictor, members)
