"""The study's pairs of domains: their images, networks and training."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
import torch
from scanners import SCANNERS, rescanned

from pladapt import LabelledSample
from pladapt.data.views import Subset
from pladapt.errors import InputError
from pladapt.evaluation.calibration import DEFAULT_CUTOFFS
from pladapt.storage import atomic_write
from pladapt.torch import RandomAffine, TrainingOptions
from pladapt_covid_ct.domains import load_domains
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.retraining import training_options
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.splits import split_patients

sys.path.append(str(Path(__file__).parents[2] / "examples" / "ultrasound"))
import ultrasound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from pladapt.typing import Samples

EPOCHS: Final = 15
"""The most of a training on source masks or pseudo-labels."""

FOLDS: Final = 5


class Pair(NamedTuple):
    """A source and a target.

    Args:
        family: Where both come from, a key of `FAMILIES`.
        source: The source's name within the family.
        target: The target's.
        seed: The only seed of the source that it is for: the target is of patients that the
            source model of this seed was not trained on. None for every seed.
    """

    family: str
    source: str
    target: str
    seed: int | None = None


PAIRS: Final = {
    "A-to-C": Pair("ct", "A", "C"),
    "C-to-A": Pair("ct", "C", "A"),
    "phantoms": Pair("phantoms", "A", "B"),
    "ultrasound": Pair("ultrasound", "source", "target"),
}
"""The pairs of the study, by name."""

SIMULATED: Final = {
    f"{letter}-{scanner}-{seed}": Pair("ct", letter, f"{letter}-{scanner}-{seed}", seed)
    for seed in range(3)
    for letter in "AC"
    for scanner in SCANNERS
}
"""The source's own held-out patients, rescanned: what choices are made on."""

ALL: Final = PAIRS | SIMULATED


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the command line asks for.

    Args:
        out: Where everything is kept.
        data: The folder with the real slices, in the layout of the COVID-19 example, or None.
        encoder_weights: A file of the encoder's ImageNet weights, for the real slices, or None.
        quick: Whether everything is tiny, to see that it works.
        device: ``cpu``, ``cuda``, ...
        size: Width and height of the real slices in pixels.
    """

    out: Path
    data: Path | None = None
    encoder_weights: Path | None = None
    quick: bool = False
    device: str = "cpu"
    size: int = 128


class Family(Protocol):
    """**Protocol:** domains of one kind, and how a network is trained on them."""

    @property
    def min_pixels(self) -> int:
        """The fewest pixels above the cut-off that the paper's rule keeps."""

    @property
    def cutoffs(self) -> Sequence[float]:
        """The cut-offs that are tried."""

    def load(self, name: str) -> list[LabelledSample]:
        """Read or draw a domain."""

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""

    def training(self, seed: int) -> TrainingOptions:
        """Return how it is trained, and retrained."""


class Slices:
    """The real slices: LinkNet on EfficientNet-Lite0, which starts from ImageNet."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.settings = Settings(
            size=config.size,
            encoder="tu-tf_efficientnet_lite0",
            encoder_weights=str(config.encoder_weights or "none"),
            lungs="files",
            epochs=EPOCHS,
            device=config.device,
        )
        self.min_pixels = self.settings.scaled_min_pixels
        self.cutoffs = self.settings.cutoff_grid

    def load(self, name: str) -> list[LabelledSample]:
        """Read a data set and prepare its slices."""
        if name in SIMULATED:
            return _rescanned(self._config, name)
        data = self._config.data
        if data is None:
            raise InputError("The real slices need their folder: give --data DIR.")
        samples = load_domains(data, [name], self.settings, _silent)[name].samples
        return [samples[index] for index in range(len(samples))]

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""
        return build_model(self.settings.encoder, self.settings.encoder_weights, seed=seed)

    def training(self, seed: int) -> TrainingOptions:
        """Return the paper's training."""
        return training_options(replace(self.settings, seed=seed))


