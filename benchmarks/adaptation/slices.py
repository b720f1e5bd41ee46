"""CT: real slices and the COVID-19 example's phantoms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from families import SmallUNet, evenly

from pladapt.storage import atomic_write
from pladapt_covid_ct.domains import load_domains
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.retraining import training_options
from pladapt_covid_ct.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from families import Config
    from torch import nn

    from pladapt import LabelledSample
    from pladapt.torch import TrainingOptions

_SLICES: Final = 32  # of a volume, evenly spaced: neighbours show nearly the same


class Slices:
    """The real slices: LinkNet on EfficientNet-Lite0, which starts from ImageNet."""

    min_dsc = 0.5
    axes = (-1,)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._settings = Settings(
            size=config.size,
            encoder="tu-tf_efficientnet_lite0",
            encoder_weights=str(config.encoder_weights or "none"),
            lungs="files",
            epochs=15,
            device=config.device,
        )
        self.min_pixels = self._settings.scaled_min_pixels
        self.cutoffs = self._settings.cutoff_grid

    def load(self, name: str) -> list[LabelledSample]:
        """Read a data set, and prepare some slices of each volume."""
        folder = self._config.folder("covid_ct")
        return _loaded(folder, name, self._settings, _SLICES)

    def network(self, seed: int) -> nn.Module:
        """Return the network before training."""
        return build_model(self._settings.encoder, self._settings.encoder_weights, seed=seed)

    def pieces(self, samples: Sequence[LabelledSample]) -> Sequence[LabelledSample]:
        """Return the slices whole."""
        return samples

    def training(self, seed: int) -> TrainingOptions:
        """Return the paper's training, stopped on what chooses the weights, and averaged."""
        return replace(self.retraining(seed), min_steps=250, ema=0.98)

    def retraining(self, seed: int) -> TrainingOptions:
        """Return the paper's training."""
        return replace(training_options(replace(self._settings, seed=seed)), keep="val_loss")


class Phantoms(SmallUNet):
    """The COVID-19 example's phantoms."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._folder: Path = config.out / "phantoms"
        self._patients = {"A": 6, "B": 4} if config.quick else {"A": 30, "B": 12}
        self._slices = 6 if config.quick else 10
        self._settings = Settings(size=64, encoder_weights="none", device=config.device)
        self.min_pixels = self._settings.scaled_min_pixels

    def load(self, name: str) -> list[LabelledSample]:
        """Draw the phantoms where they are not there, and prepare one data set's slices."""
        if not self._folder.exists():
            with atomic_write(self._folder) as temporary:
                write_phantoms(temporary, seed=0, patients=self._patients, slices=self._slices)
        return _loaded(self._folder, name, self._settings, self._slices)


def _loaded(folder: Path, name: str, settings: Settings, most: int) -> list[LabelledSample]:
    samples = load_domains(folder, [name], settings, _silent)[name].samples
    volumes: defaultdict[str, list[LabelledSample]] = defaultdict(list)
    for index in range(len(samples)):
        volumes[samples[index].group].append(samples[index])
    return [sample for volume in volumes.values() for sample in evenly(volume, most)]


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""
