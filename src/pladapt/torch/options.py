"""How to train."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.functional.numbers import real, whole
from pladapt.runs.manifest import describe
from pladapt.torch.losses import DiceBCELoss
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pladapt.torch.augmentation import Augmentation
    from pladapt.torch.devices import Amp


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the defaults are the paper's.

    Args:
        epochs: At most so many epochs.
        min_steps: At least so many steps of the optimiser: where the epochs hold fewer, there are
            more of them, so that a small training set is gone through more often.
        batch_size: Samples in a batch. A last training batch of a single sample is left out.
        optimizer: Makes the optimiser of the parameters.
        loss: Maps logits ``(B, K, *S)`` and masks ``(B, *S)`` uint8, 255 for pixels to ignore,
            to a scalar. Where a label is soft or its pixels have weights it is given a soft mask,
            ``(B, K + 1, *S)`` float32: the probability of each channel, then the weights.
            Validation is on hard labels.
        augmentation: Changes each training batch, or None.
        patience: Training stops after so many epochs without a lower validation loss; of no
            account where nothing validates.
        keep: Which epoch's weights are kept: that of the highest ``val_dsc``, that of the lowest
            ``val_loss``, or the ``last``. The first of equals.
        ema: The decay of an exponential moving average, in [0, 1), or None. After each step the
            average of the parameters and floating-point buffers (batch normalisation's statistics
            among them) becomes ``decay * average + (1 - decay) * current``; other buffers are
            copied. The average is what is validated, kept and returned (Tarvainen and Valpola
            2017). It begins with the first step's weights, and at step n + 1 the decay is at most
            (1 + n) / (10 + n), so that a short training leaves its beginning behind.
        seed: Of the order of the samples, the augmentation and dropout.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        workers: Processes that load samples; 0 loads them in this one.
        amp: Mixed precision, as in `TorchPredictor`: ``off``, ``auto``, ``float16`` or
            ``bfloat16``.
        gradient_clip: The largest norm of the gradient, or None.
        freeze_batch_norm: Whether batch normalisation keeps its statistics; its scales and
            shifts are still learnt.

    Raises:
        InputError: A value is out of range.
    """

    epochs: int = 100
    min_steps: int = 0
    batch_size: int = 8
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = field(
        default=functools.partial(torch.optim.Adam, lr=1e-3)
    )
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = field(default_factory=DiceBCELoss)
    augmentation: Augmentation | None = None
    patience: int = 5
    keep: Literal["val_dsc", "val_loss", "last"] = "val_dsc"
    seed: int = 0
    device: str = "auto"
    workers: int = 0
    amp: Amp = "off"
    gradient_clip: float | None = None
    freeze_batch_norm: bool = False
    ema: float | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("min_steps", 0),
            ("batch_size", 1),
            ("patience", 1),
            ("seed", 0),
            ("workers", 0),
        ):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.keep not in ("val_dsc", "val_loss", "last"):
            raise InputError(f"keep is {self.keep!r}; give 'val_dsc', 'val_loss' or 'last'.")
        for name in ("ema", "gradient_clip"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, real(name, getattr(self, name)))
        if self.ema is not None and not 0 <= self.ema < 1:
            raise InputError(f"ema is {self.ema!r}; give a decay from 0 and below 1, or None.")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise InputError(f"gradient_clip is {self.gradient_clip!r}; give above 0, or None.")
        if not callable(self.optimizer) or not callable(self.loss):
            raise InputError(
                f"optimizer is {self.optimizer!r} and loss is {self.loss!r}; both are called. Give "
                "what makes an optimizer of the parameters, such as functools.partial("
                "torch.optim.Adam, lr=1e-3), and a loss such as DiceBCELoss()."
            )

    def describe(self) -> dict[str, Any]:
        """Return what the trained weights depend on, for a manifest."""
        named = {k: v for k, v in vars(self).items() if k not in ("device", "workers")}
        weights = (
            {"loss_sha256": state_sha256(self.loss)} if isinstance(self.loss, nn.Module) else {}
        )
        return {k: describe(v) for k, v in named.items()} | weights
