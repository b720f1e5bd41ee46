"""Random changes of images and their masks: of geometry, intensity, sharpness and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Augmentation(Protocol):
    """**Protocol:** changes a training batch at random; draws from the generator alone."""

    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changed images and masks.

        Args:
            images: ``(B, C, *S)`` float32, on the training's device.
            masks: On the same device, ``(B, *S)`` uint8, 255 for pixels to ignore; or where a
                label is soft, ``(B, K + 1, *S)`` float32: probabilities, then pixel weights.
            generator: On the CPU, so that the draws are the same whatever the device.
        """


@dataclass(frozen=True)
class RandomAffine:
    """Zooms, shifts, flips, shears and rotates each sample at random, image and mask alike.

    Images are sampled bilinearly (trilinearly in 3-D), masks by the nearest pixel, all changes in
    one sampling. What comes in from outside is by default the nearest edge pixel, in the image
    and in its mask: that needs no assumption about the images' intensities.

    Args:
        zoom: The factor is uniform in [1 - zoom, 1 + zoom], one for all axes.
        shift: Per axis, uniform in [-shift, shift], as a fraction of the axis's size.
        shear: Per ordered pair of axes, uniform in [-shear, shear], the tangent of the angle.
        rotation: Uniform in [-rotation, rotation], in degrees, in the plane of the last two axes.
        flip: The axes that are each mirrored in half of the samples, counted from the end: -1 is
            left to right of an image as it is shown.
        outside: ``border``, or ``zeros`` for 0 in the image and in the mask; where a label is soft
            its weight is 0 there, too.

    Raises:
        InputError: A magnitude is negative or not below 1 (``rotation``: above 180), or an axis
            in ``flip`` is not negative.
    """

    zoom: float = 0.1
    shift: float = 0.05
    shear: float = 0.05
    rotation: float = 0.0
    flip: tuple[int, ...] = (-1,)
    outside: Literal["border", "zeros"] = "border"

    def __post_init__(self) -> None:
        for name in ("zoom", "shift", "shear"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"{name} is {value}; it must be at least 0 and below 1.")
        if not 0 <= self.rotation <= 180:  # noqa: PLR2004 - degrees
            raise InputError(f"rotation is {self.rotation}; it must lie between 0 and 180 degrees.")
        if any(axis >= 0 for axis in self.flip):
            raise InputError(f"flip is {self.flip}; axes are counted from the end: -1, -2, -3.")

    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changed images and masks, of the shapes and types given."""
        theta = self._matrices(images.shape, generator).to(images.device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        changed = _sample(images, grid, "bilinear", self.outside)
        planes = masks if masks.ndim == images.ndim else masks.unsqueeze(1)
        labels = _sample(planes.to(images.dtype), grid, "nearest", self.outside)
        return changed, labels.reshape(masks.shape).to(masks.dtype)

    def _matrices(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """Return ``(B, d, d + 1)``, from the output's pixels to the input's, as affine_grid asks.

        The axes come in the order of affine_grid, the last one first.
        """
        batch, size = shape[0], torch.tensor(shape[:1:-1], dtype=torch.float64)
        d = len(size)
        draw = _Uniform(batch, generator)
        linear = _rotation(draw(math.radians(self.rotation)), d) @ _shear(draw, self.shear, d)
        linear = linear / (1 + draw(self.zoom))[:, None, None]
        linear = linear * self._signs(draw, d)
        # in pixels a rotation keeps angles; affine_grid's axes run from -1 to 1 whatever the size
        normalised = linear * size / size[:, None]
        shift = 2 * torch.stack([draw(self.shift) for _ in range(d)], 1)
        return torch.cat([normalised, shift[:, :, None]], 2).float()

    def _signs(self, draw: _Uniform, d: int) -> torch.Tensor:
        if any(-axis > d for axis in self.flip):
            raise InputError(f"flip is {self.flip} and the images have {d} spatial axes.")
        signs = torch.ones(draw.batch, 1, d, dtype=torch.float64)
        for axis in self.flip:
            signs[:, 0, -axis - 1] = torch.where(draw(1.0) < 0, -1.0, 1.0)
        return signs


@dataclass(frozen=True)
class RandomIntensity:
    """Changes each image's brightness, contrast and gamma at random; masks stay as they are.

    A gamma acts between an image's own least and greatest value, in all channels alike.

    Args:
        gamma: The exponent is ``exp(u)``, u uniform in [-gamma, gamma].
        contrast: The factor is uniform in [1 - contrast, 1 + contrast].
        brightness: What is added is uniform in [-brightness, brightness], in units of the image's
            standard deviation.

    Raises:
        InputError: A magnitude is negative, or the contrast's not below 1.
    """

    gamma: float = 0.4
    contrast: float = 0.15
    brightness: float = 0.15

    def __post_init__(self) -> None:
        if min(self.gamma, self.contrast, self.brightness) < 0 or self.contrast >= 1:
            raise InputError(
                f"gamma is {self.gamma}, contrast {self.contrast} and brightness "
                f"{self.brightness}; none may be negative, and contrast must be below 1."
            )

    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changed images ``(B, C, *S)`` and the masks."""
        draw = _Uniform(len(images), generator)
        gamma, contrast, brightness = (
            draw(limit).to(images).view(-1, *(1,) * (images.ndim - 1))
            for limit in (self.gamma, self.contrast, self.brightness)
        )
        axes = tuple(range(1, images.ndim))
        low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
        extent = (high - low).clamp_min(torch.finfo(images.dtype).tiny)
        bent = low + ((images - low) / extent).clamp(0, 1) ** gamma.exp() * (high - low)
        deviation = bent.std(axes, keepdim=True)
        return bent * (1 + contrast) + brightness * deviation, masks


