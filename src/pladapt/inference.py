"""From samples to predictions and scores, a batch at a time, reading while the network computes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from array_api_compat import array_namespace

from pladapt.arrays import stack, to_numpy
from pladapt.averaging import of_groups
from pladapt.certainty import hard_labels
from pladapt.errors import InputError
from pladapt.overlap import count_rows
from pladapt.protocols import MemberPredictor
from pladapt.types import LabelledSample, Prediction, PseudoLabelled, Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.certainty import Cutoff
    from pladapt.protocols import Predictor, Selector
    from pladapt.types import Array, Samples

S = TypeVar("S", Sample, LabelledSample)
Q = TypeVar("Q", Sample, LabelledSample, PseudoLabelled)
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
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        yield batch, predict(predictor, batch, images)


def batches(samples: Iterable[Q], *, batch_size: int) -> Generator[tuple[tuple[Q, ...], Array]]:
    """Yield consecutive samples of one shape with their stacked images ``(B, C, *S)``.

    The next batch is read and stacked in a thread while the caller works on this one.

    Raises:
        InputError: ``batch_size`` below 1, or an image of the wrong rank.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    parts = _batches(samples, batch_size)
    yield from _read_ahead((batch, stack([sample.image for sample in batch])) for batch in parts)


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


def truth_rows(
    batch: Sequence[LabelledSample], prediction: Prediction, cutoff: Cutoff
) -> Iterator[dict[str, object]]:
    """Compare a batch's predicted masks with the true ones.

    Args:
        batch: The samples.
        prediction: Theirs.
        cutoff: The probability above which a pixel is foreground, as for `pladapt.hard_labels`.

    Returns:
        The rows of `pladapt.overlap.count_rows`.
    """
    predicted = to_numpy(hard_labels(prediction.probabilities, cutoff))
    truth = np.stack([to_numpy(sample.mask) for sample in batch])
    return count_rows(batch, predicted, truth, max(1, prediction.probabilities.shape[1] - 1))


def score(selector: Selector, batch: Sequence[Sample], prediction: Prediction) -> pa.Table:
    """Score a batch's prediction: ``id``, ``group`` and the selector's columns.

    Raises:
        InputError: The probabilities are none, or the selector returned other columns than
            `pladapt.Selector` asks for.
    """
    try:
        scored = selector.score(prediction)
    except InputError as error:
        error.add_note(f"The batch holds {', '.join(prediction.ids)}.")
        raise
    columns = {name: to_numpy(column) for name, column in scored.items()}
    _check_columns(selector, columns, len(batch))
    keys: dict[str, Any] = {
        "id": pa.array([sample.id for sample in batch], pa.string()),
        "group": pa.array([sample.group for sample in batch], pa.string()),
    }
    return pa.table(keys | columns)


def _check_columns(selector: Selector, columns: Mapping[str, NDArray[Any]], size: int) -> None:
    returned = f"{type(selector).__name__}.score returned"
    for name, column in columns.items():
        if column.shape != (size,):
            raise InputError(
                f"{returned} {name!r} of shape {column.shape} for {size} samples; expected "
                f"({size},)."
            )
    if "score" not in columns or columns.keys() & {"id", "group", "sha256"}:
        raise InputError(
            f"{returned} {list(columns)}; expected 'score', and not 'id', 'group' or 'sha256'."
        )


def _batches(samples: Iterable[Q], batch_size: int) -> Iterator[tuple[Q, ...]]:
    """Yield consecutive samples whose images have one shape."""
    batch: list[Q] = []
    for sample in samples:
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
