"""What every predictor promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from pladapt.functional.arrays import to_numpy
from pladapt.predictors.inference import average
from pladapt.protocols import MemberPredictor, Predictor
from pladapt.testing.checks import check_description, require, same, some_images

if TYPE_CHECKING:
    from pladapt.types import Array


class PredictorContract:
    """What every `pladapt.Predictor` promises.

    Fixtures to override: ``predictor``; and ``images`` where it takes other ones.
    """

    tolerance: ClassVar[float] = 1e-4
    """How far a probability may move with the batch that it is computed in."""

    @pytest.fixture
    def predictor(self) -> Predictor:
        """Make the predictor under test."""
        raise NotImplementedError("Override the fixture 'predictor' with the part under test.")

    @pytest.fixture
    def images(self) -> Array:
        """Make three images ``(3, 1, 32, 32)`` of numpy's float32."""
        return some_images((3, 1, 32, 32))

    def test_it_has_the_method_of_a_predictor(self, predictor: Predictor) -> None:
        """It has ``predict``."""
        require(isinstance(predictor, Predictor), "A predictor has predict.")

    def test_it_describes_itself_the_same_each_time(self, predictor: Predictor) -> None:
        """The manifest of a run can tell it from another."""
        check_description(predictor)

    def test_it_predicts_channels_of_the_images_size(
        self, predictor: Predictor, images: Array
    ) -> None:
        """``(B, C, *S)`` becomes ``(B, K, *S)``."""
        shape = tuple(predictor.predict(images).shape)
        require(
            len(shape) == images.ndim
            and (shape[0], *shape[2:]) == (images.shape[0], *images.shape[2:])
            and shape[1] > 0,
            f"predict returned shape {shape} for images of shape {tuple(images.shape)}.",
        )

    def test_it_predicts_probabilities(self, predictor: Predictor, images: Array) -> None:
        """Floating point in [0, 1], and a softmax where there are several channels."""
        probabilities = to_numpy(predictor.predict(images))
        require(probabilities.dtype.kind == "f", f"predict returned dtype {probabilities.dtype}.")
        require(
            bool(np.all((probabilities >= 0) & (probabilities <= 1))),
            "predict returned NaN or values outside [0, 1]; apply a sigmoid or softmax to logits.",
        )
        if probabilities.shape[1] > 1:
            total = probabilities.sum(axis=1, dtype=np.float64)
            require(
                bool(np.allclose(total, 1, atol=1e-2)),
                f"Several channels are a softmax; they sum to {total.min()} to {total.max()}.",
            )

    def test_a_prediction_does_not_depend_on_the_batch(
        self, predictor: Predictor, images: Array
    ) -> None:
        """A sample is predicted the same alone and in company, and again."""
        together = to_numpy(predictor.predict(images))
        for index in range(images.shape[0]):
            alone = predictor.predict(images[index : index + 1, ...])
            what = f"the prediction of image {index} depends on its batch, or on chance"
            same(alone, together[index : index + 1], what, self.tolerance)

    def test_it_leaves_the_images_unchanged(self, predictor: Predictor, images: Array) -> None:
        """``predict`` does not write into its input."""
        before = to_numpy(images).copy()
        predictor.predict(images)
        same(images, before, "the images were written into", 0)

    def test_members_are_averaged_probabilities(self, predictor: Predictor, images: Array) -> None:
        """Where there is ``predict_members``, ``predict`` returns their mean, or ``average``'s."""
        if not isinstance(predictor, MemberPredictor):
            pytest.skip("the predictor does not average several")
        members, predicted = predictor.predict_members(images), predictor.predict(images)
        require(
            tuple(members.shape[1:]) == tuple(predicted.shape),
            f"Members of shape {tuple(members.shape)} cannot average to {tuple(predicted.shape)}.",
        )
        what = "predict is not the mean of its members, and there is no average that says otherwise"
        if hasattr(predictor, "average"):
            what = "predict is not what average makes of the members"
        same(average(predictor, members), predicted, what, self.tolerance)