@dataclass(frozen=True)
class RandomTexture:
    """Blurs some images and adds noise to all, at random; masks stay as they are.

    Args:
        blur: The fraction of the images that are blurred, in [0, 1]: each pixel becomes the mean of
            those at most one away from it along every axis.
        noise: The normal noise's standard deviation is uniform in [0, noise], in units of the
            image's own, after blurring.

    Raises:
        InputError: A magnitude is negative, or ``blur`` above 1.
    """

    blur: float = 0.5
    noise: float = 0.15

    def __post_init__(self) -> None:
        if not (0 <= self.blur <= 1 and self.noise >= 0):
            raise InputError(
                f"blur is {self.blur} and noise {self.noise}; neither may be negative, and blur is "
                "a fraction, at most 1."
            )

    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return changed images ``(B, C, *S)`` and the masks."""
        chance, level = torch.rand((2, len(images)), generator=generator).to(images)
        noise = torch.randn(images.shape, generator=generator).to(images)
        each = (-1, *(1,) * (images.ndim - 1))
        blurred = torch.where((chance < self.blur).view(each), _mean_of_near(images), images)
        deviation = blurred.std(tuple(range(1, images.ndim)), keepdim=True)
        return blurred + self.noise * level.view(each) * deviation * noise, masks


@dataclass(frozen=True)
class Augmentations:
    """Several augmentations, one after the other.

    Args:
        parts: In their order.
    """

    parts: Sequence[Augmentation]

    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator, /
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the last one returns."""
        for part in self.parts:
            images, masks = part(images, masks, generator)
        return images, masks


def _mean_of_near(images: torch.Tensor) -> torch.Tensor:
    """Average each pixel with those inside the image at most one away along every axis."""
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[images.ndim - 3]
    near: torch.Tensor = pool(images, 3, stride=1, padding=1, count_include_pad=False)
    return near


@dataclass(frozen=True)
class _Uniform:
    """Draws one number per sample."""

    batch: int
    generator: torch.Generator

    def __call__(self, limit: float) -> torch.Tensor:
        unit = torch.rand(self.batch, generator=self.generator, dtype=torch.float64)
        return (2 * unit - 1) * limit


def _rotation(angle: torch.Tensor, d: int) -> torch.Tensor:
    matrix = torch.eye(d, dtype=torch.float64).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0] = angle.sin()
    matrix[:, 0, 1] = -angle.sin()
    return matrix


def _shear(draw: _Uniform, limit: float, d: int) -> torch.Tensor:
    matrix = torch.eye(d, dtype=torch.float64).repeat(draw.batch, 1, 1)
    for row in range(d):
        for column in range(d):
            if row != column:
                matrix[:, row, column] = draw(limit)
    return matrix


def _sample(values: torch.Tensor, grid: torch.Tensor, mode: str, outside: str) -> torch.Tensor:
    return F.grid_sample(values, grid, mode=mode, padding_mode=outside, align_corners=False)
