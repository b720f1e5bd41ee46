"""What is done to the values of images before a network, step by step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import torch

from pladapt.errors import DataError, InputError
from pladapt.torch.importing import imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PerChannel: TypeAlias = "float | tuple[float | None, ...]"
"""A number for all channels, or one for each."""

# of torch 2.6 or later; before, what is compiled is taken for exported
is_exporting: Final[Callable[[], bool]] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)
"""Whether a module is being exported now."""

_LARGEST: Final = 3e38
_BYTES: Final = 255.0


class Step(Protocol):
    """**Protocol:** changes the values of images, each by itself; a frozen dataclass."""

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return changed images ``(B, C', *S)`` of images ``(B, C, *S)`` float32."""


@dataclass(frozen=True)
class Clip:
    """Cuts values off.

    Args:
        low: The least, for all channels or each; None for none.
        high: The largest.
    """

    low: PerChannel
    high: PerChannel

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the images between the two."""
        low = _column(self.low, images, "low", -_LARGEST)
        return images.maximum(low).minimum(_column(self.high, images, "high", _LARGEST))


@dataclass(frozen=True)
class Normalise:
    """Takes a mean off, and divides by a standard deviation.

    Args:
        mean: For all channels or each.
        std: The same, above 0.

    Raises:
        InputError: ``std`` is not above 0.
    """

    mean: PerChannel
    std: PerChannel

    def __post_init__(self) -> None:
        values = self.std if isinstance(self.std, tuple) else (self.std,)
        if not all(value is None or value > 0 for value in values):
            raise InputError(f"std is {self.std}; it must be above 0.")

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the images on the new scale."""
        mean, std = _column(self.mean, images, "mean", 0), _column(self.std, images, "std", 1)
        return (images - mean) / std


@dataclass(frozen=True)
class NormaliseEach:
    """Normalises each image by the mean and standard deviation of its own values.

    Args:
        where: Of which pixels: ``all``; ``box``, inside the smallest box around what is not 0;
            ``nonzero``, where the channel is not 0; or ``foreground``, where any channel is not 0.
            For the last two the others stay as they are.
        channels: Which, from 0; None for all.
        together: Whether all channels have one mean and one standard deviation.
    """

    where: Literal["all", "box", "nonzero", "foreground"] = "all"
    channels: tuple[int, ...] | None = None
    together: bool = False

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the images, where they are normalised of mean 0 and standard deviation 1."""
        axes = tuple(range(1 if self.together else 2, images.ndim))
        inside = None if self.where == "all" else _inside(images, self.where)
        mean, variance = _moments(images, inside, axes)
        made = (images - mean) / variance.sqrt().clamp_min(1e-8)
        if inside is not None and self.where != "box":
            made = torch.where(inside, made, images)
        return _in_channels(made, images, self.channels)


@dataclass(frozen=True)
class RescaleEach:
    """Brings each image's least and greatest value to two given ones.

    Args:
        low: What its least value becomes.
        high: What its greatest becomes.
        channels: Which, from 0; None for all.
        together: Whether all channels have one least and one greatest value.
    """

    low: float = 0.0
    high: float = 1.0
    channels: tuple[int, ...] | None = None
    together: bool = False

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the images between the two values."""
        axes = tuple(range(1 if self.together else 2, images.ndim))
        least, largest = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        unit = (images - least) / (largest - least).clamp_min(1e-8)
        return _in_channels(unit * (self.high - self.low) + self.low, images, self.channels)


@dataclass(frozen=True)
class BytesToUnit:
    """Divides each image that has a value above 1 by 255, as segmentation-models-pytorch does."""

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return the images, those of 8 bits between 0 and 1."""
        largest = images.amax(tuple(range(1, images.ndim)), keepdim=True)
        return torch.where(largest > 1, images / _BYTES, images)


@dataclass(frozen=True)
class Channels:
    """Puts channels in another order, such as (2, 1, 0) for BGR, or repeats them.

    Args:
        order: Which channel of the image, from 0, comes first, second and so on.
    """

    order: tuple[int, ...]

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return images of as many channels as the order has."""
        if max(self.order) >= images.shape[1]:
            raise InputError(
                f"The order of channels is {self.order}, and the images have {images.shape[1]}."
            )
        return torch.cat([images[:, index : index + 1] for index in self.order], 1)


