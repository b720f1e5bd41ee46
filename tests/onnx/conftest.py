from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEEDED = ("onnxruntime", "onnx", "onnxscript", "onnxconverter_common", "torch", "lightning")

if any(importlib.util.find_spec(name) is None for name in NEEDED):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def net() -> Callable[..., Any]:
    """Make a small encoder and decoder whose images must be a multiple of 4."""
    import torch
    from torch import nn

    def make(classes: int = 1, *, channels: int = 1, spatial: int = 2, seed: int = 0) -> nn.Module:
        conv = (nn.Conv2d, nn.Conv3d)[spatial - 2]
        up = (nn.ConvTranspose2d, nn.ConvTranspose3d)[spatial - 2]
        norm = (nn.BatchNorm2d, nn.BatchNorm3d)[spatial - 2]
        pool = (nn.MaxPool2d, nn.MaxPool3d)[spatial - 2]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                conv(channels, 6, 3, padding=1),
                norm(6),
                nn.ReLU(),
                pool(4),
                nn.Dropout(0.5),
                up(6, 6, 4, 4),
                conv(6, classes, 3, padding=1),
            )

    return make


@pytest.fixture(scope="session")
def export_net(net: Callable[..., Any]) -> Callable[..., Any]:
    """Export a small network to a path."""
    from pladapt.onnx import export

    def make(path: Path, module: Any = None, **options: Any) -> Any:
        options = {"example": (1, 1, 8, 12), "multiple_of": 4} | options
        return export(module or net(), path, **options)

    return make


@pytest.fixture(scope="session")
def model(export_net: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 file of one class that gives probabilities."""
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_net(path, normalisation="zero mean, unit variance")
    return path


@pytest.fixture
def images() -> Callable[..., np.ndarray]:
    """Make normally distributed images."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=shape or (3, 1, 8, 12)).astype(np.float32)

    return make
