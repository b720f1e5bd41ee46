"""Calling a network, so that what it does not take is said in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from pladapt.errors import InputError, OutputError, PladaptError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_OF_IMAGES: Final[tuple[type[BaseException], ...]] = (
    NotImplementedError,  # the module has no forward
    PladaptError,
    torch.OutOfMemoryError,
    *([torch.AcceleratorError] if hasattr(torch, "AcceleratorError") else []),
)


def check_module(module: Any) -> None:
    """Refuse what is no torch module, and one without weights in memory.

    Raises:
        InputError: It is a path, a state dict, a class or another predictor, say; or on the device
            ``meta``.
    """
    if not isinstance(module, nn.Module):
        given = f"the class {module.__name__}" if isinstance(module, type) else f"{module!r:.60}"
        raise InputError(
            f"The module is {given}, of type {type(module).__name__}; expected a torch.nn.Module. "
            "Make the network, or load it: pladapt.torch.load_network('package.module:function', "
            "'weights.pt').predictor()."
        )
    if any(parameter.is_meta for parameter in module.parameters()):
        raise InputError(
            f"The {type(module).__name__} is on the device 'meta', where weights have no values. "
            "Make it on 'cpu', and load its weights."
        )


def computed_in(network: nn.Module) -> torch.dtype:
    """Return the type of a network's weights, which its input must have."""
    types = (part.dtype for part in network.parameters() if part.is_floating_point())
    return next(types, torch.float32)


def called(network: nn.Module, images: torch.Tensor) -> Any:
    """Return what a network gives for images of any precision; a tensor in float32 at least."""
    dtype = computed_in(network)
    if dtype == torch.float32 or torch.is_autocast_enabled(images.device.type):
        return network(images)
    given = network(images.to(dtype))
    return given.float() if isinstance(given, torch.Tensor) else given


@contextmanager
def explained(images: torch.Tensor) -> Iterator[None]:
    """Say of torch's errors inside the block that they are about these images.

    Raises:
        InputError: In place of them.
    """
    try:
        yield
    except _NOT_OF_IMAGES:
        raise
    except (RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"The network cannot be used on images of shape {tuple(images.shape)} (batch, channel, "
            f"*spatial): {said}. Give images with the channels and axes that it takes, and of a "
            "size that it takes or has them padded to: load_network(...).preparing("
            "multiple_of=32), or --prepare multiple_of=32."
        ) from error


def check_given(module: nn.Module, images: torch.Tensor, probabilities: torch.Tensor) -> None:
    """Refuse NaN, and say where it came from.

    Raises:
        OutputError: The network has weights that are no numbers, or makes NaN of numbers.
        InputError: The images have pixels that are none.
    """
    if not bool(probabilities.isnan().any()):
        return
    for name, weight in module.state_dict().items():
        if isinstance(weight, torch.Tensor) and not bool(weight.isfinite().all()):
            raise OutputError(
                f"The weights {name!r} hold NaN or infinity, so that the network gives NaN. Load "
                "others: the training that made them has failed."
            )
    if not bool(images.isfinite().all()):
        raise InputError(
            "The images hold NaN or infinity, and the network makes NaN of them. Give numbers, "
            "such as numpy.nan_to_num(image), or leave the image out."
        )
    raise InputError(
        f"The network gives NaN for images with values from {float(images.min()):.4g} to "
        f"{float(images.max()):.4g}. Look at their units: a window or scale may be missing "
        "(--window, --prepare scale=...). In half precision, try full: amp='off'."
    )
