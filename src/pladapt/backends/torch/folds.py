"""A predictor of several trainings of one network, which can show each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from pladapt.backends.torch.devices import as_tensor
from pladapt.backends.torch.outputs import Folds
from pladapt.backends.torch.predictor import TorchPredictor

if TYPE_CHECKING:
    from torch import nn

    from pladapt.types import Array


@dataclass(frozen=True, eq=False)
class FoldsPredictor(TorchPredictor):
    """Predicts with the mean logits of several networks, which are its members.

    It is a `TorchPredictor` whose module is `Folds`, so that all of them are trained together;
    `predictor_of` makes it.
    """

    def predict_members(self, images: Array, /) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the networks' probabilities ``(M, B, K, *S)``."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        networks: Any = self.module.networks
        each = [TorchPredictor(**(options | {"module": network})) for network in networks]
        return torch.stack([predictor.predict(images) for predictor in each])

    def average(self, members: Array, /) -> torch.Tensor:
        """Return the probabilities ``(B, K, *S)`` of the members' mean logits."""
        given = as_tensor(members)
        tiny = torch.finfo(given.dtype).tiny
        logs = given.clamp_min(tiny).log().mean(0)
        if given.shape[2] > 1:
            return logs.softmax(1)
        return (logs - (1 - given).clamp_min(tiny).log().mean(0)).sigmoid()


def predictor_of(module: nn.Module, device: str = "auto", **options: Any) -> TorchPredictor:
    """Return the predictor of a module, whose networks are its members if it has several.

    Args:
        module: Gives logits, or what ``activation`` says.
        device: As for `TorchPredictor`, and so are the options.
        **options: The same.

    Raises:
        DeviceError: As for `TorchPredictor`.
        InputError: The same.
    """
    kind = FoldsPredictor if isinstance(module, Folds) else TorchPredictor
    return kind(module, device, **options)
