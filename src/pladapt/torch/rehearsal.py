"""What would end a training at its first step, tried before it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.torch.calling import called, explained
from pladapt.torch.devices import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.types import Array


def check_loss(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor
) -> None:
    """Refuse a loss that does not take what training gives it.

    Args:
        loss: As in `TrainingOptions`.
        logits: Of one image, ``(1, K, *S)`` on the CPU.

    Raises:
        InputError: It fails on logits and a mask of zeros and ones, or gives no scalar.
    """
    logits = logits.detach().clone().requires_grad_()
    mask = (torch.arange(logits[:, 0].numel()) % 2).reshape(logits[:, 0].shape).to(torch.uint8)
    own, error = copy.deepcopy(loss), None
    if isinstance(own, nn.Module):
        own = own.cpu()
    try:
        given: Any = own(logits, mask)
    except Exception as raised:  # noqa: BLE001 - of any kind, from a user's own function
        given, error = f"the error {type(raised).__name__}: {raised}".partition("\n")[0], raised
    if isinstance(given, torch.Tensor) and given.ndim == 0 and given.requires_grad:
        return
    made = f"shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else str(given)
    name = getattr(loss, "__name__", type(loss).__name__)
    raise InputError(
        f"The loss {name} was given logits {tuple(logits.shape)} and a mask {tuple(mask.shape)} of "
        f"uint8, and gave {made.rstrip('.')}; expected a scalar tensor to learn from. Give "
        "pladapt.torch.DiceBCELoss(), or a function of both that brings the mask into the form "
        "that the loss takes, and leaves out the pixels of 255."
    ) from error


def check_batch_norm(module: nn.Module, count: int, image: Array) -> None:
    """Refuse a batch of one image where batch normalisation would see a single value a channel.

    Args:
        module: What is to be trained; a copy is called, in training mode.
        count: How many images a batch has at the most.
        image: One of them, ``(C, *S)``.

    Raises:
        InputError: Torch refuses to train so.
    """
    if count > 1:
        return
    network = copy.deepcopy(module).cpu().float().train()
    batch = as_tensor(image).float()[None].cpu()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), explained(batch):
            called(network, batch)
    except InputError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            "A batch has one image, of which a batch normalisation behind a pooling sees a single "
            "value per channel, and that has no spread to learn from. Give batch_size=2 or more "
            "and at least two samples, or keep the statistics: freeze_batch_norm=True."
        ) from error
