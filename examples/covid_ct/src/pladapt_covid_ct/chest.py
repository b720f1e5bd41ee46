"""A simulated chest: body, lungs, vessels and COVID-19 lesions, in Hounsfield units without noise.

Lengths are fractions of half the image's width, so that a chest looks the same at every matrix
size. ``x`` rises to the patient's left, ``y`` to the back, ``z`` to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

GROUND_GLASS: Final = 1
CONSOLIDATION: Final = 2
LEFT: Final = 1
RIGHT: Final = 2

_AIR, _FAT, _MUSCLE, _BLOOD, _BONE = -1000.0, -100.0, 45.0, 40.0, 400.0


class Chest(NamedTuple):
    """A simulated scan in radiological display.

    Args:
        hu: ``(Z, H, W)`` float32, Hounsfield units without noise.
        lung: ``(Z, H, W)`` uint8: `LEFT`, `RIGHT` or 0.
        lesion: ``(Z, H, W)`` uint8: `GROUND_GLASS`, `CONSOLIDATION` or 0.
    """

    hu: NDArray[np.float32]
    lung: NDArray[np.uint8]
    lesion: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tissue:
    """What differs between the lungs of one hospital's patients and another's.

    Args:
        parenchyma: Hounsfield units of healthy lung; higher where patients breathe in less.
        ground_glass: How much denser ground glass is, in Hounsfield units.
        gravity: How much denser the back of the lung is than the front, in Hounsfield units.
        vessels: Hounsfield units that a vessel adds at its centre.
    """

    parenchyma: float
    ground_glass: float
    gravity: float
    vessels: float


class _Body(NamedTuple):
    """A patient's own measures."""

    width: float
    depth: float
    heart: float
    dome: float


def simulate(rng: Generator, tissue: Tissue, *, slices: int, size: int) -> Chest:
    """Draw a patient.

    About seven slices of ten have lesions: irregular, along the pleura, more of them at the back
    and at the base, as COVID-19 pneumonia has.

    Args:
        rng: Where all that is random comes from.
        tissue: What the lungs are made of.
        slices: How many, evenly from the diaphragm to the apex.
        size: Their width and height in pixels.
    """
    z, y, x = _grid(rng, slices, size)
    body = _Body(*rng.uniform((0.84, 0.60, 0.85, 0.8), (0.94, 0.70, 1.1, 1.2)))
    cavity = _cavity(z, y, x, body)
    lung = cavity & ~_mediastinum(z, y, x, body) & ~_spine(y, x) & ~_domes(z, y, x, body)
    lung = ndimage.binary_opening(lung, _disc(size / 64))
    hu = _wall(z, y, x, body)
    hu[lung] = (_parenchyma(rng, tissue, y) + _vessels(rng, tissue, y, x))[lung]
    trachea = ((x / 0.07) ** 2 + ((y + 0.05) / 0.08) ** 2 < 1) & (z > 0.55) & ~lung  # noqa: PLR2004 - above the carina
    hu[trachea] = _AIR + 20
    lesion = _lesions(rng, lung, z, y)
    hu = _with_lesions(rng, hu, lesion, tissue)
    sides = np.where(x > 0, LEFT, RIGHT).astype(np.uint8)
    return Chest(hu.astype(np.float32), sides * lung, lesion)


def smooth_noise(
    rng: Generator, shape: tuple[int, ...], sigma: float, *, sigma_z: float = 1.0
) -> NDArray[np.float32]:
    """Return noise of mean 0 and standard deviation 1, smooth over ``sigma`` pixels."""
    spectrum = fft.rfftn(rng.standard_normal(shape, np.float32))
    ndimage.fourier_gaussian(spectrum, (sigma_z, sigma, sigma), shape[-1], output=spectrum)
    noise = fft.irfftn(spectrum, shape)
    return np.asarray(noise / noise.std(), np.float32)


