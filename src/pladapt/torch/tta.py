"""Averages over sizes, zooms and dropout, which need torch."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from pladapt.errors import InputError
from pladapt.predictors.averaging import ViewPredictor, members_of
from pladapt.torch.data import epoch_seed
from pladapt.torch.devices import as_tensor
from pladapt.torch.wrapping import module_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pladapt.types import Array

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True, eq=False)
class ScalePredictor(ViewPredictor):
    """Averages the predictions of an image in several sizes, each resized back.

    Its members are in the order of the scales. Images and probabilities are resized linearly along
    each spatial axis, without a filter against aliasing. Objects of another size than those that
    the network learnt from may be lost at once: audit it before use.

    Args:
        predictor: Predicts each size.
        scales: Factors of the spatial lengths; 1 leaves the image as it is.
        multiple: Lengths are rounded to the nearest multiples of this, which the network asks for.

    Raises:
        InputError: A scale or the multiple is not positive; or, when it predicts, two scales
            come to the same size.
    """

    scales: tuple[float, ...] = (0.8, 1.0, 1.25)
    multiple: int = 32

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales is {self.scales}; give one or more positive factors.")
        if self.multiple < 1:
            raise InputError(f"multiple is {self.multiple}; it must be at least 1.")

    def predict_members(self, images: Array, /) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the members' probabilities ``(M, B, K, *S)``."""
        batch = as_tensor(images)
        shape = tuple(batch.shape[2:])
        parts = []
        for size in self._sizes(shape):
            members = as_tensor(members_of(self.predictor, _resized(batch, size)))
            flat = _resized(members.flatten(0, 1), shape)
            back = flat.reshape(*members.shape[:3], *shape)
            parts.append(back.clamp(0, 1))  # from which rounding may part it
        return torch.cat(parts)

    def _sizes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        sizes = [
            shape if scale == 1 else tuple(self._length(scale * length) for length in shape)
            for scale in self.scales
        ]
        if len(set(sizes)) < len(sizes):
            raise InputError(
                f"Images of size {shape} become {sizes} by the scales {self.scales} in multiples "
                f"of {self.multiple}: one size stands twice. Give scales further apart, or a "
                "smaller 'multiple'."
            )
        return sizes

    def _length(self, length: float) -> int:
        return max(1, math.floor(length / self.multiple + 0.5)) * self.multiple


def _resized(images: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    mode = "bilinear" if len(size) == 2 else "trilinear"  # noqa: PLR2004 - (B, C, H, W)
    return interpolate(images, size=size, mode=mode, align_corners=False)


@dataclass(frozen=True, eq=False)
class ZoomPredictor(ViewPredictor):
    """Averages the predictions of an image and of magnified and reduced copies in its own size.

    Its members are those of the image as it is, then of each zoom about the centre, brought back.
    Every copy has the image's size, whatever the network asks of it: what a magnified one leaves
    out at the margin has the plain prediction, and a reduced one goes on with the image's own
    margin. Images and probabilities are interpolated linearly. As with other sizes, right where
    the network was trained on zoomed images.

    Args:
        predictor: Predicts each of them.
        zooms: The magnifications beside the image as it is: 1.2 shows a sixth less along each axis.

    Raises:
        InputError: There is no zoom, or one is not positive, not finite, or 1.
    """

    zooms: tuple[float, ...] = (1 / 1.2, 1.2)

    def __post_init__(self) -> None:
        if not self.zooms or not all(0 < zoom < math.inf and zoom != 1 for zoom in self.zooms):
            raise InputError(
                f"zooms is {self.zooms}; give one or more positive factors beside 1, which is "
                "always there."
            )

    def predict_members(self, images: Array, /) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the members' probabilities ``(M, B, K, *S)``."""
        batch = as_tensor(images)
        plain = as_tensor(members_of(self.predictor, batch))
        return torch.cat([plain, *(self._members(batch, zoom, plain) for zoom in self.zooms)])

    def _members(self, batch: torch.Tensor, zoom: float, plain: torch.Tensor) -> torch.Tensor:
        seen = as_tensor(members_of(self.predictor, _zoomed(batch, zoom, "border")))
        flat = seen.flatten(0, 1)
        back = _zoomed(flat, 1 / zoom, "zeros").reshape(seen.shape)
        shown = _zoomed(torch.ones_like(flat[:1, :1]), 1 / zoom, "zeros")
        return (back + (1 - shown) * plain).clamp(0, 1)  # from which rounding may part it


def _zoomed(images: torch.Tensor, zoom: float, outside: str) -> torch.Tensor:
    """Magnify images ``(B, C, *S)`` about their centre, in their own size."""
    axes = images.ndim - 2
    matrix = torch.cat([torch.eye(axes) / zoom, torch.zeros(axes, 1)], 1).to(images)
    grid = affine_grid(matrix.expand(len(images), -1, -1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode=outside, align_corners=False)


@dataclass(frozen=True, eq=False)
class DropoutPredictor(ViewPredictor):
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

    def predict_members(self, images: Array, /) -> torch.Tensor:
        """Map images ``(B, C, *S)`` to the members' probabilities ``(M, B, K, *S)``."""
        return torch.cat([self._member(images, index) for index in range(self.members)])

    def _member(self, images: Array, index: int) -> torch.Tensor:
        with _dropping(self._layers(), self.seed, index) as used:
            members = as_tensor(members_of(self.predictor, images))
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
