"""The probabilities and masks that the benchmarks work on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def lesions(count: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    """Return maps ``(count, 1, size, size)`` as a network gives them: sure, but at the edges.

    A disc or two of 2 % to 10 % of the width in radius, the rest near 0.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    maps = np.empty((count, 1, size, size), np.float32)
    for plane in maps:
        nearest = np.full((size, size), np.inf, np.float32)
        for _ in range(generator.integers(1, 3)):
            y, x = generator.uniform(0.2 * size, 0.8 * size, 2)
            radius = generator.uniform(0.02, 0.1) * size
            np.minimum(nearest, np.hypot(rows - y, columns - x) - radius, out=nearest)
        plane[0] = 1 / (1 + np.exp(np.clip(nearest, -16, 16) / 2))
    return maps


def noise(count: int, size: int, seed: int = 0) -> NDArray[np.float32]:
    """Return maps ``(count, 1, size, size)`` of independent uniform values: the worst case."""
    return np.random.default_rng(seed).random((count, 1, size, size), np.float32)


KINDS = {"lesion-like": lesions, "uniform noise": noise}
