"""What the study asks for, and of a kind of domains; and how its small U-Nets are trained."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from pladapt.errors import InputError
from pladapt.evaluation.calibration import DEFAULT_CUTOFFS
from pladapt.torch import RandomAffine, TrainingOptions

sys.path.append(str(Path(__file__).parents[2] / "examples" / "ultrasound"))
import ultrasound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from pladapt import LabelledSample


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the command line asks for.

    Args:
        out: Where everything is kept.
        data: The folder with the real images, or None: ``covid_ct`` in the layout of the COVID-19
            example, ``nuclei`` and ``crack``.
        encoder_weights: A file of the encoder's ImageNet weights, for the real slices, or None.
        quick: Whether everything is tiny, to see that it works.
        device: ``cpu``, ``cuda``, ...
        size: Width and height of the real images in pixels.
        max_images: At most so many images of a target, evenly spaced.
    """

    out: Path
    data: Path | None = None
    encoder_weights: Path | None = None
    quick: bool = False
    device: str = "cpu"
    size: int = 96
    max_images: int = 120

    def folder(self, name: str) -> Path:
        """Return a folder of real images.

        Raises:
            InputError: There is no ``data``.
        """
        if self.data is None:
            raise InputError("The real images need their folder: give --data DIR.")
        return self.data / name


class Family(Protocol):
    """**Protocol:** domains of one kind, and how a network is trained on them."""

    @property
    def min_pixels(self) -> int:
        """The fewest pixels above the cut-off that the paper's rule keeps."""

    @property
    def min_dsc(self) -> float:
        """The DSC on its own test groups below which a source model is left out."""

    @property
    def cutoffs(self) -> Sequence[float]:
        """The cut-offs that are tried."""

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes along which a mirror image is as likely as the image."""

    def load(self, name: str) -> list[LabelledSample]:
        """Read or draw a domain."""

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""

    def pieces(self, samples: Sequence[LabelledSample]) -> Sequence[LabelledSample]:
        """Return what the source model is trained on, of its training images."""

    def training(self, seed: int) -> TrainingOptions:
        """Return how the source model is trained."""

    def retraining(self, seed: int) -> TrainingOptions:
        """Return how it is retrained by the paper's rule and on the target's labels."""


class SmallUNet:
    """The ultrasound example's U-Net, which starts at random, for images with one channel."""

    min_dsc = 0.7
    cutoffs: Sequence[float] = DEFAULT_CUTOFFS
    axes: tuple[int, ...] = (-1,)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.min_pixels = 20 if config.quick else 50

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ultrasound.UNet()

    def pieces(self, samples: Sequence[LabelledSample]) -> Sequence[LabelledSample]:
        """Return the images whole."""
        return samples

    def training(self, seed: int) -> TrainingOptions:
        """Return what brings such a network from chance to its task in a minute or so."""
        return TrainingOptions(
            epochs=2 if self.config.quick else 8,
            min_steps=0 if self.config.quick else 640,
            optimizer=partial(torch.optim.Adam, lr=3e-3),
            augmentation=RandomAffine(flip=self.axes),
            keep="val_loss",
            ema=0.98,
            seed=seed,
            device=self.config.device,
        )

    def retraining(self, seed: int) -> TrainingOptions:
        """Return the paper's."""
        return TrainingOptions(
            epochs=2 if self.config.quick else 15,
            augmentation=RandomAffine(flip=self.axes),
            keep="val_loss",
            seed=seed,
            device=self.config.device,
        )


def evenly(samples: Sequence[LabelledSample], most: int) -> list[LabelledSample]:
    """Return at most so many samples, evenly spaced in their order."""
    places = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    return [samples[place] for place in places]
