"""Predictors that average several predictions, and can show each.

Functions of the array API standard: predictions stay on the device that made them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Self

from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.protocols import GroupedPredictor, MemberPredictor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pladapt.protocols import Predictor
    from pladapt.types import Array


def members_of(predictor: Predictor, images: Array) -> Array:
    """Return the predictions ``(M, B, K, *S)`` that a predictor averages, or its only one."""
    if isinstance(predictor, MemberPredictor):
        return predictor.predict_members(images)
    probabilities = predictor.predict(images)
    return array_namespace(probabilities).expand_dims(probabilities, axis=0)


def of_groups(predictor: Predictor, groups: Sequence[str]) -> Predictor:
    """Return the predictor of a batch of these groups, which most predictors know nothing of."""
    return predictor.for_groups(groups) if isinstance(predictor, GroupedPredictor) else predictor


def map_members(function: Callable[[Array], Array], members: Array) -> Array:
    """Apply a function of probabilities ``(B, K, *S)`` to each of members ``(M, B, K, *S)``."""
    each = (members[index, ...] for index in range(members.shape[0]))
    return array_namespace(members).stack([function(member) for member in each])


@dataclass(frozen=True, eq=False)
class AveragingPredictor(ABC):
    """A base for predictors that need only ``predict_members``: they predict its ``average``."""

    @abstractmethod
    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the probabilities ``(M, B, K, *S)`` to be averaged."""

    def predict(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the average ``(B, K, *S)`` of their members."""
        return self.average(self.predict_members(images))

    def average(self, members: Array, /) -> Array:
        """Return the mean ``(B, K, *S)`` of members ``(M, B, K, *S)``."""
        return array_namespace(members).mean(members, axis=0)


@dataclass(frozen=True, eq=False)
class ViewPredictor(AveragingPredictor):
    """A base for `pladapt.WrappingPredictor`: it predicts with one other predictor.

    Args:
        predictor: The predictor to be wrapped.
    """

    predictor: Predictor

    def with_predictor(self, predictor: Predictor, /) -> Self:
        """Return the same around another predictor."""
        return replace(self, predictor=predictor)

    def for_groups(self, groups: Sequence[str], /) -> Predictor:
        """Return the same around the predictor of a batch of these groups."""
        inner = of_groups(self.predictor, groups)
        return self if inner is self.predictor else replace(self, predictor=inner)


@dataclass(frozen=True, eq=False)
class EnsemblePredictor(AveragingPredictor):
    """Averages several predictors: trainings from other seeds, or checkpoints of one training.

    Its members are all members of its predictors, in order, and each counts the same. So among
    predictors that average themselves, one with more members weighs more. Source: B.
    Lakshminarayanan, A. Pritzel and C. Blundell, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", NeurIPS 2017.

    Args:
        predictors: At least one; they must give probabilities of one shape, array library and
            device.

    Raises:
        InputError: There are no predictors, or, when it predicts, theirs are not of one shape.
    """

    predictors: Sequence[Predictor]

    def __post_init__(self) -> None:
        if not self.predictors:
            raise InputError("The ensemble has no predictors; give at least one.")

    def for_groups(self, groups: Sequence[str], /) -> Self:
        """Return the ensemble of the predictors of a batch of these groups."""
        inner = [of_groups(each, groups) for each in self.predictors]
        known = any(new is not old for new, old in zip(inner, self.predictors, strict=True))
        return replace(self, predictors=inner) if known else self

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the members' probabilities ``(M, B, K, *S)``."""
        parts = [members_of(predictor, images) for predictor in self.predictors]
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise InputError(
                f"The ensemble's predictors gave probabilities of shapes {sorted(shapes)}; they "
                "can be averaged only where all have the same channels."
            )
        return array_namespace(*parts).concat(parts, axis=0)


@dataclass(frozen=True, eq=False)
class FlipPredictor(ViewPredictor):
    """Averages the predictions of an image and of its mirror images, each mirrored back.

    Its members are those of the image as it is, then of each mirror image. Right where a mirror
    image is as likely as the image; where left and right differ, leave that axis out. Source: G.
    Wang et al., "Aleatoric uncertainty estimation with test-time augmentation for medical image
    segmentation with convolutional neural networks", Neurocomputing 2019.

    Args:
        predictor: Predicts each of them.
        axes: The spatial axes to mirror along, counted from the end: -1 is the last.
        combine: Whether to mirror along every combination of the axes, so that there are
            ``2**len(axes)`` predictions; else ``1 + len(axes)``.

    Raises:
        InputError: The axes are none, one stands twice or is not counted from the end; or, when
            it predicts, the images lack one.
    """

    axes: tuple[int, ...] = (-1,)
    combine: bool = False

    def __post_init__(self) -> None:
        distinct = set(self.axes)
        if not distinct or len(distinct) < len(self.axes) or not distinct <= {-1, -2, -3}:
            raise InputError(
                f"axes is {self.axes}; give one or more of -1, -2 and -3, the spatial axes counted "
                "from the end, each once."
            )

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the members' probabilities ``(M, B, K, *S)``."""
        if -min(self.axes) > images.ndim - 2:
            raise InputError(
                f"The images have shape {tuple(images.shape)} and no spatial axis "
                f"{min(self.axes)}; leave it out of 'axes'."
            )
        parts = [
            _flipped(members_of(self.predictor, _flipped(images, axes)), axes)
            for axes in self._mirrors()
        ]
        return array_namespace(*parts).concat(parts, axis=0)

    def _mirrors(self) -> list[tuple[int, ...]]:
        most = len(self.axes) if self.combine else 1
        return [axes for size in range(most + 1) for axes in combinations(self.axes, size)]


def _flipped(array: Array, axes: tuple[int, ...]) -> Array:
    return array_namespace(array).flip(array, axis=axes) if axes else array