@dataclass(frozen=True)
class GreyToColour:
    """Repeats the only channel of grey images; others stay as they are.

    Args:
        count: How many channels the network takes.
    """

    count: int = 3

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return images of several channels."""
        return torch.cat([images] * self.count, 1) if images.shape[1] == 1 else images


@dataclass(frozen=True)
class Transform:
    """Any callable by name, which is given each image as an array ``(C, *S)`` of numpy, float32.

    MONAI's ``Compose`` is one. It must keep the spatial shape, since the mask is of the image.

    Args:
        function: As ``package.module:function``; a module in the current folder counts.

    Raises:
        InputError: There is no such callable.
    """

    function: str

    def __post_init__(self) -> None:
        _function(self.function)

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Return what the callable makes of each image."""
        if is_exporting():
            raise InputError(
                f"The transform {self.function!r} cannot go into the exported file; leave it out "
                "(--prepare transform=null), and apply it to the images before they are given."
            )
        made = torch.stack([self._one(image) for image in images.detach().cpu()])
        return made.to(images.device)

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        made = np.asarray(_function(self.function)(image.numpy().copy()), dtype=np.float32)
        if made.ndim != image.ndim or made.shape[1:] != tuple(image.shape[1:]):
            raise InputError(
                f"The transform {self.function!r} made {made.shape} of an image of shape "
                f"{tuple(image.shape)}; it must return (channel, *spatial) and keep the spatial "
                "shape. Sizes are for the options size, multiple_of and patch_size."
            )
        return torch.from_numpy(np.ascontiguousarray(made))


_STEPS: Final[Mapping[str, Callable[..., Step]]] = {
    "clip": Clip,
    "normalise": Normalise,
    "normalise-each": NormaliseEach,
    "rescale-each": RescaleEach,
    "bytes-to-unit": BytesToUnit,
    "channels": Channels,
    "grey-to-colour": GreyToColour,
    "transform": Transform,
}


def described(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as JSON-able values.

    Raises:
        InputError: A step is none of those here.
    """
    kinds = {type_: kind for kind, type_ in _STEPS.items()}
    if unknown := [step for step in steps if type(step) not in kinds]:
        raise InputError(
            f"The step {unknown[0]!r} cannot be stored; give one of pladapt.torch.steps, such as "
            "Transform('package.module:function')."
        )
    return [{"kind": kinds[type(step)]} | asdict(step) for step in steps]  # type: ignore[call-overload]


def steps_of(told: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Return the steps that `described` returned.

    Raises:
        DataError: These are none.
    """
    try:
        return tuple(
            _STEPS[one["kind"]](**{k: _frozen(v) for k, v in one.items() if k != "kind"})
            for one in told
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"These are no steps of preparation: {told!r} ({error!r}).") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=16)
def _function(name: str) -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = imported(name, "transform")
    if not callable(found):
        raise InputError(f"The transform {name!r} is a {type(found).__name__}, and not callable.")
    return found


def _column(values: PerChannel, images: torch.Tensor, name: str, none: float) -> torch.Tensor:
    """Return a number or one for each channel as a tensor that fits the images."""
    each = values if isinstance(values, tuple) else (values,)
    if len(each) not in (1, images.shape[1]):
        raise InputError(
            f"{name} has {len(each)} values, and the images {images.shape[1]} channels; give one "
            "for each, or one for all."
        )
    numbers = [none if value is None or math.isinf(value) else float(value) for value in each]
    made = torch.tensor(numbers, dtype=images.dtype, device=images.device)
    return made.reshape(1, -1, *(1,) * (images.ndim - 2))


def _moments(
    images: torch.Tensor, inside: torch.Tensor | None, axes: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each image's mean and variance, over all pixels or those inside."""
    if inside is None:
        variance, mean = torch.var_mean(images, axes, correction=0, keepdim=True)
        return mean, variance
    count = inside.sum(axes, keepdim=True).clamp_min(1)
    mean = (images * inside).sum(axes, keepdim=True) / count
    return mean, (((images - mean) * inside) ** 2).sum(axes, keepdim=True) / count


def _inside(images: torch.Tensor, where: str) -> torch.Tensor:
    """Return where an image is to be measured, of its shape."""
    if where == "nonzero":
        return images != 0
    some = (images != 0).any(1, keepdim=True)
    return (_box(some) if where == "box" else some).expand_as(images)


def _box(some: torch.Tensor) -> torch.Tensor:
    """Return where the smallest box around what is true lies, ``(B, 1, *S)``."""
    box = torch.ones_like(some)
    for axis in range(2, some.ndim):
        others = [other for other in range(1, some.ndim) if other != axis]
        line = some.to(torch.int32).amax(others, keepdim=True)
        begun = line.cumsum(axis) > 0
        ends = line.flip(axis).cumsum(axis).flip(axis) > 0
        box = box & begun & ends
    return box


def _in_channels(
    made: torch.Tensor, images: torch.Tensor, channels: tuple[int, ...] | None
) -> torch.Tensor:
    if channels is None:
        return made
    chosen = [made if index in channels else images for index in range(images.shape[1])]
    return torch.cat([part[:, i : i + 1] for i, part in enumerate(chosen)], 1)
