"""Adapt a U-Net from one simulated ultrasound scanner to another, in less than a minute."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import pladapt
from pladapt import LabelledSample
from pladapt.reports.comparison import compare, rows
from pladapt.torch import RandomAffine, TorchPredictor, TrainingOptions, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.float64]

SIZE = 64
"""Height (depth under the probe) and width of an image, in pixels."""

IMAGES = 4
"""How many images each patient has."""


@dataclass(frozen=True)
class Scanner:
    """What a scanner makes of the same tissue.

    Args:
        grain: The speckle's width along depth and across, in pixels.
        lesion: The amplitude of a lesion's echoes; tissue's is 1.
        attenuation: How many decibels are lost from the probe to the deepest pixel.
        dynamic_range: The decibels below the brightest echo that are shown; the rest is black.
    """

    grain: tuple[float, float]
    lesion: float
    attenuation: float
    dynamic_range: float

    def scan(self, rng: Generator, echoes: Image, lesion: NDArray[np.bool_]) -> Image:
        """Return the picture, 0 black to 1 white, of tissue of these echo amplitudes."""
        amplitude = np.where(lesion, self.lesion * echoes, echoes)
        scatterers = rng.normal(size=(2, SIZE, SIZE))
        field = _blurred((scatterers[0] + 1j * scatterers[1]) * amplitude, self.grain)
        decibels = 20 * np.log10(np.abs(field) + 1e-12)
        decibels -= np.linspace(0, self.attenuation, SIZE)[:, None]
        brightest = np.percentile(decibels, 99.5)
        return np.asarray(np.clip(1 + (decibels - brightest) / self.dynamic_range, 0, 1))


SOURCE = Scanner(grain=(0.7, 1.0), lesion=0.15, attenuation=0, dynamic_range=60)
TARGET = Scanner(grain=(0.9, 1.8), lesion=0.25, attenuation=14, dynamic_range=45)
SETS = (("train", SOURCE, 2), ("val", SOURCE, 0.5), ("test", SOURCE, 1), ("target", TARGET, 3))
"""Each set's name, scanner, and number of patients as a multiple of ``--patients``."""


def _blurred(field: NDArray[np.complex128], width: tuple[float, float]) -> NDArray[np.complex128]:
    """Blur with a Gaussian of these standard deviations, as the probe's pulse does."""
    transfer = [np.exp(-2 * (np.pi * np.fft.fftfreq(SIZE) * sigma) ** 2) for sigma in width]
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * np.outer(*transfer)))


def _ellipse(rng: Generator, least: float, most: float) -> NDArray[np.bool_]:
    """Draw a tilted ellipse whose half-axes lie between ``least`` and ``most`` pixels."""
    y, x = np.mgrid[:SIZE, :SIZE] - rng.uniform(0.25 * SIZE, 0.75 * SIZE, 2)[:, None, None]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    a, b = rng.uniform(least, most, 2)
    return np.asarray((along / a) ** 2 + (across / b) ** 2 < 1)


def _layers(rng: Generator) -> Image:
    """Draw tissue in layers of different brightness, wavy from left to right."""
    x = np.arange(SIZE) / SIZE
    echoes = np.ones((SIZE, SIZE))
    for depth in np.sort(rng.uniform(0.1, 0.9, 3)):
        edge = SIZE * (
            depth + 0.04 * np.sin(2 * np.pi * (x * rng.uniform(0.5, 1.5) + rng.random()))
        )
        echoes[np.arange(SIZE)[:, None] > edge] *= rng.uniform(0.6, 1.4)
    return echoes


def scans(name: str, scanner: Scanner, patients: int, *, seed: int) -> list[LabelledSample]:
    """Make ``IMAGES`` images of each patient: tissue, and in three of four a dark lesion."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(patients * IMAGES):
        has_lesion = number % IMAGES < IMAGES - 1
        lesion = _ellipse(rng, 6, 14) if has_lesion else np.zeros((SIZE, SIZE), np.bool_)
        picture = scanner.scan(rng, _layers(rng), lesion)
        normal = ((picture - picture.mean()) / picture.std()).astype(np.float32)
        group = f"{name}-patient-{number // IMAGES:02}"
        mask = lesion.view(np.uint8)
        samples.append(LabelledSample(f"{name}-{number:03}", group, normal[None], mask))
    return samples


def _convolutions(given: int, made: int) -> nn.Sequential:
    layers = []
    for channels in (given, made):
        layers += [nn.Conv2d(channels, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """A U-Net of three levels; images ``(B, 1, H, W)`` to logits, H and W multiples of 4."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1 = _convolutions(1, width)
        self.down2 = _convolutions(width, 2 * width)
        self.bottom = _convolutions(2 * width, 4 * width)
        self.up2 = _convolutions(6 * width, 2 * width)
        self.up1 = _convolutions(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)
        self.shrink = nn.MaxPool2d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(B, 1, H, W)``."""
        fine = self.down1(images)
        middle = self.down2(self.shrink(fine))
        coarse = self.bottom(self.shrink(middle))
        middle = self.up2(torch.cat([self.grow(coarse), middle], 1))
        logits: torch.Tensor = self.head(self.up1(torch.cat([self.grow(middle), fine], 1)))
        return logits


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the source, choose its cut-off, adapt to the target, and print before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15, help="of training and retraining")
    parser.add_argument("--patients", type=int, default=10, help="in the source's test set")
    parser.add_argument("--seed", type=int, default=0, help="of the images and the network")
    recipes = ("paper", "robust")
    parser.add_argument("--recipe", choices=recipes, default="paper", help="how to adapt")
    options = parser.parse_args(arguments)

    seeds = np.random.SeedSequence(options.seed).generate_state(4)
    train, validation, test, target = (
        scans(name, scanner, round(fraction * options.patients), seed=seed)
        for (name, scanner, fraction), seed in zip(SETS, seeds, strict=True)
    )

    training = TrainingOptions(
        epochs=options.epochs, augmentation=RandomAffine(), seed=options.seed, device="cpu"
    )
    torch.manual_seed(options.seed)
    module = fit(UNet(), train, validation, training).module
    predictor = TorchPredictor(module, device="cpu")
    cutoff = pladapt.calibrate_cutoff(predictor, test).cutoff

    domains = {"source": test, "target": target}
    if options.recipe == "robust":
        source = pladapt.SourceStatistics.measure(test, predictor, cutoff=cutoff)
        recipe = pladapt.recipe("robust", source=source, seed=options.seed, device="cpu")
    else:
        recipe = pladapt.recipe(
            "paper",
            cutoff=cutoff,
            top_k=len(target) // 4,
            validation=validation,
            options=training,
        )
    result = recipe.adapt(
        predictor,
        pladapt.unlabelled(target),
        evaluators={
            name: pladapt.evaluator("overlap", samples=samples, cutoff=cutoff)
            for name, samples in domains.items()
        },
    )
    print(f"cut-off {cutoff}; {result.verdict}")
    for current in result.rounds:
        print(f"selected: {current.selection.counts}")
    print(f"{'':26}{'DSC':>15}{'SEN':>15}{'SPC':>15}")
    for name in domains:
        for samples, _, *figures in rows(compare(result, name)):
            print(f"{name + ', ' + samples:26}" + "".join(f"{text:>15}" for text in figures))


if __name__ == "__main__":
    main()
