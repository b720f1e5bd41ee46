"""What a network gives, made into logits: probabilities, one class of several, a part of a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import torch
from torch import nn
from torch.nn.functional import interpolate

from pladapt.errors import InputError, OutputError
from pladapt.torch.preparation import Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

Activation: TypeAlias = Literal["auto", "none", "sigmoid", "softmax"]
"""What makes probabilities of a network's output.

``auto`` is a sigmoid for one channel, else a softmax; ``none``: it gives probabilities itself.
"""

ACTIVATIONS: Final = ("auto", "none", "sigmoid", "softmax")

_ROUNDING: Final = 0.05  # half precision sums to 1 as nearly as that; overlapping classes do not
_SPREAD: Final = 0.5  # over which probabilities spread where something is marked
_NEAR: Final = 0.1  # to 0 or 1, as most probabilities are, and few logits
_MANY: Final = 4096  # values, all in [0, 1], that no network's logits would be
_LEAST: Final = 1e-7  # the nearest that a probability in float32 comes to 0 or 1


class Folds(nn.Module):
    """Several networks of one architecture as one, whose logits are the mean of theirs.

    Args:
        networks: The trainings of several folds, say.
    """

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the mean logits ``(B, K, *S)``."""
        return torch.stack([network(images) for network in self.networks]).mean(0)


class FromProbabilities(nn.Module):
    """A network that gives probabilities, as one that gives logits.

    Its logits are those of which a sigmoid, for one channel, or else a softmax makes the
    probabilities again; to be trained like any other.

    Args:
        network: Maps images ``(B, C, *S)`` to probabilities ``(B, K, *S)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to logits ``(B, K, *S)``."""
        given: torch.Tensor = self.network(images).float().clamp(_LEAST, 1 - _LEAST)
        return given.logit() if given.shape[1] == 1 else given.log()


class OneChannel(nn.Module):
    """One class or region of a network that gives several, as a network of one channel.

    Args:
        network: Maps images ``(B, C, *S)`` to ``(B, K, *S)``.
        channel: Which of the K, from 0.
        activation: ``sigmoid`` where the channels are logits of regions that may overlap,
            ``softmax`` where they are those of classes that exclude each other, ``none`` where
            they are probabilities.

    Raises:
        InputError: When it is called: the network has no such channel.
    """

    def __init__(
        self, network: nn.Module, channel: int, activation: Literal["none", "sigmoid", "softmax"]
    ) -> None:
        super().__init__()
        self.network, self.channel, self.activation = network, channel, activation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the channel's logits ``(B, 1, *S)``."""
        given: torch.Tensor = self.network(images)
        channels = int(given.shape[1])
        if not 0 <= self.channel < channels:
            raise InputError(
                f"The channel is {self.channel} and the network gives {channels}; "
                f"give one from 0 to {channels - 1}."
            )
        own = given[:, self.channel : self.channel + 1]
        if self.activation == "none":
            return own.float().clamp(_LEAST, 1 - _LEAST).logit()
        if self.activation == "sigmoid":
            return own
        others = torch.cat([given[:, : self.channel], given[:, self.channel + 1 :]], 1)
        return own - others.logsumexp(1, keepdim=True)


class Selected(nn.Module):
    """A network that returns several things, as one that returns a single one of them.

    Args:
        network: Returns a mapping, a sequence, or an object with attributes.
        key: Where the logits are: a key, a place, or an attribute's name.
        resize: Whether the logits are resized to the images' size, linearly.
    """

    def __init__(self, network: nn.Module, key: str | int, *, resize: bool = False) -> None:
        super().__init__()
        self.network, self.key, self.resize = network, key, resize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to logits ``(B, K, *S)``."""
        logits: torch.Tensor = self.network(images)[self.key]
        if not self.resize:
            return logits
        mode = "bilinear" if images.ndim == 4 else "trilinear"  # noqa: PLR2004 - (B, C, H, W)
        return interpolate(logits, size=images.shape[2:], mode=mode, align_corners=False)


def each(module: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Wrap a module, or each of the networks that it is the mean of, behind its preparation."""
    if isinstance(module, Prepared):
        return module.around(each(module.network, wrap))
    if isinstance(module, Folds):
        return Folds([wrap(network) for network in module.networks])
    return wrap(module)


