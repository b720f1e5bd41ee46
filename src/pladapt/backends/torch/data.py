"""Samples as batches of tensors, shuffled the same way whenever the seed is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from pladapt.backends.torch.devices import as_tensor
from pladapt.errors import InputError
from pladapt.types import IGNORE, LabelledSample, PseudoLabelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt.types import Samples

Taught: TypeAlias = LabelledSample | PseudoLabelled
"""A sample that can teach: with a true mask or with a pseudo-label."""

Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""An image ``(C, *S)`` float32 and its mask ``(*S)`` uint8, or a batch of them."""


T = TypeVar("T")


def joined(*samples: Samples[T]) -> Samples[T]:
    """Return a lazy view of several sets of samples, one after the other."""
    # a ConcatDataset asks for no more than Samples have
    return ConcatDataset([cast("Dataset[T]", part) for part in samples])


class Pairs(Dataset[Pair]):
    """The images and masks of samples, as tensors.

    Args:
        samples: Labelled or pseudo-labelled samples.
        channels: The channels of the module's logits, which bound the masks' classes.
    """

    def __init__(self, samples: Samples[Taught], channels: int) -> None:
        self._samples = samples
        self._highest = max(1, channels - 1)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Pair:
        sample = self._samples[index]
        return as_tensor(sample.image).float(), self._mask(sample)

    def _mask(self, sample: Taught) -> torch.Tensor:
        mask = as_tensor(sample.label if isinstance(sample, PseudoLabelled) else sample.mask)
        if mask.is_floating_point() or mask.is_complex():
            raise InputError(
                f"The mask of sample {sample.id!r} is {mask.dtype}; expected integers."
            )
        values = mask.to(torch.int64)
        wrong = (values < 0) | ((values > self._highest) & (values != IGNORE))
        if wrong.any():
            raise InputError(
                f"The mask of sample {sample.id!r} has the value {int(values[wrong][0])}; the "
                f"module knows the classes 0 to {self._highest}, and {IGNORE} is for pixels to "
                "ignore. Train a module with more channels, or merge the classes."
            )
        return values.to(torch.uint8)


class EpochShuffle(Sampler[int]):
    """Every index once, in an order that depends on the seed and the epoch alone.

    Args:
        length: The number of indices.
        seed: The training's seed.
        first: The epoch that comes first, counted from 0, where a training is continued.
    """

    def __init__(self, length: int, seed: int, first: int = 0) -> None:
        self._length, self._seed, self._first, self._epoch = length, seed, first, 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(
            epoch_seed(self._seed, self._first + self._epoch, "shuffle")
        )
        yield from torch.randperm(self._length, generator=generator).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Take note of the epoch; Lightning calls this before each."""
        self._epoch = epoch


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """Return a seed of one epoch and one purpose.

    Seeding anew in each epoch leaves no state of a generator to keep where training is continued.
    """
    words = [seed, epoch, *purpose.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def training_batches(
    pairs: Pairs, batch_size: int, *, seed: int, first: int, workers: int
) -> DataLoader[Pair]:
    """Return shuffled batches.

    A last batch of a single sample is left out: batch normalisation cannot learn from it.
    """
    return _loader(
        pairs,
        batch_size,
        workers,
        sampler=EpochShuffle(len(pairs), seed, first),
        drop_last=len(pairs) > batch_size and len(pairs) % batch_size == 1,
    )


def validation_batches(pairs: Pairs, batch_size: int, *, workers: int) -> DataLoader[Pair]:
    """Return batches in the samples' order."""
    return _loader(pairs, batch_size, workers)


def _loader(
    pairs: Pairs,
    batch_size: int,
    workers: int,
    *,
    sampler: EpochShuffle | None = None,
    drop_last: bool = False,
) -> DataLoader[Pair]:
    return DataLoader(
        pairs,
        batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=_stack,
        generator=torch.Generator(),  # else a loader draws its workers' seed from the global one
    )


def _stack(pairs: Sequence[Pair]) -> Pair:
    shapes = sorted({tuple(image.shape) for image, _ in pairs})
    if len(shapes) > 1:
        raise InputError(f"A batch has images of shapes {shapes}; they must have one shape.")
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])
