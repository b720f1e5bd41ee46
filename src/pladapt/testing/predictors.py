"""What every predictor promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from pladapt.functional.arrays import to_numpy
from pladapt.predictors.prediction import predict_batch
from pladapt.testing.checks import check_description, require, same, some_images
from pladapt.types import Batch, Prediction
from pladapt.typing import BatchPredictor, Predictor, WrappingPredictor

if TYPE_CHECKING:
    from pladapt.types import Array


class PredictorContract:
    """What every `pladapt.typing.Predictor` promises.

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

    def test_a_batch_is_predicted_as_its_images_are(
        self, predictor: Predictor, images: Array
    ) -> None:
        """``predict_batch``, where there is one, agrees with ``predict``."""
        if not isinstance(predictor, BatchPredictor):
            pytest.skip("the predictor has predict alone")
        prediction = predictor.predict_batch(Batch.unnamed(images))
        require(
            isinstance(prediction, Prediction) and len(prediction.ids) == images.shape[0],
            f"predict_batch returned {prediction!r}; expected a Prediction of the batch's samples.",
        )
        what = "predict_batch and predict differ for samples of no known group"
        same(prediction.probabilities, predictor.predict(images), what, self.tolerance)

    def test_it_is_the_same_around_another_predictor(
        self, predictor: Predictor, images: Array
    ) -> None:
        """What wraps a predictor predicts with the one it is given, and is otherwise the same."""
        if not isinstance(predictor, WrappingPredictor):
            require(
                not isinstance(getattr(predictor, "predictor", None), Predictor),
                "It predicts with its attribute 'predictor', and has no with_predictor; what "
                "trains the inner one could not put the trained one in its place.",
            )
            pytest.skip("the predictor wraps no other")
        watched = _Watched(predictor.predictor)
        other = predictor.with_predictor(watched)
        require(
            type(other) is type(predictor) and other.predictor is watched,
            f"with_predictor returned {other!r}; expected the same around the one given.",
        )
        what = "around a predictor that predicts alike it predicts otherwise"
        same(other.predict(images), predictor.predict(images), what, self.tolerance)
        require(watched.calls > 0, "with_predictor's result does not predict with what it wraps.")
        require(predictor.predictor is not watched, "with_predictor changed the predictor itself.")


class _Watched:
    """Predicts as another predictor, and counts how often."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.calls = predictor, 0

    def with_predictor(self, predictor: Predictor, /) -> _Watched:
        """Watch another one: what is wrapped may be looked for in here."""
        return _Watched(predictor)

    def predict(self, images: Array, /) -> Array:
        """Predict as the other."""
        self.calls += 1
        return self.predictor.predict(images)

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Predict as the other."""
        self.calls += 1
        return predict_batch(self.predictor, batch)
