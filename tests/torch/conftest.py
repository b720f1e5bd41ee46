from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt.types import LabelledSample, PseudoLabelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def net() -> Callable[..., nn.Module]:
    """Make a small network that is the same for the same seed."""
    import torch
    from torch import nn

    def make(classes: int = 1, *, spatial: int = 2, seed: int = 0) -> nn.Module:
        conv = (nn.Conv2d, nn.Conv3d)[spatial - 2]
        norm = (nn.BatchNorm2d, nn.BatchNorm3d)[spatial - 2]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                conv(1, 6, 3, padding=1),
                norm(6),
                nn.ReLU(),
                nn.Dropout(0.1),
                conv(6, classes, 3, padding=1),
            )

    return make


@pytest.fixture
def blobs() -> Callable[..., list[LabelledSample]]:
    """Make noisy images with a bright square each, two samples a group."""

    def make(count: int, name: str = "s", *, size: int = 16, seed: int = 0) -> list[LabelledSample]:
        rng = np.random.default_rng(seed)
        return [_blob(f"{name}{i}", f"{name}-group{i // 2}", size, rng) for i in range(count)]

    return make


def _blob(id_: str, group: str, size: int, rng: np.random.Generator) -> LabelledSample:
    mask = np.zeros((size, size), np.uint8)
    row, column = rng.integers(0, size // 2, 2)
    mask[row : row + size // 3, column : column + size // 3] = 1
    image = mask[None] + rng.normal(0, 0.3, (1, size, size))
    return LabelledSample(id_, group, image.astype(np.float32), mask)


@pytest.fixture
def pseudo(blobs: Callable[..., list[LabelledSample]]) -> Callable[..., list[PseudoLabelled]]:
    """Make pseudo-labelled samples of another look."""

    def make(count: int, name: str = "t") -> list[PseudoLabelled]:
        return [
            PseudoLabelled(s.id, s.group, 2 * s.image, s.mask, 0.9)
            for s in blobs(count, name, seed=1)
        ]

    return make
