"""Samples as batches of tensors, shuffled the same way whenever the seed is the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, Sampler

from pladapt.errors import InputError
from pladapt.torch.devices import as_tensor
from pladapt.torch.processes import rank_and_size
from pladapt.types import IGNORE, LabelledSample, PseudoLabelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pladapt.types import Samples

Taught: TypeAlias = LabelledSample | PseudoLabelled
"""A sample that can teach: with a true mask or with a pseudo-label."""

Pair: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""An image ``(C, *S)`` float32 and its mask ``(*S)`` uint8, or a batch of them.

In place of a mask there may be a soft one, ``(K + 1, *S)`` float32: the probability of each of the
K channels, then the pixel's weight in [0, 1]. A batch with one of them has no other.
"""


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
        soft: Whether to heed the probabilities and weights of pseudo-labels.
        prepare: What is done to the values of images ``(B, C, *S)``.
        crop: The largest spatial shape that is trained on, or None: of a larger image a crop,
            drawn anew in each epoch, every second one around a pixel of the foreground.
    """

    def __init__(
        self,
        samples: Samples[Taught],
        channels: int,
        *,
        soft: bool = False,
        prepare: Callable[[torch.Tensor], torch.Tensor] | None = None,
        crop: tuple[int, ...] | None = None,
    ) -> None:
        self._samples, self._channels, self._soft = samples, channels, soft
        self._prepare, self._crop = prepare, crop
        self._highest = max(1, channels - 1)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, key: int | Drawn) -> Pair:
        index, seed = (key.place, key.seed) if isinstance(key, Drawn) else (key, None)
        sample = self._samples[index]
        image, mask = as_tensor(sample.image).float(), self._mask(sample)
        if self._prepare is not None:
            image = self._prepare(image[None])[0]
        part = None if seed is None else self._part(mask, seed)
        if self._soft and isinstance(sample, PseudoLabelled):
            mask = self._softened(sample, mask)
        if part is None:
            return image, mask
        whole = slice(None)  # the channels, and those of a soft mask
        own = part if mask.ndim == len(part) else (whole, *part)
        return image[whole, *part], mask[own]

    def _part(self, mask: torch.Tensor, seed: int) -> tuple[slice, ...] | None:
        """Draw the part of an image that is trained on."""
        if self._crop is None:
            return None
        rng = np.random.default_rng(seed)
        shape, crop = np.array(mask.shape), np.array(self._crop)
        room = np.maximum(shape - crop, 0)
        start = rng.integers(0, room + 1)
        foreground = torch.nonzero((mask > 0) & (mask != IGNORE))
        if rng.random() < 0.5 and len(foreground):  # noqa: PLR2004 - every second one
            pixel = foreground[int(rng.integers(len(foreground)))].numpy()
            start = np.clip(pixel - crop // 2, 0, room)
        ends = start + np.minimum(crop, shape)
        return tuple(slice(int(one), int(end)) for one, end in zip(start, ends, strict=True))

    def _softened(self, sample: PseudoLabelled, mask: torch.Tensor) -> torch.Tensor:
        expected = {"probabilities": (self._channels, *mask.shape), "weight": tuple(mask.shape)}
        given: dict[str, torch.Tensor] = {}
        for name, shape in expected.items():
            if (array := getattr(sample, name)) is not None:
                given[name] = as_tensor(array)
                if tuple(given[name].shape) != shape:
                    raise InputError(
                        f"The {name} of sample {sample.id!r} have shape "
                        f"{tuple(given[name].shape)}; expected {shape}."
                    )
        return softened(mask, self._channels, **given) if given else mask

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


def softened(
    mask: torch.Tensor,
    channels: int,
    *,
    probabilities: torch.Tensor | None = None,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a mask as a soft one, ``(K + 1, *S)`` float32.

    Args:
        mask: ``(*S)`` uint8; a pixel of 255 has weight 0.
        channels: K, the channels of the module's logits.
        probabilities: ``(K, *S)``; the mask's own where there are none.
        weight: ``(*S)``; 1 where there is none.
    """
    counts = mask != IGNORE
    if probabilities is None:
        classes = mask.masked_fill(~counts, 0).long()
        probabilities = F.one_hot(classes, max(2, channels)).movedim(-1, 0)[-channels:]
    weight = counts.float() if weight is None else weight * counts
    return torch.cat([probabilities.float(), weight.float()[None]])