def _grid(rng: Generator, slices: int, size: int) -> tuple[NDArray[np.float32], ...]:
    """Return z in 0..1 and y, x in -1..1, bent a little so that nothing is an exact ellipse."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    z = (np.arange(slices, dtype=np.float32) + 0.5) / slices
    grid = np.broadcast_arrays(z[:, None, None], axis[None, :, None], axis[None, None, :])
    bend = [0.025 * smooth_noise(rng, grid[0].shape, size / 8, sigma_z=2) for _ in range(2)]
    return grid[0], grid[1] + bend[0], grid[2] + bend[1]


def _ellipse(
    y: NDArray[np.float32], x: NDArray[np.float32], a: float, b: float
) -> NDArray[np.float32]:
    """Return below 1 inside a rounded box of half-axes ``a`` and ``b``."""
    return np.asarray((np.abs(x) / a) ** 2.4 + (np.abs(y) / b) ** 2.4, np.float32)


def _wall(
    z: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], body: _Body
) -> NDArray[np.float32]:
    inside = _ellipse(y, x, body.width, body.depth)
    hu = np.where(inside < 1, _FAT, _AIR)
    hu[inside < 0.86] = _MUSCLE  # noqa: PLR2004 - fat under the skin
    angle = np.arctan2(y, x)
    ribs = (np.abs(inside - 0.68) < 0.06) & (np.cos(9 * angle + 14 * z) > 0.35)  # noqa: PLR2004 - rib and gap
    hu[ribs | _spine(y, x)] = _BONE
    hu[_canal(y, x)] = _BLOOD
    hu[(np.abs(x) < 0.1) & (np.abs(y + 0.82 * body.depth) < 0.04)] = 0.6 * _BONE  # noqa: PLR2004 - sternum
    hu[(np.abs(y - 0.86) < 0.015) & (np.abs(x) < 0.8)] = -300  # noqa: PLR2004 - table
    return np.asarray(hu, np.float32)


def _cavity(
    z: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], body: _Body
) -> NDArray[np.bool_]:
    reach = np.sqrt(np.clip(1.05 - (np.clip(z - 0.4, 0, None) / 0.68) ** 2, 0.05, 1))
    return np.asarray(_ellipse(y / reach, x / reach, 0.80 * body.width, 0.78 * body.depth) < 1)


def _mediastinum(
    z: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], body: _Body
) -> NDArray[np.bool_]:
    swell = body.heart * np.clip(1.15 - z, 0.35, 1)
    heart = ((x - 0.1) / (0.33 * swell)) ** 2 + ((y + 0.14) / (0.30 * swell)) ** 2 < 1
    vessels = (x / 0.13) ** 2 + (y / 0.45) ** 2 < 1
    return np.asarray(heart | vessels)


def _spine(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.bool_]:
    vertebra = (x / 0.15) ** 2 + ((y - 0.36) / 0.13) ** 2 < 1
    process = (np.abs(x) < 0.04) & (y > 0.4) & (y < 0.62)  # noqa: PLR2004 - behind the vertebra
    return np.asarray(vertebra | process)


def _canal(y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((x / 0.05) ** 2 + ((y - 0.46) / 0.04) ** 2 < 1)


def _domes(
    z: NDArray[np.float32], y: NDArray[np.float32], x: NDArray[np.float32], body: _Body
) -> NDArray[np.bool_]:
    """Return where the diaphragm bulges into the lowest slices, higher on the right."""
    height = np.clip(1 - z / np.where(x < 0, 0.22 * body.dome, 0.15 * body.dome), 0, 1)
    dome = ((np.abs(x) - 0.36) / 0.34) ** 2 + ((y + 0.05) / 0.40) ** 2
    return np.asarray(dome < height**0.5)


def _parenchyma(rng: Generator, tissue: Tissue, y: NDArray[np.float32]) -> NDArray[np.float32]:
    size = y.shape[-1]
    texture = 14 * smooth_noise(rng, y.shape, size / 80) + 14 * smooth_noise(
        rng, y.shape, size / 16
    )
    return tissue.parenchyma + tissue.gravity * y + texture


def _vessels(
    rng: Generator,
    tissue: Tissue,
    y: NDArray[np.float32],
    x: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return branches that part as they leave the hila and pass through the slice, and dots."""
    size = x.shape[-1]
    to_side, to_back = np.abs(x) - 0.2, y - 0.05
    reach = np.hypot(to_side, to_back)
    angle = np.arctan2(to_back, to_side) + 0.25 * smooth_noise(rng, x.shape, size / 12)
    width = np.clip(0.030 - 0.035 * reach, 0.009, None)
    near, far = (_rays(angle, reach, count) / width for count in (7, 15))
    lines = np.where(reach < 0.25, np.exp(-(near**2)), np.exp(-(far**2)))  # noqa: PLR2004 - where they part
    in_plane = np.clip(smooth_noise(rng, x.shape, size / 24) + 0.5 - 1.6 * reach, 0, 1)
    dots = np.clip(smooth_noise(rng, x.shape, size / 110, sigma_z=0.5) - 2.2, 0, 1)
    return np.asarray(tissue.vessels * np.clip(lines * in_plane + 1.2 * dots, 0, 1))


