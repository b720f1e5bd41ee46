"""Lazy views of samples: nothing is read until a sample is asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from pladapt.errors import LabelledTargetError
from pladapt.types import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pladapt.types import Sample, Samples

T = TypeVar("T")
U = TypeVar("U")
N = TypeVar("N", bound="_Named")


class _Named(Protocol):
    """What has an id."""

    @property
    def id(self) -> str: ...


class Mapped(Generic[T, U]):
    """Samples passed through a function, each when it is asked for.

    Args:
        samples: What is looked at.
        function: Makes a sample of this view from one of ``samples``.
    """

    def __init__(self, samples: Samples[T], function: Callable[[T], U]) -> None:
        self._samples, self._function = samples, function

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> U:
        return self._function(self._samples[range(len(self))[index]])


class Subset(Generic[T]):
    """The samples at some positions of others, in the order of the positions."""

    def __init__(self, samples: Samples[T], positions: Sequence[int]) -> None:
        self._samples, self._positions = samples, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> T:
        return self._samples[self._positions[index]]


def subsample(samples: Samples[N], max_samples: int) -> Samples[N]:
    """View at most so many of the samples: those whose ids have the lowest SHA-256.

    Which ones depends on the ids alone. Where there are more, each is read once to know its id.
    """
    if len(samples) <= max_samples:
        return samples
    keys = [hashlib.sha256(samples[i].id.encode()).digest() for i in range(len(samples))]
    return Subset(samples, sorted(sorted(range(len(keys)), key=keys.__getitem__)[:max_samples]))


def draw_places(id_: str, inside: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Draw at most so many of the places that are true, by the SHA-256 of a sample's id."""
    places = np.flatnonzero(inside)
    if len(places) <= count:
        return places
    seed = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    return np.sort(np.random.default_rng(seed).choice(places, count, replace=False))


def check_unlabelled(sample: object) -> None:
    """Refuse a sample with a mask where only images may be.

    Raises:
        LabelledTargetError: It has a mask.
    """
    if isinstance(sample, LabelledSample) or hasattr(sample, "mask"):
        raise LabelledTargetError(
            f"The target sample {getattr(sample, 'id', sample)!r} has a mask; adaptation accepts "
            "only unlabelled samples. Give pladapt.unlabelled(samples), and the labelled ones to "
            "an evaluator."
        )


def checked(samples: Samples[Sample]) -> Samples[Sample]:
    """View samples of which each that has a mask is refused, as by `check_unlabelled`."""
    return Mapped(samples, _checked)


def _checked(sample: Sample) -> Sample:
    check_unlabelled(sample)
    return sample


def unlabelled(samples: Samples[LabelledSample]) -> Samples[Sample]:
    """View labelled samples without their masks, as adaptation wants them."""
    return Mapped(samples, LabelledSample.unlabelled)
