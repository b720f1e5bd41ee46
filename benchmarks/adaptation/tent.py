"""Tent, for the study alone: test-time entropy minimisation of batch normalisation."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.torch.devices import resolve_device
from pladapt.torch.quiet import isolated
from pladapt.torch.recalibration import batch_norms, mixed_batches, recalibrate_batch_norm
from pladapt.torch.wrapping import module_of, with_module
from pladapt.typing import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.nn.modules.batchnorm import _BatchNorm

    from pladapt.types import Progress, Sample, Samples

P = TypeVar("P", bound=Predictor)


def tent(
    predictor: P,
    samples: Samples[Sample],
    *,
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    device: str = "auto",
    progress: Progress | None = None,
) -> P:
    """Adapt as Tent does (Wang et al. 2021): one epoch over the target, and no label.

    Each batch is normalised by its own statistics, and a step of Adam lowers the mean entropy of
    its pixels by batch normalisation's scales and shifts alone. Tent predicts with the statistics
    of whatever batch is predicted; so that the result is a predictor whose answer depends on the
    image alone, it gets those of the whole target here, as `recalibrate_batch_norm` measures them.

    Args:
        predictor: A predictor with a module; neither is changed.
        samples: Unlabelled samples of the target with unique ids; their order changes nothing.
        learning_rate: Adam's; the default is the paper's.
        batch_size: At most so many images are normalised together.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        progress: Called after each batch.

    Raises:
        InputError: As for `recalibrate_batch_norm`; or nothing can be learnt.
    """
    on = resolve_device(device)
    module = copy.deepcopy(module_of(predictor)).eval().to(on)
    layers = batch_norms(module)
    learnt = [p for layer in layers for p in layer.parameters() if p.requires_grad]
    if not learnt:
        raise InputError("The module has no scale or shift of batch normalisation to be learnt.")
    optimizer = torch.optim.Adam(learnt, lr=learning_rate)
    with isolated(), _normalised_by_batch(layers):
        for images in mixed_batches(samples, batch_size, progress, "tent"):
            entropy = mean_entropy(module(images.to(on, torch.float32)))
            for parameter, gradient in zip(
                learnt, torch.autograd.grad(entropy, learnt), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
    optimizer.zero_grad()
    return recalibrate_batch_norm(
        with_module(predictor, module.cpu()), samples, batch_size=batch_size, device=device
    )


@contextmanager
def _normalised_by_batch(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Have layers in evaluation mode use their batch's statistics, and keep their own."""
    for layer in layers:
        layer.training, layer.track_running_stats = True, False
    try:
        yield
    finally:
        for layer in layers:
            layer.training, layer.track_running_stats = False, True


def mean_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean Shannon entropy of the pixels of logits ``(B, K, *S)``, in nats."""
    if logits.shape[1] == 1:
        logits = torch.cat([logits, torch.zeros_like(logits)], 1)
    return -(logits.softmax(1) * nn.functional.log_softmax(logits, 1)).sum(1).mean()
