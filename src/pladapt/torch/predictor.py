"""A predictor around any module that gives logits."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import torch

from pladapt.errors import InputError, OutputError
from pladapt.functional.numbers import whole
from pladapt.torch.calling import called, check_given, check_module, explained
from pladapt.torch.devices import as_tensor, autocast_type, resolve_device
from pladapt.torch.outputs import (
    ACTIVATIONS,
    ONE_AT_A_TIME,
    as_logits,
    check_probabilities,
    given_by,
    look_like_logits,
)
from pladapt.torch.preparation import Prepared
from pladapt.torch.storage import state_sha256
from pladapt.typing import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from pladapt.torch.devices import Amp
    from pladapt.torch.outputs import Activation
    from pladapt.types import Array


@runtime_checkable
class ModulePredictor(Predictor, Protocol):
    """**Protocol:** a predictor whose module can be retrained."""

    @property
    def module(self) -> nn.Module:
        """The module, which gives logits ``(B, K, *S)`` for images ``(B, C, *S)``."""

    def with_module(self, module: nn.Module, /) -> Self:
        """Return the same predictor around another module."""


@dataclass(frozen=True, eq=False)
class TorchPredictor:
    """Predicts with a module that gives logits.

    The module is moved to the device and otherwise left as it is: while `predict` runs it is in
    evaluation mode, and afterwards each submodule is in the mode it had.

    With ``activation="auto"`` the first images show whether the module gives logits at all:
    probabilities are refused.

    Args:
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        batch_size: Images that go through the module at once; None for all that are given.
        activation: What makes probabilities of the output: ``sigmoid`` for one channel,
            ``softmax`` for two or more, or ``auto``. ``none`` where the module ends in one of them;
            ``module`` is then a `FromProbabilities` around it.
        amp: Mixed precision: ``auto`` (on CUDA alone), ``off``, ``float16`` or ``bfloat16``.
        channels_last: Whether the module computes with the channels last in memory, which is
            quicker for convolutions on recent GPUs.
        origin: What made the module, where `pladapt.torch.load_network` did, so that
            `save_predictor` can note it.

    Raises:
        DeviceError: The device is not there, or does not compute in the precision asked for.
        InputError: An option is not one of those above.
    """

    module: nn.Module
    device: str = "auto"
    batch_size: int | None = None
    activation: Activation = "auto"
    amp: Amp = "auto"
    channels_last: bool = False
    origin: Mapping[str, Any] | None = field(default=None, repr=False)
    _seen: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        check_module(self.module)
        if self.batch_size is not None:
            object.__setattr__(self, "batch_size", whole("batch_size", self.batch_size, 1))
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation is {self.activation!r}; give one of {ACTIVATIONS}.")
        if self.activation == "none":
            object.__setattr__(self, "module", as_logits(self.module))
        autocast_type(self.amp, resolve_device(self.device))

    def predict(self, images: Array, /) -> torch.Tensor:
        """Return the probabilities ``(B, K, *S)``, float32 on the predictor's device.

        Args:
            images: ``(B, C, *S)``, floating point, of any array library.

        Raises:
            InputError: The images' shape or type is not that, or the module does not give logits
                of the images' spatial shape.
            OutputError: It gives probabilities where logits are expected, or, with
                ``activation="none"``, the other way round; or classes that overlap.
        """
        device = resolve_device(self.device)
        batch = _checked(as_tensor(images))
        self.module.to(device)
        with explained(batch), torch.inference_mode(), evaluating(self.module):
            parts = [self._probabilities(part, device) for part in self._parts(batch)]
            return parts[0] if len(parts) == 1 else torch.cat(parts)

    def with_module(self, module: nn.Module, /) -> Self:
        """Return a predictor with the same options around another module.

        That one's output is not looked at: training may bring any logits about.
        """
        made = replace(self, module=module)
        made._seen.add("output")  # noqa: SLF001 - of the same class
        return made

    def describe(self) -> dict[str, Any]:
        """Return what the probabilities depend on, for a run's manifest.

        The size of the batches is not part of it, so that a run may go on with another.
        """
        device = resolve_device(self.device)
        dtype = autocast_type(self.amp, device)
        module, prepared = self.module, dict[str, Any]()
        if isinstance(module, Prepared):
            prepared["preparation"] = module.preparation.describe()
        return {
            "module": f"{type(self.module).__module__}.{type(self.module).__qualname__}",
            "sha256": state_sha256(self.module),
            "activation": self.activation,
            "device": device.type,
            "precision": str(dtype or torch.float32).removeprefix("torch."),
            **prepared,
        }

    def _parts(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(batch, self.batch_size) if self.batch_size else (batch,)

    def _probabilities(self, images: torch.Tensor, device: torch.device) -> torch.Tensor:
        images = images.to(device, torch.float32, non_blocking=True)
        if self.channels_last:
            last = torch.channels_last if images.ndim == 4 else torch.channels_last_3d  # noqa: PLR2004 - (B, C, H, W)
            images = images.contiguous(memory_format=last)
        dtype = autocast_type(self.amp, device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            logits = called(self.module, images)
        check_logits(logits, images)
        if "output" not in self._seen and self._looked_at(images, logits):
            self._seen.add("output")
        probabilities = self._activate(logits.float())
        check_given(self.module, images, probabilities)
        return probabilities

    def _looked_at(self, images: torch.Tensor, logits: torch.Tensor) -> bool:
        """Refuse output that is not what the activation says; return whether that is settled."""
        given = given_by(self.module, images)
        if given is not None:
            check_probabilities(given)
        return given is not None or self.activation != "auto" or look_like_logits(logits)

    def _activate(self, logits: torch.Tensor) -> torch.Tensor:
        channels = logits.shape[1]
        if self.activation == "sigmoid" and channels > 1:
            raise OutputError(
                f"activation is 'sigmoid' and the module gives {channels} channels; probabilities "
                "are one channel, or several of classes that exclude each other. "
                f"{ONE_AT_A_TIME.format(how='sigmoid')}"
            )
        if self.activation == "softmax" and channels == 1:
            raise InputError(
                "activation is 'softmax' and the module gives 1 channels, of which a softmax is 1 "
                "everywhere; give activation='auto'."
            )
        return logits.sigmoid() if channels == 1 else logits.softmax(1)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode; each submodule gets its former mode back afterwards."""
    learning = [part for part in module.modules() if part.training]
    if learning:
        module.eval()  # which a module may override
    try:
        yield
    finally:
        for part in learning:
            part.training = True


