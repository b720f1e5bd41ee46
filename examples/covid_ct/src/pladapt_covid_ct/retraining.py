"""What the settings ask for, as parts of the library: training, selecting and retraining."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.torch import FineTune, RandomAffine, TorchPredictor, TrainingOptions, with_module
from pladapt.torch.resume import TrainingState, load_state, save_state
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import nn

    from pladapt import PseudoLabelled
    from pladapt.functional.certainty import Cutoff
    from pladapt.torch import ModulePredictor
    from pladapt.typing import Predictor, Samples, Selector
    from pladapt_covid_ct.settings import Settings


def training_options(settings: Settings) -> TrainingOptions:
    """Return the paper's training: Adam, the sum of Dice and BCE, zoom, shift, flip and shear."""
    return TrainingOptions(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=partial(torch.optim.Adam, lr=settings.learning_rate),
        augmentation=RandomAffine(
            zoom=settings.zoom, shift=settings.shift, shear=settings.shear, flip=settings.flip_axes
        ),
        patience=settings.patience,
        ema=settings.ema,
        seed=settings.seed,
        device=settings.device,
    )


def predictor(settings: Settings, module: nn.Module, exported: Path) -> ModulePredictor:
    """Return what predicts with a module.

    Args:
        settings: The choices.
        module: The network, which gives logits.
        exported: A folder for the ONNX files, where ONNX Runtime predicts.
    """
    if settings.backend == "torch":
        return TorchPredictor(module, device=settings.device)
    from pladapt.onnx import OnnxTrainable  # noqa: PLC0415 - an extra of its own

    shape = (1, 1, settings.size, settings.size)
    options = {"device": settings.device}
    return OnnxTrainable(module, shape, cache=exported, fixed_size=True, options=options)


def selector(settings: Settings, cutoff: Cutoff, slices: int) -> Selector:
    """Return the selector of a target with so many slices."""
    return CertaintyIndexSelector(
        cutoff=cutoff,
        min_pixels=settings.scaled_min_pixels,
        ci_limit=settings.limit,
        quantile=settings.quantile,
        top_k=settings.most_kept(slices),
    )


@dataclass(frozen=True, slots=True)
class ContinuedAdam:
    """Makes Adam as it was at the end of an earlier training of the same parameters.

    Args:
        path: What `save_optimizer` wrote.
    """

    path: Path

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimiser with its moments and learning rate."""
        optimizer = torch.optim.Adam(parameters)
        optimizer.load_state_dict(load_state(self.path, {}).optimizer or {})
        return optimizer

    def describe(self) -> dict[str, str]:
        """Return what the optimiser's steps depend on."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"type": f"{type(self).__module__}.{type(self).__qualname__}", "sha256": digest}


def save_optimizer(state: dict[str, Any], path: Path) -> None:
    """Write an optimiser's state, for `ContinuedAdam`."""
    save_state(TrainingState(optimizer=state), path, {})


@dataclass(frozen=True, eq=False, kw_only=True)
class Restart(FineTune):
    """Fine-tunes a module of its own rather than the predictor's.

    Args:
        initial: The module to start from, of the predictor's architecture.
    """

    initial: nn.Module

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return a new predictor around the trained copy of ``initial``; see `FineTune`."""
        return super().retrain(with_module(predictor, self.initial), labels)

    def describe(self) -> dict[str, Any]:
        """Return what the retrained weights depend on beside labels."""
        return super().describe() | {"initial": state_sha256(self.initial)}
