"""From samples to predictions, a batch at a time, reading ahead while the network computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from array_api_compat import array_namespace

from pladapt.arrays import stack
from pladapt.errors import InputError
from pladapt.protocols import MemberPredictor
from pladapt.types import LabelledSample, Prediction, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pladapt.protocols import Predictor
    from pladapt.types import Array, Samples

S = TypeVar("S", Sample, LabelledSample)
T = TypeVar("T")


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
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    for batch in _read_ahead(_batches(samples, batch_size)):
        images = stack([sample.image for sample in batch])
        yield batch, _predict(predictor, tuple(sample.id for sample in batch), images)


def _predict(predictor: Predictor, ids: tuple[str, ...], images: Array) -> Prediction:
    members = None
    if isinstance(predictor, MemberPredictor):
        members = predictor.predict_members(images)
        probabilities = array_namespace(members).mean(members, axis=0)
    else:
        probabilities = predictor.predict(images)
    given, expected = tuple(probabilities.shape), tuple(images.shape)
    if len(given) != len(expected) or given[0] != expected[0] or given[2:] != expected[2:]:
        raise InputError(
            f"{type(predictor).__name__}.predict returned shape {given} for images of shape "
            f"{expected}; expected ({expected[0]}, channel, {', '.join(map(str, expected[2:]))})."
        )
    return Prediction(ids, probabilities, members)


def _batches(samples: Samples[S], batch_size: int) -> Iterator[tuple[S, ...]]:
    """Yield consecutive samples whose images have one shape."""
    batch: list[S] = []
    for index in range(len(samples)):
        sample = samples[index]
        if sample.image.ndim not in (3, 4):
            raise InputError(
                f"Sample {sample.id!r} has an image of shape {tuple(sample.image.shape)}; expected "
                "(channel, *spatial) with two or three spatial axes."
            )
        if batch and (len(batch) == batch_size or sample.image.shape != batch[0].image.shape):
            yield tuple(batch)
            batch = []
        batch.append(sample)
    if batch:
        yield tuple(batch)


def _read_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, fetching each next one in a thread while the caller uses the last."""
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pladapt-read") as executor:
        future = executor.submit(next, iterator, end)
        while (item := future.result()) is not end:
            future = executor.submit(next, iterator, end)
            yield item  # type: ignore[misc]  # next() returns an item or the sentinel
