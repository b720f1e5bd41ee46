"""A retrainer in a loop of torch's own, for those who want to see every step."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pladapt.torch import DiceBCELoss, load_module, module_of, save_module, with_module

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pladapt import PseudoLabelled
    from pladapt.typing import Predictor, Samples


@dataclass(frozen=True)
class PlainLoop:
    """Trains the predictor's network on, a sample at a time, with Adam.

    Args:
        epochs: How often each sample is seen.
        learning_rate: Of Adam.
        seed: Of the order of the samples, and of dropout.
    """

    epochs: int = 5
    learning_rate: float = 1e-3
    seed: int = 0

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return a new predictor; the one given is not changed."""
        module = copy.deepcopy(module_of(predictor)).train()
        optimizer = torch.optim.Adam(module.parameters(), lr=self.learning_rate)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            for _ in range(self.epochs):
                for index in torch.randperm(len(labels)).tolist():
                    optimizer.zero_grad()
                    _loss(module, labels[index]).backward()
                    optimizer.step()
        return with_module(predictor, module.eval())

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write a predictor into a run folder, so that an interrupted run can go on."""
        save_module(module_of(predictor), folder / "model.safetensors")

    def load(self, predictor: Predictor, folder: Path, /) -> Predictor:
        """Read back what `save` wrote; ``predictor`` is the one that `retrain` was given."""
        module = copy.deepcopy(module_of(predictor))
        load_module(module, folder / "model.safetensors")
        return with_module(predictor, module.eval())


def _loss(module: nn.Module, sample: PseudoLabelled) -> torch.Tensor:
    device = next(module.parameters()).device
    image = torch.as_tensor(sample.image, dtype=torch.float32, device=device)
    label = torch.as_tensor(sample.label, device=device)
    # the loss leaves out the pixels whose label is 255
    loss: torch.Tensor = DiceBCELoss()(module(image[None]), label[None])
    return loss
