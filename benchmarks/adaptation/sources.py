"""The study's source models: each trained and calibrated once, and kept."""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from domains import domain, family, split

import pladapt
from pladapt import SourceStatistics
from pladapt.storage import atomic_write, read_table, write_table
from pladapt.torch import TorchPredictor, fit, load_module, save_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from domains import Config, Family, Pair
    from torch import nn

    from pladapt import LabelledSample
    from pladapt.torch import TrainingOptions
    from pladapt.typing import Samples


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A trained source model, and all of the source that an adaptation may use.

    Args:
        predictor: The model.
        cutoff: The best on the source's test patients.
        statistics: Measured on the same patients' images with the model.
        train: The labelled slices of the source's training patients, which nothing that adapts
            is given.
        validation: Those of its validation patients.
        training: How the model was trained.
        min_pixels: The fewest pixels above the cut-off that the paper's rule keeps.
        seed: Of the split, the network and the training.
    """

    predictor: TorchPredictor
    cutoff: float
    statistics: SourceStatistics
    train: Samples[LabelledSample]
    validation: Samples[LabelledSample]
    training: TrainingOptions
    min_pixels: int
    seed: int


def source_of(config: Config, pair: Pair, seed: int) -> Source:
    """Return a pair's source model, trained unless it is there."""
    folder = config.out / "sources" / f"{pair.family}-{pair.source}" / f"seed-{seed}"
    with _alone(folder):
        return _source_in(folder, config, pair, seed)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is at work in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _source_in(folder: Path, config: Config, pair: Pair, seed: int) -> Source:
    made = family(config, pair.family)
    train, validation, test = split(domain(config, pair.family, pair.source), seed)
    module = _trained(made, train, validation, seed=seed, folder=folder)
    predictor = TorchPredictor(module, device=config.device, channels_last=True)
    cutoff = _cutoff(predictor, test, made.cutoffs, folder / "calibration.parquet")
    path = folder / "statistics.npz"
    if not path.exists():
        SourceStatistics.measure(test, predictor, cutoff=cutoff).save(path)
    return Source(
        predictor=predictor,
        cutoff=cutoff,
        statistics=SourceStatistics.load(path),
        train=train,
        validation=validation,
        training=made.training(seed),
        min_pixels=made.min_pixels,
        seed=seed,
    )


def _trained(
    made: Family,
    train: Samples[LabelledSample],
    validation: Samples[LabelledSample],
    *,
    seed: int,
    folder: Path,
) -> nn.Module:
    # in this layout a CPU trains depthwise convolutions half as quickly again
    module = made.network(seed).to(memory_format=torch.channels_last)
    path = folder / "model.safetensors"
    if not path.exists():
        start = time.process_time()
        result = fit(
            module,
            train,
            validation,
            made.training(seed),
            checkpoint=folder / "checkpoint.safetensors",
        )
        told = {
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "seconds": time.process_time() - start,
        }
        with atomic_write(folder / "training.json") as temporary:
            temporary.write_text(json.dumps(told), encoding="utf-8")
        save_module(result.module, path)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    load_module(module, path)
    return module.eval()


def _cutoff(
    predictor: TorchPredictor,
    test: Samples[LabelledSample],
    cutoffs: Sequence[float],
    path: Path,
) -> float:
    if not path.exists():
        write_table(pladapt.calibrate_cutoff(predictor, test, cutoffs=cutoffs).curve, path)
    found = pladapt.evaluation.Calibration.from_curve(read_table(path), "pooled").cutoff
    return found if isinstance(found, float) else found[0]
