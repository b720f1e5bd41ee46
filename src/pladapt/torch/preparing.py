"""A preparation from a user's few options."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pladapt.errors import InputError
from pladapt.torch.steps import (
    BytesToUnit,
    Channels,
    Clip,
    GreyToColour,
    Normalise,
    NormaliseEach,
    Transform,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt.torch.preparation import Preparation
    from pladapt.torch.steps import PerChannel, Step

Numbers: TypeAlias = "float | Sequence[float]"
Where: TypeAlias = Literal["all", "box", "nonzero", "foreground"]

_ORDERS: Final = {"bgr": (2, 1, 0), "rgb": (0, 1, 2)}


def with_options(
    known: Preparation,
    *,
    library: bool = True,
    transform: str | None = None,
    channels: str | Sequence[int] | None = None,
    window: Sequence[float] | None = None,
    scale: float | Literal["bytes"] | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    each: Where | None = None,
    axes: Sequence[int] | None = None,
    size: int | Sequence[int] | None = None,
    multiple_of: int | None = None,
    patch_size: Sequence[int] | None = None,
    overlap: float | None = None,
    padding: Literal["edge", "zeros"] | None = None,
) -> Preparation:
    """Return a preparation with other values.

    The values of images are prepared in the order of the arguments.

    Args:
        known: What is known already, of the library that saved the network.
        library: Whether what is known of the images' values and size stays; what is given of the
            values here takes its place in any case.
        transform: A callable of an image's array ``(C, *S)``, as ``package.module:function``.
        channels: ``bgr``, ``grey`` (grey images are repeated to three channels), or which channel
            of the image comes first, second and so on.
        window: What becomes 0 and what becomes 1; values beyond are cut off.
        scale: A factor, such as 1/255; ``bytes`` divides images with values above 1 by 255.
        mean: Taken off, for all channels or each; 0 beside ``std``.
        std: What is divided by; 1 beside ``mean``.
        each: Normalise each image's channels by their own mean and standard deviation: of ``all``
            pixels, or as in `pladapt.torch.steps.NormaliseEach`.
        axes: As in `pladapt.torch.Preparation`, and so are those that follow.
        size: The same; a single number is that of the shortest axis.
        multiple_of: The same.
        patch_size: The same.
        overlap: The same.
        padding: The same.

    Raises:
        InputError: A value is not one of those above.
    """
    values: dict[str, Any] = {
        "transform": transform,
        "channels": channels,
        "window": window,
        "scale": scale,
        "mean": mean,
        "std": std,
        "each": each,
    }
    kept = known if library else replace(known, steps=(), size=None)
    if any(value is not None for value in values.values()):
        kept = replace(kept, steps=tuple(_steps(**values)))
    given: dict[str, Any] = {
        "axes": _tuple(axes),
        "size": (size,) if isinstance(size, int) else _tuple(size),
        "multiple_of": multiple_of,
        "patch_size": _tuple(patch_size),
        "overlap": overlap,
        "padding": padding,
    }
    return replace(kept, **{name: value for name, value in given.items() if value is not None})


KNOWN: Final = tuple(inspect.signature(with_options).parameters)[1:]
"""The options' names."""


def _steps(
    *,
    transform: str | None,
    channels: str | Sequence[int] | None,
    window: Sequence[float] | None,
    scale: float | str | None,
    mean: Numbers | None,
    std: Numbers | None,
    each: Where | None,
) -> Iterator[Step]:
    if transform is not None:
        yield Transform(transform)
    if channels is not None:
        yield GreyToColour() if channels == "grey" else Channels(_order(channels))
    if window is not None:
        yield from _window(window)
    if scale == "bytes":
        yield BytesToUnit()
    elif scale is not None:
        yield Normalise(0.0, 1 / _positive(scale))
    if mean is not None or std is not None:
        yield Normalise(_numbers(mean, 0.0), _numbers(std, 1.0))
    if each is not None:
        yield NormaliseEach(each)


def _order(channels: str | Sequence[int]) -> tuple[int, ...]:
    order = _ORDERS.get(channels) if isinstance(channels, str) else tuple(channels)
    if not order:
        raise InputError(
            f"channels is {channels!r}; give 'bgr', 'grey', or which channel comes first, second "
            "and so on, such as [2, 1, 0]."
        )
    return order


def _window(window: Sequence[float]) -> Iterator[Step]:
    if len(window) != 2 or not window[0] < window[1]:  # noqa: PLR2004 - low and high
        raise InputError(f"window is {window}; give its low end and its high, such as [-100, 200].")
    low, high = float(window[0]), float(window[1])
    yield Clip(low, high)
    yield Normalise(low, high - low)


def _positive(scale: float | str) -> float:
    if isinstance(scale, str) or not scale > 0:
        raise InputError(f"scale is {scale!r}; give a factor above 0, or 'bytes'.")
    return float(scale)


def _numbers(values: Numbers | None, default: float) -> PerChannel:
    if values is None:
        return default
    return float(values) if isinstance(values, int | float) else tuple(map(float, values))


def _tuple(values: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(values)