def members_of(module: nn.Module) -> list[nn.Module]:
    """Return the networks that a module is the mean of, each behind its preparation."""
    if isinstance(module, Prepared):
        return [module.around(network) for network in members_of(module.network)]
    return list(module.networks) if isinstance(module, Folds) else [module]


def _innermost(module: nn.Module) -> nn.Module:
    """Return the first of the networks themselves."""
    while isinstance(module, Prepared | Folds):
        module = module.network if isinstance(module, Prepared) else module.networks[0]
    return module


def as_logits(module: nn.Module) -> nn.Module:
    """Return a module that gives probabilities as one that gives logits."""
    known = isinstance(_innermost(module), FromProbabilities)
    return module if known else each(module, FromProbabilities)


def given_by(module: nn.Module, images: torch.Tensor) -> torch.Tensor | None:
    """Return what a network itself gives, where `as_logits` was told that it is probabilities."""
    inner = _innermost(module)
    if not isinstance(inner, FromProbabilities):
        return None
    network = module.around(inner.network) if isinstance(module, Prepared) else inner.network
    given: torch.Tensor = network(images)
    return given


def look_like_logits(output: torch.Tensor) -> bool:
    """Refuse probabilities where logits are expected.

    Args:
        output: What the network gives for real images, ``(B, K, *S)``.

    Returns:
        Whether these are logits for sure; false where all lie in [0, 1] and tell too little.

    Raises:
        OutputError: All lie in [0, 1] and spread over more than half of it, and they are many, or
            most of them near its ends; or their channels sum to 1.
    """
    least, largest = float(output.min()), float(output.max())
    channels = int(output.shape[1])
    if not (least >= 0 and largest <= 1):
        return True
    exclusive = channels > 1 and _sums_to_one(output)
    if not exclusive and not (largest - least > _SPREAD and _telling(output)):
        return False
    told = f"The network's output lies between {least:.3g} and {largest:.3g} everywhere"
    if channels > 1 and not exclusive:
        raise OutputError(
            f"{told} and its {channels} channels do not sum to 1: these are no logits but "
            f"probabilities of classes that overlap. {ONE_AT_A_TIME.format(how='none')}"
        )
    kind, also = ("softmax", " and sums to 1") if exclusive else ("sigmoid", "")
    raise OutputError(
        f"{told}{also}: these are probabilities already, and a {kind} would be taken of them a "
        "second time. Give activation='none' (--activation none); or, if they are logits after "
        f"all, activation='{kind}'."
    )


def check_probabilities(given: torch.Tensor) -> None:
    """Refuse what is said to be probabilities and is not.

    Args:
        given: ``(B, K, *S)``.

    Raises:
        OutputError: A value is outside [0, 1], or several channels do not sum to 1.
    """
    least, largest = float(given.min()), float(given.max())
    if not (least >= -_ROUNDING and largest <= 1 + _ROUNDING):
        raise OutputError(
            f"activation is 'none' and the network's output reaches from {least:.3g} to "
            f"{largest:.3g}; probabilities lie in [0, 1]. Give activation='auto' for logits."
        )
    if given.shape[1] > 1 and not _sums_to_one(given):
        raise OutputError(
            f"activation is 'none' and the network's {given.shape[1]} channels do not sum to 1: "
            f"its classes overlap. {ONE_AT_A_TIME.format(how='none')}"
        )


def _telling(output: torch.Tensor) -> bool:
    ends = ((output < _NEAR) | (output > 1 - _NEAR)).float().mean()
    return output.numel() >= _MANY or float(ends) > 0.5  # noqa: PLR2004 - most


def _sums_to_one(values: torch.Tensor) -> bool:
    return bool((values.float().sum(1) - 1).abs().max() <= _ROUNDING)


ONE_AT_A_TIME: Final = (
    "Take one of them at a time: load_network(...).reading(activation='{how}', channel=0), or "
    "--activation {how} --channel 0, and so on; channels count from 0."
)
"""What to do about overlapping classes; ``how`` is the activation."""
