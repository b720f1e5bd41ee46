"""A predictor of several trainings of one network, which can show each."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from pladapt.torch.outputs import members_of
from pladapt.torch.predictor import TorchPredictor
from pladapt.types import Prediction

if TYPE_CHECKING:
    from torch import nn

    from pladapt.types import Batch


@dataclass(frozen=True, eq=False)
class FoldsPredictor(TorchPredictor):
    """Predicts with the mean logits of several networks, which are its members.

    It is a `TorchPredictor` whose module is `Folds`, so that all of them are trained together;
    `predictor_of` makes it.
    """

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the probabilities of the mean logits, and each network's as the members."""
        each = [self._of(network) for network in members_of(self.module)]
        members = torch.stack([predictor.predict(batch.images) for predictor in each])
        return Prediction(batch.ids, _of_mean_logits(members), members)

    def _of(self, network: nn.Module) -> TorchPredictor:
        """Return a predictor of one network, whose output is not looked at a second time."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        made = TorchPredictor(**(options | {"module": network}))
        object.__setattr__(made, "_seen", self._seen)
        return made


def _of_mean_logits(members: torch.Tensor) -> torch.Tensor:
    """Return the probabilities ``(B, K, *S)`` of the mean of the logits of ``(M, B, K, *S)``."""
    tiny = torch.finfo(members.dtype).tiny
    logs = members.clamp_min(tiny).log().mean(0)
    if members.shape[2] > 1:
        return logs.softmax(1)
    return (logs - (1 - members).clamp_min(tiny).log().mean(0)).sigmoid()


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
    kind = FoldsPredictor if len(members_of(module)) > 1 else TorchPredictor
    return kind(module, device, **options)
