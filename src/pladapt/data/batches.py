"""Batches of samples of one shape, read while the caller works on the one before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pladapt.errors import InputError
from pladapt.functional.arrays import stack
from pladapt.types import LabelledSample, PseudoLabelled, Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from pladapt.types import Array


S = TypeVar("S", Sample, LabelledSample)


Q = TypeVar("Q", Sample, LabelledSample, PseudoLabelled)


T = TypeVar("T")


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
