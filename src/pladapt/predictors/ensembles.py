"""Predictors that average several predictions, and show each of them as a member.

Functions of the array API standard: predictions stay on the device that made them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.resampling import scale_images
from pladapt.predictors.prediction import CompositePredictor, WrapperPredictor, predict_batch
from pladapt.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pladapt.types import Array, Batch
    from pladapt.typing import Predictor


def averaged(batch: Batch, parts: Sequence[Array]) -> Prediction:
    """Return the mean of members that come in parts ``(M, B, K, *S)``, each member alike."""
    xp = array_namespace(*parts)
    members = xp.concat(list(parts), axis=0)
    return Prediction(batch.ids, xp.mean(members, axis=0), members)


def map_members(function: Callable[[Array], Array], members: Array) -> Array:
    """Apply a function of probabilities ``(B, K, *S)`` to each of members ``(M, B, K, *S)``."""
    each = (members[index, ...] for index in range(members.shape[0]))
    return array_namespace(members).stack([function(member) for member in each])


@dataclass(frozen=True, eq=False)
class EnsemblePredictor(CompositePredictor):
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

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the mean of all members."""
        parts = [predict_batch(predictor, batch).views for predictor in self.predictors]
        shapes = {tuple(part.shape[1:]) for part in parts}
        if len(shapes) > 1:
            raise InputError(
                f"The ensemble's predictors gave probabilities of shapes {sorted(shapes)}; they "
                "can be averaged only where all have the same channels."
            )
        return averaged(batch, parts)


@dataclass(frozen=True, eq=False)
class FlipPredictor(WrapperPredictor):
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
        InputError: There are no axes, one is repeated or is not counted from the end; or, when
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

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the mean over the image and its mirror images."""
        if -min(self.axes) > batch.images.ndim - 2:
            raise InputError(
                f"The images have shape {tuple(batch.images.shape)} and no spatial axis "
                f"{min(self.axes)}; leave it out of 'axes'."
            )
        return averaged(batch, [self._mirrored(batch, axes) for axes in self._mirrors()])

    def _mirrored(self, batch: Batch, axes: tuple[int, ...]) -> Array:
        seen = batch.with_images(_flipped(batch.images, axes))
        return _flipped(predict_batch(self.predictor, seen).views, axes)

    def _mirrors(self) -> list[tuple[int, ...]]:
        largest = len(self.axes) if self.combine else 1
        return [axes for size in range(largest + 1) for axes in combinations(self.axes, size)]


def _flipped(array: Array, axes: tuple[int, ...]) -> Array:
    return array_namespace(array).flip(array, axis=axes) if axes else array


@dataclass(frozen=True, eq=False)
class ScalePredictor(WrapperPredictor):
    """Averages the predictions of an image and of magnified and reduced copies of the same size.

    Its members are those of the image as it is, then of each scale about the centre, scaled back.
    Every copy keeps the image's size: where a magnified one shows nothing of the margin, the plain
    prediction stands, and a reduced one repeats the image's own margin. Right where the network was
    trained on scaled images.

    Args:
        predictor: Predicts each of them.
        scales: The magnifications beside the image as it is: 1.2 shows a sixth less of each axis.

    Raises:
        InputError: There is no scale, or one is not positive, not finite, or 1.
    """

    scales: tuple[float, ...] = (1 / 1.2, 1.2)

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < math.inf and scale != 1 for scale in self.scales):
            raise InputError(
                f"scales is {self.scales}; give one or more positive factors other than 1, which "
                "is always among them."
            )

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the mean over the image and its scaled copies."""
        plain = predict_batch(self.predictor, batch).views
        return averaged(batch, [plain, *(self._scaled(batch, s, plain) for s in self.scales)])

    def _scaled(self, batch: Batch, scale: float, plain: Array) -> Array:
        seen = batch.with_images(scale_images(batch.images, scale))
        views = predict_batch(self.predictor, seen).views
        flat = array_namespace(views).reshape(views, (-1, *views.shape[2:]))
        shown = scale_images(array_namespace(flat).ones_like(flat[:1, :1, ...]), 1 / scale, "zero")
        back = array_namespace(flat).reshape(scale_images(flat, 1 / scale, "zero"), views.shape)
        return array_namespace(back).clip(back + (1 - shown) * plain, 0.0, 1.0)  # rounding
