"""MC-dropout."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pladapt.errors import InputError
from pladapt.predictors.ensembles import averaged
from pladapt.predictors.prediction import WrapperPredictor, predict_batch
from pladapt.torch.data import epoch_seed
from pladapt.torch.devices import as_tensor
from pladapt.torch.wrapping import module_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pladapt.types import Batch, Prediction

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True, eq=False)
class DropoutPredictor(WrapperPredictor):
    """Averages the predictions of a module with some of its units dropped (MC-dropout).

    Each member is one subsample network, the same for all images: the masks of its dropout layers
    are drawn by seed, member and layer alone. So a prediction depends neither on chance nor on its
    batch. All else is as in evaluation, batch normalisation included. Source: Y. Gal and Z.
    Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.

    Args:
        predictor: A `ModulePredictor` that computes with its module, or wraps one that does; the
            module has layers of ``nn.Dropout``, ``Dropout1d``, ``Dropout2d`` or ``Dropout3d``.
            Dropout that a module computes without such a layer stays off.
        members: How many subsample networks, at least 1.
        seed: Of the masks.

    Raises:
        InputError: There are no members; the predictor has no module, or that no dropout; or, when
            it predicts, the predictor does not compute with its module.
    """

    members: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise InputError(f"members is {self.members}; it must be at least 1.")
        if not self._layers():
            raise InputError(
                "The module has no layer nn.Dropout, Dropout1d, Dropout2d or Dropout3d with a "
                "probability between 0 and 1; give one that was trained with dropout, or average "
                "flips or an ensemble."
            )

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the mean over the thinned networks."""
        return averaged(batch, [self._member(batch, index) for index in range(self.members)])

    def _member(self, batch: Batch, index: int) -> torch.Tensor:
        with _dropping(self._layers(), self.seed, index) as used:
            members = as_tensor(predict_batch(self.predictor, batch).views)
        if not used:
            raise InputError(
                f"{type(self.predictor).__name__} did not compute with its module's dropout "
                "layers; give a TorchPredictor around the module."
            )
        return members

    def _layers(self) -> dict[str, nn.Module]:
        return {
            name: layer
            for name, layer in module_of(self.predictor).named_modules()
            if isinstance(layer, _DROPOUTS) and 0 < layer.p < 1
        }


@contextmanager
def _dropping(layers: dict[str, nn.Module], seed: int, member: int) -> Iterator[set[str]]:
    """Let the layers drop one member's units, although in evaluation; yield who was used."""
    used: set[str] = set()

    def hook(name: str) -> Any:
        def drop(layer: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
            used.add(name)
            return output * _mask(layer, output, epoch_seed(seed, member, name))

        return drop

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield used
    finally:
        for handle in handles:
            handle.remove()


def _mask(layer: Any, values: torch.Tensor, seed: int) -> torch.Tensor:
    """Return what a dropout layer multiplies ``(B, C, *S)`` with, the same for every sample."""
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
    shape = values.shape[1:]
    if not isinstance(layer, nn.Dropout):  # it drops whole channels
        shape = torch.Size([shape[0], *[1] * (len(shape) - 1)])
    probability = float(layer.p)
    kept = torch.rand(shape, generator=generator) >= probability
    return (kept / (1 - probability)).to(values)
