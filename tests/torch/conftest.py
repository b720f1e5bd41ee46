from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt import SourceStatistics
from pladapt.types import LabelledSample, PseudoLabelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pladapt.torch import TorchPredictor
    from pladapt.types import Sample

PLACES = [(8, 9), (11, 7), (9, 12), (12, 10), (7, 8), (10, 11)]

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


def _lesions(
    name: str, *, edge: float = 1.0, core: float = 1.0, size: int = 12
) -> list[LabelledSample]:
    made = []
    for number, (row, column) in enumerate(PLACES):
        image, inner = np.zeros((1, 32, 32), np.float32), (size - 4) // 2
        image[0, row : row + size, column : column + size] = edge
        image[0, row + inner : row + inner + 4, column + inner : column + inner + 4] = core
        mask = (image[0] > 0).astype(np.uint8)
        made.append(LabelledSample(f"{name}{number}", f"p{number}", image, mask))
    return made


@pytest.fixture(scope="session")
def truth() -> Callable[..., list[LabelledSample]]:
    """Make black images with a lesion each: a square, and a core of 4 x 4 pixels inside it."""
    return _lesions


@pytest.fixture(scope="session")
def lesions() -> Callable[..., list[Sample]]:
    """Make the same images without masks."""
    return lambda *given, **options: [s.unlabelled() for s in _lesions(*given, **options)]


@pytest.fixture(scope="session")
def shifted(lesions: Callable[..., list[Sample]]) -> Callable[..., list[Sample]]:
    """Make images of another scanner: fainter, so that the network sees the cores alone."""
    return lambda size=12: lesions("t", edge=0.4, core=0.6, size=size)


@pytest.fixture(scope="session")
def displacing() -> Callable[..., nn.Module]:
    """Make a network that marks bright pixels, but one pixel further to the right.

    So it marks another mask on a mirror image, and differs the more the smaller the mask is.
    """
    import torch
    from torch import nn

    def make(*, normalised: bool = True, bias: float = -9.0) -> nn.Module:
        first, last = nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 1)
        assert last.bias is not None
        with torch.no_grad():
            first.weight.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 0]])[None, None])
            last.weight.fill_(9.0)
            last.bias.fill_(bias)
        between = [nn.BatchNorm2d(1, affine=False)] if normalised else []
        return nn.Sequential(first, *between, last)

    return make


@pytest.fixture(scope="session")
def trained(
    displacing: Callable[..., nn.Module], lesions: Callable[..., list[Sample]]
) -> TorchPredictor:
    """Make a network that marks the source's lesions wholly."""
    from pladapt.torch import TorchPredictor, recalibrate_batch_norm

    predictor = TorchPredictor(displacing(), device="cpu")
    return recalibrate_batch_norm(predictor, lesions("s"), device="cpu")


@pytest.fixture(scope="session")
def source(lesions: Callable[..., list[Sample]], trained: TorchPredictor) -> SourceStatistics:
    """Measure the source's images, and what that network marks on them."""
    return SourceStatistics.measure(lesions("s"), trained, region=None)
