"""A stack of predictors as one torch module, for a file that predicts as the stack does."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.predictors.ensembles import FlipPredictor
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.torch.folds import FoldsPredictor
from pladapt.torch.outputs import FromProbabilities
from pladapt.torch.predictor import TorchPredictor

if TYPE_CHECKING:
    from pladapt.typing import Predictor


def module_of_stack(predictor: Predictor) -> nn.Module:
    """Return a module that gives the logits of what a stack of predictors predicts.

    A shift of all samples alike goes in, around a `FlipPredictor` or none, around a
    `TorchPredictor`.

    Args:
        predictor: What `pladapt.torch.load_predictor` returned, say.

    Raises:
        InputError: A part of the stack cannot go into one module; says which.
    """
    if isinstance(predictor, LogitShiftPredictor):
        if predictor.groups:
            raise _left_out("the shifts of single groups, which a file of one model cannot tell")
        return Shifted(module_of_stack(predictor.predictor), predictor.shift)
    if isinstance(predictor, FlipPredictor):
        inner = predictor.predictor
        if not isinstance(inner, TorchPredictor) or isinstance(inner, FoldsPredictor):
            raise _left_out(f"mirror images around a {type(inner).__name__}")
        return FromProbabilities(Flipped(inner.module, predictor.axes, combine=predictor.combine))
    if isinstance(predictor, TorchPredictor) and not isinstance(predictor, FoldsPredictor):
        return predictor.module
    raise _left_out(f"what {type(predictor).__name__} does")


class Shifted(nn.Module):
    """Adds a number to the foreground's logits.

    Args:
        network: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        shift: What is added.
    """

    def __init__(self, network: nn.Module, shift: float) -> None:
        super().__init__()
        self.network, self.shift = network, shift

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to the shifted logits."""
        logits: torch.Tensor = self.network(images)
        if logits.shape[1] == 1:
            return logits + self.shift
        return torch.cat([logits[:, :1], logits[:, 1:] + self.shift], 1)


class Flipped(nn.Module):
    """Averages the probabilities of an image and its mirror images.

    Args:
        network: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        axes: As for `pladapt.FlipPredictor`, and so is ``combine``.
        combine: The same.
    """

    def __init__(self, network: nn.Module, axes: tuple[int, ...], *, combine: bool) -> None:
        super().__init__()
        self.network = network
        largest = len(axes) if combine else 1
        self.mirrors = [each for size in range(largest + 1) for each in combinations(axes, size)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images to the mean probabilities."""
        parts = [self._mirrored(images, axes) for axes in self.mirrors]
        return torch.stack(parts).mean(0)

    def _mirrored(self, images: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        logits: torch.Tensor = self.network(images.flip(axes) if axes else images)
        made = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
        return made.flip(axes) if axes else made


def _left_out(what: str) -> InputError:
    return InputError(
        f"The predictor cannot be exported as it is: the file would lose {what}. Expected a shift "
        "of all samples, mirror images, or both, around one network; export the network alone with "
        "its name, and predict with `pladapt predict` where the rest counts."
    )