def check_logits(logits: Any, images: torch.Tensor) -> None:
    """Refuse what is not logits ``(B, K, *S)`` for images ``(B, C, *S)``.

    Raises:
        InputError: The module returned something else.
    """
    if not isinstance(logits, torch.Tensor):
        raise InputError(
            f"The module returned {type(logits).__name__}; it must return a tensor of logits. "
            "Wrap it in a module that returns that part alone."
        )
    expected = (images.shape[0], "channel", *images.shape[2:])
    if logits.ndim != images.ndim or (logits.shape[0], "channel", *logits.shape[2:]) != expected:
        raise InputError(
            f"The module returned shape {tuple(logits.shape)} for images of shape "
            f"{tuple(images.shape)}; expected logits (batch, channel, *spatial) with the images' "
            "batch and spatial shape."
        )


def _checked(images: torch.Tensor) -> torch.Tensor:
    if images.ndim not in (4, 5) or not images.is_floating_point():
        raise InputError(
            f"Images have shape {tuple(images.shape)} and type {images.dtype}; expected floating "
            "point (batch, channel, *spatial) with two or three spatial axes. Of whole numbers "
            "make floating point, in the units that the network was trained on: "
            "image.astype(numpy.float32)."
        )
    if images.numel() == 0:
        raise InputError(
            f"Images have shape {tuple(images.shape)}, and so no pixel; give at least one image of "
            "at least one pixel."
        )
    return images
