"""Simulated scanners: what another device and another reading would make of the same slices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter

from pladapt.functional.arrays import to_numpy
from pladapt.functional.intensities import split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pladapt import LabelledSample

    Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How a scanner differs from the source's; each patient's own numbers lie in these ranges.

    Args:
        gamma: The logarithm of the exponent of the intensities, as fractions of the slice's
            highest.
        sigma: The standard deviation of a Gaussian, in pixels.
        sharpening: How often the difference to the image smoothed by it is added; -1 smooths.
        noise: The standard deviation of normal noise, as a fraction of the highest intensity.
    """

    gamma: Range
    sigma: Range
    sharpening: Range
    noise: Range


SCANNERS: Final[Mapping[str, Scanner]] = {
    "soft": Scanner(gamma=(-0.8, -0.2), sigma=(0.5, 1.0), sharpening=(-1, -1), noise=(0, 0.04)),
    "sharp": Scanner(gamma=(0.2, 0.8), sigma=(0.8, 1.6), sharpening=(0.5, 1.2), noise=(0, 0.08)),
}
"""The scanners, by name."""


def rescanned(sample: LabelledSample, scanner: str, seed: int) -> LabelledSample:
    """Return a slice as a scanner would have shown it, normalised again as a whole.

    Args:
        sample: Its image ``(1, H, W)`` is constant outside the lungs, and stays so.
        scanner: A key of `SCANNERS`.
        seed: Draws the patients' numbers.
    """
    image = np.asarray(sample.image, np.float64)
    inside, background = (to_numpy(part)[0] for part in split(image[None], "informative"))
    if not inside.any() or np.isnan(background).any():
        return sample
    numbers = vars(SCANNERS[scanner])
    patient = _generator(f"{scanner} {seed} {sample.group}")
    gamma, sigma, sharpening, noise = (patient.uniform(*numbers[name]) for name in numbers)
    shown = image[0] - background
    highest = np.quantile(shown[inside], 0.999)
    shown = np.clip(shown / highest, 0, 1.5)
    smooth = _smoothed(shown, inside, sigma)
    shown = np.clip(shown + sharpening * (shown - smooth), 0, 2) ** np.exp(gamma)
    shown += noise * _generator(sample.id).standard_normal(shown.shape)
    # the least lies above the background, or it would become part of it
    shown = np.where(inside, np.clip(shown, 1e-3, None), 0)
    normalised = (shown - shown.mean()) / shown.std()
    return replace(sample, image=normalised[None].astype(np.float32))


def _smoothed(
    image: NDArray[np.float64], inside: NDArray[np.bool_], sigma: float
) -> NDArray[np.float64]:
    """Smooth what is inside by itself."""
    weight = gaussian_filter(inside.astype(np.float64), sigma)
    return np.where(inside, gaussian_filter(image * inside, sigma) / np.maximum(weight, 1e-9), 0)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
