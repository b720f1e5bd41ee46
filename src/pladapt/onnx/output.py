"""What an ONNX file gives, made into probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from array_api_compat import array_namespace

from pladapt.errors import InputError, OutputError

if TYPE_CHECKING:
    from pladapt.types import Array

Activation: TypeAlias = Literal["auto", "none", "sigmoid", "softmax"]
"""What makes probabilities of the output; ``auto`` is a sigmoid for one channel, else a softmax."""

_ACTIVATIONS: Final = ("auto", "none", "sigmoid", "softmax")
_ROUNDING: Final = 0.05  # of half precision and of 8 bits, over several channels
_SPREAD: Final = 0.5  # over which probabilities spread where something is marked
_ONE_AT_A_TIME: Final = (
    "Take one of them at a time: channel=0 (--option channel=0), and so on; channels count from 0."
)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How an output is read.

    Args:
        activation: What makes probabilities of it.
        channel: The only channel that counts, from 0; None for all.

    Raises:
        InputError: The activation is unknown, or the channel no whole number of at least 0.
    """

    activation: Activation = "none"
    channel: int | None = None

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            raise InputError(f"activation is {self.activation!r}; give one of {_ACTIVATIONS}.")
        whole = isinstance(self.channel, int) and not isinstance(self.channel, bool)
        if self.channel is not None and not (whole and self.channel >= 0):
            raise InputError(f"channel is {self.channel!r}; give a whole number of at least 0.")

    def probabilities(self, output: Array) -> Array:
        """Return the probabilities of an output ``(B, K, *S)``, or of its one channel.

        Raises:
            OutputError: There is no such channel, or several channels have a sigmoid each.
        """
        channels = output.shape[1]
        if self.channel is not None and self.channel >= channels:
            raise OutputError(
                f"channel is {self.channel} and the output has {channels}; give one from 0 to "
                f"{channels - 1}."
            )
        if self.activation == "sigmoid" and channels > 1 and self.channel is None:
            raise OutputError(
                f"activation is 'sigmoid' and the output has {channels} channels, of classes that "
                f"overlap. {_ONE_AT_A_TIME}"
            )
        made = self._activated(output)
        return made if self.channel is None else made[:, self.channel : self.channel + 1, ...]

    def describe(self) -> dict[str, Any]:
        """Return what differs from probabilities of all channels."""
        return {} if self.channel is None else {"channel": self.channel}

    def _activated(self, output: Array) -> Array:
        if self.activation == "none":
            return output
        one = output.shape[1] == 1 if self.activation == "auto" else self.activation == "sigmoid"
        return sigmoid(output) if one else softmax(output)


def check_probabilities(output: Array) -> None:
    """Refuse an output that is taken for probabilities and is none.

    Args:
        output: ``(B, K, *S)``.

    Raises:
        OutputError: A value is outside [0, 1], or several channels do not sum to 1.
    """
    xp = array_namespace(output)
    least, largest = float(xp.min(output)), float(xp.max(output))
    if least < -_ROUNDING or largest > 1 + _ROUNDING:
        raise OutputError(
            f"The model's output reaches from {least:.3g} to {largest:.3g} and is taken for "
            "probabilities, which lie in [0, 1]. If these are logits, give activation='auto' "
            "(--option activation=auto)."
        )
    if output.shape[1] == 1:
        return
    furthest = float(xp.max(xp.abs(xp.sum(output, axis=1) - 1)))
    if furthest > _ROUNDING:
        raise OutputError(
            f"The {output.shape[1]} channels of the model's output do not sum to 1 but differ from "
            f"it by up to {furthest:.3g}: its classes overlap, and none is the background. "
            f"{_ONE_AT_A_TIME}"
        )


def check_logits(output: Array) -> None:
    """Refuse an output that is said to be logits and has the looks of probabilities.

    Args:
        output: ``(B, K, *S)``.

    Raises:
        OutputError: All lie in [0, 1], and spread over more than half of it.
    """
    xp = array_namespace(output)
    least, largest = float(xp.min(output)), float(xp.max(output))
    if least >= 0 and largest <= 1 and largest - least > _SPREAD:
        raise OutputError(
            f"activation is 'auto' and the model's output lies between {least:.3g} and "
            f"{largest:.3g} everywhere: these are probabilities already. Give activation='none' "
            "(--option activation=none); or, if they are logits after all, 'sigmoid' or 'softmax'."
        )


def sigmoid(logits: Array) -> Array:
    """Return the sigmoid of each value."""
    return (array_namespace(logits).tanh(logits / 2) + 1) / 2  # does not overflow


def softmax(logits: Array) -> Array:
    """Return the softmax over the channels."""
    xp = array_namespace(logits)
    odds = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    return odds / xp.sum(odds, axis=1, keepdims=True)