class Phantoms(Slices):
    """The COVID-19 example's phantoms: LinkNet on ResNet-18, which starts at random."""

    def __init__(self, config: Config) -> None:
        super().__init__(replace(config, data=config.out / "phantoms", encoder_weights=None))
        self._patients = {"A": 6, "B": 4, "C": 1} if config.quick else {"A": 10, "B": 10, "C": 1}
        self.settings = Settings(
            size=64,
            encoder="resnet18",
            encoder_weights="none",
            epochs=2 if config.quick else 24,
            batch_size=4,
            device=config.device,
        )
        self.min_pixels = self.settings.scaled_min_pixels

    def load(self, name: str) -> list[LabelledSample]:
        """Draw the phantoms where they are not there, and prepare one data set's slices."""
        folder = self._config.data
        if folder is not None and not folder.exists():
            with atomic_write(folder) as temporary:
                slices = 6 if self._config.quick else 16
                write_phantoms(temporary, seed=0, patients=self._patients, slices=slices)
        return super().load(name)


class Ultrasound:
    """The ultrasound example's simulated scanners, and its U-Net."""

    min_pixels = 50
    cutoffs = DEFAULT_CUTOFFS

    def __init__(self, config: Config) -> None:
        self._config = config
        self._patients = (
            {"source": 8, "target": 4} if config.quick else {"source": 35, "target": 30}
        )

    def load(self, name: str) -> list[LabelledSample]:
        """Draw one scanner's images."""
        scanner = {"source": ultrasound.SOURCE, "target": ultrasound.TARGET}[name]
        seed = ("source", "target").index(name)
        return ultrasound.scans(name, scanner, self._patients[name], seed=seed)

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return ultrasound.UNet()

    def training(self, seed: int) -> TrainingOptions:
        """Return the example's training."""
        return TrainingOptions(
            epochs=2 if self._config.quick else 15,
            augmentation=RandomAffine(),
            seed=seed,
            device=self._config.device,
        )


FAMILIES: Final[Mapping[str, Callable[[Config], Family]]] = {
    "ct": Slices,
    "phantoms": Phantoms,
    "ultrasound": Ultrasound,
}
"""The kinds of domains."""


@lru_cache
def family(config: Config, name: str) -> Family:
    """Return a family; the same one for the same question."""
    return FAMILIES[name](config)


@lru_cache
def domain(config: Config, name: str, letter: str) -> list[LabelledSample]:
    """Return a domain's samples, which are prepared once and kept in a file."""
    path = config.out / "domains" / f"{name}-{letter}.npz"
    if not path.exists():
        samples = family(config, name).load(letter)
        arrays = {
            "ids": np.array([s.id for s in samples]),
            "groups": np.array([s.group for s in samples]),
            "images": np.stack([np.asarray(s.image, np.float32) for s in samples]),
            "masks": np.stack([np.asarray(s.mask, np.uint8) for s in samples]),
        }
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # arrays
    with np.load(path) as stored:
        columns = [stored[name] for name in ("ids", "groups", "images", "masks")]
    return [LabelledSample(str(i), str(g), x, y) for i, g, x, y in zip(*columns, strict=True)]


def split(
    samples: Sequence[LabelledSample], seed: int
) -> tuple[Samples[LabelledSample], Samples[LabelledSample], Samples[LabelledSample]]:
    """Return the samples of the training, validation and test patients of a seed."""
    parts = split_patients([s.group for s in samples], seed=seed, fold=seed % FOLDS)
    train, validation, test = (
        Subset(samples, [i for i, s in enumerate(samples) if s.group in patients])
        for patients in (parts.train, parts.validation, parts.test)
    )
    return train, validation, test


def _rescanned(config: Config, name: str) -> list[LabelledSample]:
    """Return the slices of the patients that a source model was not trained on, rescanned."""
    pair = SIMULATED[name]
    _, scanner, _ = name.split("-")
    samples = domain(config, pair.family, pair.source)
    train, _, _ = split(samples, pair.seed)
    known = {train[index].group for index in range(len(train))}
    return [rescanned(s, scanner, pair.seed) for s in samples if s.group not in known]


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""