def _rays(
    angle: NDArray[np.float32], reach: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Return the distance to the nearest of ``count`` rays."""
    return np.asarray(2 * reach * np.abs(np.sin(count * angle / 2)) / count)


def _lesions(
    rng: Generator, lung: NDArray[np.bool_], z: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.uint8]:
    size = lung.shape[-1]
    depth = np.stack([ndimage.distance_transform_edt(plane) for plane in lung]) / (size / 2)
    place = smooth_noise(rng, lung.shape, size / 16) + 0.3 * smooth_noise(
        rng, lung.shape, size / 50
    )
    place += 1.2 * np.exp(-depth / 0.10) + 0.9 * y - 0.4 * z
    involved = lung & (z >= rng.uniform(0.0, 0.15)) & (z <= rng.uniform(0.72, 0.9))
    extent = rng.uniform(0.08, 0.24)
    lesion = _above(place, involved, extent)
    denser = place + 0.7 * smooth_noise(rng, lung.shape, size / 30)
    dense = lesion & _above(denser, involved, extent * rng.uniform(0.0, 0.25))
    return lesion.astype(np.uint8) * GROUND_GLASS + dense * np.uint8(CONSOLIDATION - GROUND_GLASS)


def _above(
    place: NDArray[np.float32], where: NDArray[np.bool_], fraction: float
) -> NDArray[np.bool_]:
    """Return the ``fraction`` of ``where`` with the highest values, without specks."""
    mask = where & (place > np.quantile(place[where], 1 - fraction))
    return np.asarray(ndimage.binary_opening(mask, _disc(place.shape[-1] / 100)))


def _with_lesions(
    rng: Generator, hu: NDArray[np.float32], lesion: NDArray[np.uint8], tissue: Tissue
) -> NDArray[np.float32]:
    size = lesion.shape[-1]
    edge = (0, size / 90, size / 90)
    haze = ndimage.gaussian_filter((lesion > 0).astype(np.float32), edge)
    texture = 1 + 0.25 * smooth_noise(rng, lesion.shape, size / 40)
    hazy = np.minimum(hu + tissue.ground_glass * haze * texture, np.maximum(hu, _BLOOD))
    dense = ndimage.gaussian_filter((lesion == CONSOLIDATION).astype(np.float32), edge)
    return np.asarray(np.where(hu < _FAT, hazy + dense * (_BLOOD - 40 - hazy), hu))


def _disc(radius: float) -> NDArray[np.bool_]:
    reach = max(1, round(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(y**2 + x**2 <= reach**2)[np.newaxis]
