"""One prediction: from a predictor and a batch to probabilities and, where there are, members."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

from array_api_compat import array_namespace

from pladapt.data.batches import batches
from pladapt.errors import InputError
from pladapt.types import Batch, LabelledSample, Prediction, Sample
from pladapt.typing import BatchPredictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt.types import Array, PseudoLabelled, Samples
    from pladapt.typing import Predictor

S = TypeVar("S", Sample, LabelledSample)


def predictions(
    predictor: Predictor, samples: Samples[S], *, batch_size: int = 8
) -> Iterator[tuple[tuple[S, ...], Prediction]]:
    """Predict samples in order, and yield each batch with its prediction.

    The next batch is read in a thread while the predictor works on this one. A batch ends early
    where the next image has another shape.

    Raises:
        InputError: ``batch_size`` below 1, an image of the wrong rank, or a predictor that
            returns another shape than ``(B, K, *S)``.
    """
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        yield batch, predict(predictor, batch, images)


def predict(
    predictor: Predictor, samples: Sequence[Sample | LabelledSample | PseudoLabelled], images: Array
) -> Prediction:
    """Predict samples whose images are stacked; see `predict_batch`."""
    ids, groups = (tuple(names) for names in zip(*((s.id, s.group) for s in samples), strict=True))
    return predict_batch(predictor, Batch(ids, groups, images))


def predict_finite(
    predictor: Predictor, samples: Sequence[Sample | LabelledSample | PseudoLabelled], images: Array
) -> Prediction:
    """Predict as `predict` does, where no score looks at the values: NaN is no background.

    Raises:
        InputError: A prediction has NaN or infinity.
    """
    prediction = predict(predictor, samples, images)
    check_finite(prediction)
    return prediction


def predict_batch(predictor: Predictor, batch: Batch) -> Prediction:
    """Predict a batch with ``predict_batch`` where the predictor has it, else with ``predict``.

    Every prediction of the library goes through here.

    Raises:
        InputError: The predictor returned another shape than ``(B, K, *S)``.
    """
    if isinstance(predictor, BatchPredictor):
        prediction = predictor.predict_batch(batch)
        _check_shape(predictor, prediction.probabilities, batch.images)
        return prediction
    probabilities = predictor.predict(batch.images)
    _check_shape(predictor, probabilities, batch.images)
    return Prediction(batch.ids, probabilities)


def check_finite(prediction: Prediction) -> None:
    """Refuse a prediction with NaN or infinity.

    Raises:
        InputError: It has some.
    """
    probabilities = prediction.probabilities
    xp = array_namespace(probabilities)
    if not bool(xp.all(xp.isfinite(probabilities))):
        raise InputError(f"The prediction of {', '.join(prediction.ids)} has NaN or infinity.")


def _check_shape(predictor: Predictor, probabilities: Array, images: Array) -> None:
    if not hasattr(probabilities, "shape"):
        raise InputError(
            f"{type(predictor).__name__} predicted {type(probabilities).__name__} for images of "
            f"shape {tuple(images.shape)}; expected an array (B, channel, ...)."
        )
    given, expected = tuple(probabilities.shape), tuple(images.shape)
    if len(given) != len(expected) or given[0] != expected[0] or given[2:] != expected[2:]:
        raise InputError(
            f"{type(predictor).__name__} predicted shape {given} for images of shape {expected}; "
            f"expected ({expected[0]}, channel, {', '.join(map(str, expected[2:]))})."
        )


@dataclass(frozen=True, eq=False)
class CompositePredictor(ABC):
    """A base for predictors made of others: a subclass writes ``predict_batch`` alone."""

    @abstractmethod
    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the probabilities of a batch, and the members that they average if there are."""

    def predict(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` of no known group to probabilities ``(B, K, *S)``."""
        return self.predict_batch(Batch.unnamed(images)).probabilities


@dataclass(frozen=True, eq=False)
class WrapperPredictor(CompositePredictor):
    """A base for a `pladapt.typing.WrappingPredictor`: it predicts with one other predictor.

    Args:
        predictor: The predictor inside.
    """

    predictor: Predictor

    def with_predictor(self, predictor: Predictor, /) -> Self:
        """Return the same around another predictor."""
        return replace(self, predictor=predictor)