class Drawn(NamedTuple):
    """The place of a sample, and the seed of what is drawn for it."""

    place: int
    seed: int


class EpochShuffle(Sampler[Drawn]):
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

    def __iter__(self) -> Iterator[Drawn]:
        seed = epoch_seed(self._seed, self._first + self._epoch, "shuffle")
        generator = torch.Generator().manual_seed(seed)
        for index in torch.randperm(self._length, generator=generator).tolist():
            yield Drawn(index, seed + index)

    def set_epoch(self, epoch: int) -> None:
        """Take note of the epoch; Lightning calls this before each."""
        self._epoch = epoch


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """Return a seed of one epoch and one purpose.

    Seeding anew in each epoch leaves no state of a generator to keep where training is continued.
    """
    words = [seed, epoch, *purpose.encode()]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


class Shares(BatchSampler):
    """This process's part of each batch, where several train together.

    The samples of a batch are dealt out in their order, as evenly as they can be. Of a last batch
    with fewer samples than processes, those that would have none take the first one.
    """

    def __iter__(self) -> Iterator[list[Any]]:
        rank, size = rank_and_size()
        for batch in super().__iter__():
            own = batch[rank * len(batch) // size : (rank + 1) * len(batch) // size]
            yield own or batch[:1]


def training_batches(
    pairs: Pairs, batch_size: int, *, seed: int, first: int, workers: int
) -> DataLoader[Pair]:
    """Return shuffled batches, or this process's part of each.

    A last batch of a single sample is left out: batch normalisation cannot learn from it.
    """
    order = EpochShuffle(len(pairs), seed, first)
    single = _last_is_single(len(pairs), batch_size)
    own = Shares(order, batch_size, drop_last=single)  # type: ignore[arg-type]  # of any items
    return _loader(pairs, own, workers)


def steps_in_epoch(samples: int, batch_size: int) -> int:
    """Return how many training batches an epoch has, of at least one sample."""
    return math.ceil(samples / batch_size) - _last_is_single(samples, batch_size)


def _last_is_single(samples: int, batch_size: int) -> bool:
    return samples > batch_size and samples % batch_size == 1


def validation_batches(pairs: Pairs, batch_size: int, *, workers: int) -> DataLoader[Pair]:
    """Return batches in the samples' order.

    Where several processes train, each has every n-th batch; or all of them, where there are fewer
    batches than processes.
    """
    batches = [*BatchSampler(range(len(pairs)), batch_size, drop_last=False)]
    rank, size = rank_and_size()
    return _loader(pairs, batches[rank::size] or batches, workers)


def _loader(
    pairs: Pairs, batches: Sampler[list[Any]] | Sequence[list[int]], workers: int
) -> DataLoader[Pair]:
    return DataLoader(
        pairs,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=stacked,
        generator=torch.Generator(),  # else a loader draws its workers' seed from the global one
    )


def stacked(pairs: Sequence[Pair]) -> Pair:
    """Join images of several sizes: the smaller ones get a border that does not teach."""
    shapes = sorted({tuple(image.shape) for image, _ in pairs})
    if len({(len(shape), shape[0]) for shape in shapes}) > 1:
        raise InputError(
            f"A batch has images of shapes {shapes}; they must have the same channels and as many "
            "axes."
        )
    images, masks = zip(*pairs, strict=True)
    soft = next((len(mask) for mask in masks if mask.is_floating_point()), None)
    if soft is not None:
        masks = tuple(m if m.is_floating_point() else softened(m, soft - 1) for m in masks)
    if len(shapes) > 1:
        shape = [max(lengths) for lengths in zip(*shapes, strict=True)][1:]
        images = tuple(_bordered(image, shape) for image in images)
        masks = tuple(_unknown_beyond(mask, shape) for mask in masks)
    return torch.stack(images), torch.stack(masks)


def _bordered(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return an image ``(C, *S)`` of a larger shape, its last pixels repeated."""
    for axis, length in enumerate(shape, start=1):
        inside = torch.arange(length, device=image.device).clamp_max(image.shape[axis] - 1)
        image = image.index_select(axis, inside)
    return image


def _unknown_beyond(mask: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return a mask of a larger shape, beyond which nothing counts: 255, or a weight of 0."""
    own = mask.shape[-len(shape) :]
    margins = [m for want, n in zip(shape, own, strict=True) for m in (want - n, 0)][::-1]
    return F.pad(mask, margins, value=0 if mask.is_floating_point() else IGNORE)
