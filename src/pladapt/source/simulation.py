"""Labelled samples as other devices might show them: another intensity, noise, sharpness, size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.functional.arrays import to_numpy
from pladapt.functional.intensities import split
from pladapt.types import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


_EDGE: Final = 1.2  # the standard deviation, in pixels, of what sharpening takes for edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of images, the same for all of a target, as another device makes it.

    Intensities are changed on a scale on which the source's darkest pixels are 0 and its brightest
    1. An image's constant background stays as it is.

    Args:
        name: What it is called.
        gamma: The exponent.
        contrast: The factor about the middle of the scale.
        brightness: What is added.
        noise: The standard deviation of Gaussian noise.
        blur: The standard deviation of a Gaussian blur, in pixels.
        sharpen: How often the edges are added once more.
        scale: The magnification, of image and mask; a reduced image is continued by its mirror.
    """

    name: str
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    scale: float = 1.0

    @property
    def kind(self) -> str:
        """The first word of the name: changes of one kind differ in strength alone."""
        return self.name.partition(" ")[0]

    def of(
        self, sample: LabelledSample, low: NDArray[np.floating], high: NDArray[np.floating]
    ) -> LabelledSample:
        """Return a sample as it looks then.

        Args:
            sample: Not changed itself.
            low: ``(C,)``, the intensity that is 0 on the scale.
            high: ``(C,)``, the one that is 1.
        """
        image, mask = to_numpy(sample.image), to_numpy(sample.mask)
        if self.scale != 1:
            image = np.stack([_scaled(plane, self.scale, 1) for plane in image])
            mask = _scaled(mask, self.scale, 0)
        inside = to_numpy(split(image[None], "informative")[0])[0]
        axes = (slice(None), *(None,) * mask.ndim)
        bottom, span = low[axes], np.maximum(high - low, np.finfo(np.float32).tiny)[axes]
        unit = self._changed((image - bottom) / span, sample.id)
        image = np.where(inside, unit * span + bottom, image).astype(image.dtype)
        xp = array_namespace(sample.image)
        back = xp.asarray(image, device=device(sample.image))
        return LabelledSample(sample.id, sample.group, back, mask)

    def _changed(self, unit: NDArray[np.floating], id_: str) -> NDArray[np.floating]:
        """Return an image ``(C, *S)`` on the scale from 0 to 1, changed."""
        unit = _blurred(unit, self.blur)
        unit = unit + self.sharpen * (unit - _blurred(unit, _EDGE))
        unit = np.sign(unit) * np.abs(unit) ** self.gamma
        unit = (unit - 0.5) * self.contrast + 0.5 + self.brightness
        seed = hashlib.sha256(f"{self.name} {id_}".encode()).digest()[:8]
        draws = np.random.default_rng(int.from_bytes(seed, "big"))
        return unit + self.noise * draws.standard_normal(unit.shape)


def _scaled(plane: NDArray[Any], scale: float, order: int) -> NDArray[Any]:
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    offset = [(length - 1) / 2 * (1 - 1 / scale) for length in plane.shape]
    transform: Any = ndimage.affine_transform  # its types know no array of any numbers
    found: NDArray[Any] = transform(
        plane, np.eye(plane.ndim) / scale, offset, order=order, mode="mirror"
    )
    return found


def _blurred(image: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    return ndimage.gaussian_filter(image, (0, *(sigma,) * (image.ndim - 1)))


def _changes() -> Iterator[Change]:
    yield Change(name="none")
    for gamma in (0.4, 0.65, 1.5, 2.5):
        yield Change(name=f"gamma {gamma}", gamma=gamma)
    for contrast in (0.4, 0.7, 1.4):
        yield Change(name=f"contrast {contrast}", contrast=contrast)
    for brightness in (-0.25, -0.1, 0.1, 0.25):
        yield Change(name=f"brightness {brightness}", brightness=brightness)
    for noise in (0.05, 0.12, 0.25):
        yield Change(name=f"noise {noise}", noise=noise)
    for blur in (0.8, 1.6, 3.0):
        yield Change(name=f"blur {blur}", blur=blur)
    for sharpen in (1.0, 2.5):
        yield Change(name=f"sharpen {sharpen}", sharpen=sharpen)
    for scale in (0.6, 0.8, 1.25, 1.7):
        yield Change(name=f"scale {scale}", scale=scale)
    draws = np.random.default_rng(0)
    for number in range(6):
        yield Change(
            name=f"mixed {number}",
            gamma=float(np.exp(draws.uniform(-0.6, 0.6))),
            contrast=draws.uniform(0.6, 1.2),
            brightness=draws.uniform(-0.15, 0.15),
            noise=draws.uniform(0, 0.1),
            blur=draws.uniform(0, 1.5),
            scale=float(np.exp(draws.uniform(-0.35, 0.35))),
        )


CHANGES: Final = tuple(_changes())
"""What an estimate is calibrated on; the first changes nothing."""
