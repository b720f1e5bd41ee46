"""From samples to predictions and scores, a batch at a time, reading while the network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from array_api_compat import array_namespace

from pladapt.data.batches import batches
from pladapt.errors import InputError
from pladapt.predictors.averaging import of_groups
from pladapt.protocols import MemberPredictor
from pladapt.types import LabelledSample, Prediction, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt.protocols import Predictor
    from pladapt.types import Array, Samples

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
    predictor: Predictor, batch: Sequence[Sample | LabelledSample], images: Array
) -> Prediction:
    """Predict the stacked images of a batch.

    Raises:
        InputError: The predictor returned another shape than ``(B, K, *S)``.
    """
    predictor = of_groups(predictor, [sample.group for sample in batch])
    members = None
    if isinstance(predictor, MemberPredictor):
        members = predictor.predict_members(images)
        probabilities = average(predictor, members)
    else:
        probabilities = predictor.predict(images)
    given, expected = tuple(probabilities.shape), tuple(images.shape)
    if len(given) != len(expected) or given[0] != expected[0] or given[2:] != expected[2:]:
        raise InputError(
            f"{type(predictor).__name__}.predict returned shape {given} for images of shape "
            f"{expected}; expected ({expected[0]}, channel, {', '.join(map(str, expected[2:]))})."
        )
    return Prediction(tuple(sample.id for sample in batch), probabilities, members)


def average(predictor: Predictor, members: Array) -> Array:
    """Return the probabilities ``(B, K, *S)`` that a predictor makes of its members.

    Args:
        predictor: Whose members they are; one with ``average(members)`` says itself how.
        members: ``(M, B, K, *S)``; by default their mean is predicted.
    """
    own = getattr(predictor, "average", None)
    return array_namespace(members).mean(members, axis=0) if own is None else own(members)
