"""Batches of samples of one shape, read while the caller works on the one before."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import repeat
from math import prod
from typing import TYPE_CHECKING, Final, TypeVar

from pladapt.data.prefetch import prefetch
from pladapt.errors import InputError
from pladapt.functional.arrays import stack
from pladapt.types import LabelledSample, PseudoLabelled, Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from pladapt.types import Array

_MOST_VALUES: Final = 2**26
"""How many values a batch holds at most, of several images: 256 MiB of float32."""

Q = TypeVar("Q", Sample, LabelledSample, PseudoLabelled)


def batches(samples: Iterable[Q], *, batch_size: int) -> Generator[tuple[tuple[Q, ...], Array]]:
    """Yield consecutive samples of one shape with their stacked images ``(B, C, *S)``.

    A batch of large images has fewer, so that memory does not grow with the number: together they
    hold 2^26 values or fewer, or one image alone more.

    The next batch is read and stacked in a thread while the caller works on this one.

    Raises:
        InputError: ``batch_size`` below 1, or an image of the wrong rank.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    parts = _batches(samples, batch_size)
    stacked = ((batch, stack([sample.image for sample in batch])) for batch in parts)
    with closing(prefetch(repeat(partial(next, stacked, None)), threads=1)) as each:
        for result in each:
            if (item := result()) is None:
                return
            yield item


def _batches(samples: Iterable[Q], batch_size: int) -> Iterator[tuple[Q, ...]]:
    """Yield consecutive samples whose images have one shape."""
    batch: list[Q] = []
    for sample in samples:
        check_rank(sample)
        size = min(batch_size, max(1, _MOST_VALUES // max(1, prod(sample.image.shape))))
        if batch and (len(batch) >= size or sample.image.shape != batch[0].image.shape):
            yield tuple(batch)
            batch = []
        batch.append(sample)
    if batch:
        yield tuple(batch)


def check_rank(sample: Sample | LabelledSample | PseudoLabelled) -> None:
    """Refuse an image of the wrong rank.

    Raises:
        InputError: It is not ``(C, *S)`` with two or three spatial axes.
    """
    if not hasattr(sample.image, "ndim"):
        raise InputError(
            f"Sample {sample.id!r} has an image that is a {type(sample.image).__name__}; expected "
            "a floating-point array (channel, *spatial): numpy.asarray(image, numpy.float32)."
        )
    if sample.image.ndim not in (3, 4):
        raise InputError(
            f"Sample {sample.id!r} has an image of shape {tuple(sample.image.shape)}; expected "
            "(channel, *spatial) with two or three spatial axes."
        )
