"""Batch normalisation's statistics, measured anew on the target."""

from __future__ import annotations

import copy
import hashlib
import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pladapt.data.batches import batches
from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.torch.calling import called
from pladapt.torch.devices import as_tensor, resolve_device
from pladapt.torch.wrapping import module_of, with_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from pladapt.types import Progress, Sample, Samples
    from pladapt.typing import Predictor

P = TypeVar("P", bound="Predictor")


def recalibrate_batch_norm(
    predictor: P,
    samples: Samples[Sample],
    *,
    momentum: float = 1.0,
    batch_size: int = 32,
    device: str = "auto",
    progress: Progress | None = None,
) -> P:
    """Return a predictor whose batch normalisation has the target's statistics.

    The images go through the module in batches, each normalised by its own statistics (Li et al.
    2016, AdaBN; Nado et al. 2020). What each layer of batch normalisation is given is pooled over
    all pixels of all images: the mean, and the unbiased variance, which by the law of total
    variance is that within the batches and that between them. Nothing is learnt, and no other
    parameter or buffer changes. A pixel of a layer that is used twice counts twice.

    The batches are drawn by the SHA-256 of the ids, among images of one shape, so that the order
    of the samples changes nothing and a batch mixes the patients.

    Args:
        predictor: A predictor with a module; neither is changed.
        samples: Unlabelled samples of the target with unique ids; each is read twice.
        momentum: The target's weight in [0, 1]: the new statistics are ``(1 - momentum) * source +
            momentum * target`` (Schneider et al. 2020).
        batch_size: At most so many images are normalised together, at least 1; the batches are
            of nearly one size. It is a choice about the statistics, not about speed: what a layer
            is given depends on the batch statistics of the layers before it. With all images in
            one batch they are the target's own; larger is better as far as memory allows.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        progress: Called after each batch.

    Raises:
        LabelledTargetError: A sample has a mask.
        InputError: There is no sample, the predictor has no module or the module no batch
            normalisation with statistics, an option is out of range, or a layer is given a single
            value per channel, which has no variance.
        DeviceError: The device is not there.
    """
    if not 0 <= momentum <= 1:
        raise InputError(f"momentum is {momentum}; the target's weight must lie between 0 and 1.")
    on = resolve_device(device)
    module = copy.deepcopy(module_of(predictor)).eval().to(on)
    layers = batch_norms(module)
    if not layers:
        raise InputError(
            f"{type(module).__name__} has no batch normalisation that keeps statistics, so there "
            "is nothing to recalibrate; give a module with batch normalisation, or leave this out."
        )
    with torch.no_grad(), _watched(layers) as moments:
        for images in mixed_batches(samples, batch_size, progress, "recalibrate"):
            called(module, images.to(on, torch.float32))
    for layer, seen in zip(layers, moments, strict=True):
        seen.mix_into(layer, momentum)
    return with_module(predictor, module.cpu())


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """Return the layers of batch normalisation that keep statistics, each once."""
    layers = (part for part in module.modules() if isinstance(part, _BatchNorm))
    return [layer for layer in layers if layer.running_mean is not None]


@dataclass
class _Moments:
    """The pooled moments of what a layer is given, by channel, in float64.

    Batches are joined as by Chan, Golub and LeVeque (1983), so that nothing cancels.

    Args:
        count: How many values per channel.
        mean: ``(C,)``, their mean.
        squares: ``(C,)``, the sum of their squared deviations from it.
    """

    count: int = 0
    mean: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, count: int, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Add a batch of so many values per channel, with their mean and unbiased variance."""
        squares = variance.double() * (count - 1)
        total = self.count + count
        change = mean.double() - self.mean
        self.squares = self.squares + squares + change**2 * (self.count * count / total)
        self.mean = self.mean + change * (count / total)
        self.count = total

    def mix_into(self, layer: _BatchNorm, momentum: float) -> None:
        """Take the momentum of these moments into a layer; one that was never used stays."""
        if self.count:
            variance = self.squares / (self.count - 1)
            for name, seen in (("running_mean", self.mean), ("running_var", variance)):
                kept = layer.get_buffer(name)
                kept.copy_((1 - momentum) * kept.double() + momentum * seen)


@contextmanager
def _watched(layers: Sequence[_BatchNorm]) -> Iterator[list[_Moments]]:
    """Have the layers use their batch's statistics, and note these."""
    moments = [_Moments() for _ in layers]
    with ExitStack() as stack:
        for layer, seen in zip(layers, moments, strict=True):
            stack.enter_context(_noting(layer, seen))
        yield moments


@contextmanager
def _noting(layer: _BatchNorm, moments: _Moments) -> Iterator[None]:
    """Read the statistics that a layer computes anyway: with this momentum it keeps no others."""
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)}
    momentum, layer.momentum, layer.training = layer.momentum, 1.0, True

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], _made: torch.Tensor) -> None:
        count = inputs[0].numel() // inputs[0].shape[1]
        moments.add(count, layer.get_buffer("running_mean"), layer.get_buffer("running_var"))

    handles = [layer.register_forward_pre_hook(_check), layer.register_forward_hook(note)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        layer.momentum, layer.training = momentum, False
        for name, buffer in buffers.items():
            layer.get_buffer(name).copy_(buffer)


def _check(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    shape = tuple(inputs[0].shape)
    if math.prod(shape) == shape[1]:
        raise InputError(
            f"A layer of batch normalisation is given {shape}: one value per channel has no "
            "variance. Give more samples, or a batch_size of at least 2 that leaves no batch of "
            "one image."
        )


def mixed_batches(
    samples: Samples[Sample], batch_size: int, progress: Progress | None, stage: str
) -> Iterator[torch.Tensor]:
    """Yield the images ``(B, C, *S)``, in batches that the samples' order does not change.

    They are of nearly one size, at most ``batch_size``, and drawn by the SHA-256 of the ids among
    images of one shape.

    Raises:
        LabelledTargetError: A sample has a mask.
        InputError: There is no sample, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1.")
    done, order = 0, _canonical(samples)
    size = math.ceil(len(order) / math.ceil(len(order) / batch_size))  # no small batch at the end
    for batch, images in batches((samples[i] for i in order), batch_size=size):
        yield as_tensor(images)
        done += len(batch)
        if progress is not None:
            progress(stage, done, len(order))


def _canonical(samples: Samples[Sample]) -> list[int]:
    keys: list[tuple[tuple[int, ...], str]] = []
    for index in range(len(samples)):
        sample = samples[index]
        check_unlabelled(sample)
        digest = hashlib.sha256(sample.id.encode()).hexdigest()
        keys.append((tuple(sample.image.shape), digest))
    if not keys:
        raise InputError("There is no sample of the target; give at least one.")
    return sorted(range(len(keys)), key=keys.__getitem__)
