"""A source's model: trained on its training patients, its cut-off chosen on its test patients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pladapt
from pladapt.data.views import Subset
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.runs.stages import read_evaluation, write_evaluation
from pladapt.storage import atomic_write, read_table, write_table
from pladapt.torch import fit, load_module, save_module
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.retraining import predictor, save_optimizer, training_options
from pladapt_covid_ct.splits import split_patients

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pladapt import Evaluation, LabelledSample
    from pladapt.evaluation import Calibration
    from pladapt.torch import ModulePredictor
    from pladapt.types import Progress
    from pladapt.typing import Predictor, Samples
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.settings import Settings
    from pladapt_covid_ct.splits import Split

EVALUATOR: Final = "overlap"
"""The name of the evaluator, and of its folder."""

MODEL: Final = "model.safetensors"
CHECKPOINT: Final = "checkpoint.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"
EXPORTED: Final = "onnx"
STATISTICS: Final = "statistics.npz"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trained:
    """A source's model, and what was found on the source's own patients.

    Args:
        predictor: The trained model.
        channels: Those of its output.
        split: The source's patients.
        train: The labelled slices of the training patients.
        validation: The labelled slices of the validation patients.
        test: The labelled slices of the test patients.
        calibration: The cut-off and the curve it was chosen from.
        in_domain: The figures on the source's test patients. The cut-off was chosen on the same
            slices, as in the paper, which flatters them.
        folder: Where its files are.
    """

    predictor: ModulePredictor
    channels: int
    split: Split
    train: Samples[LabelledSample]
    validation: Samples[LabelledSample]
    test: Samples[LabelledSample]
    calibration: Calibration
    in_domain: Evaluation
    folder: Path


def train_source(
    domain: Domain, *, settings: Settings, folder: Path, progress: Progress
) -> Trained:
    """Train on a source's training patients, and choose the cut-off on its test patients.

    Args:
        domain: The source, with at least three patients.
        settings: The choices.
        folder: Where finished stages are kept, and found again.
        progress: Called as work advances.
    """
    samples = domain.samples
    groups = [samples[index].group for index in range(len(samples))]
    split = split_patients(groups, seed=settings.seed, fold=settings.fold)
    train, validation, test = (
        Subset(samples, [i for i, group in enumerate(groups) if group in patients])
        for patients in (split.train, split.validation, split.test)
    )
    weights = "none" if (folder / MODEL).exists() else settings.encoder_weights
    module = build_model(settings.encoder, weights, classes=domain.channels, seed=settings.seed)
    if not (folder / MODEL).exists():
        _train(module, train, validation, settings=settings, folder=folder, progress=progress)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    load_module(module, folder / MODEL)
    trained = predictor(settings, module, folder / EXPORTED)
    calibration = _calibrate(trained, test, settings, folder / "calibration.parquet")
    evaluator = evaluator_of(test, calibration, settings)
    path = folder / "evaluations" / EVALUATOR
    if not path.exists():
        write_evaluation(evaluator.evaluate(trained), path)
    return Trained(
        predictor=trained,
        channels=domain.channels,
        split=split,
        train=train,
        validation=validation,
        test=test,
        calibration=calibration,
        in_domain=read_evaluation(path),
        folder=folder,
    )


def _train(
    module: nn.Module,
    train: Samples[LabelledSample],
    validation: Samples[LabelledSample],
    *,
    settings: Settings,
    folder: Path,
    progress: Progress,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result = fit(
        module,
        train,
        validation,
        training_options(settings),
        progress=progress,
        checkpoint=folder / CHECKPOINT,
    )
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    with atomic_write(folder / "history.json") as temporary:
        temporary.write_text(json.dumps({"best_epoch": result.best_epoch, "epochs": history}))
    if settings.optimiser == "continued":
        save_optimizer(result.optimizer, folder / OPTIMIZER)
    save_module(result.module, folder / MODEL)


def _calibrate(
    predictor: Predictor, test: Samples[LabelledSample], settings: Settings, path: Path
) -> Calibration:
    if not path.exists():
        found = pladapt.calibrate_cutoff(
            predictor,
            test,
            cutoffs=settings.cutoff_grid,
            aggregation=settings.calibration,
            batch_size=settings.batch_size,
        )
        write_table(found.curve, path)
    return pladapt.evaluation.Calibration.from_curve(read_table(path), settings.calibration)


def source_statistics(trained: Trained, settings: Settings) -> pladapt.SourceStatistics:
    """Return what the source's images and the model's predictions on them are like.

    They are measured once, on the test patients, on whom the model was not trained, at the cut-off
    that was chosen; no mask is read.
    """
    path = trained.folder / STATISTICS
    if not path.exists():
        measured = pladapt.SourceStatistics.measure(
            trained.test,
            trained.predictor,
            cutoff=trained.calibration.cutoff,
            batch_size=settings.batch_size,
        )
        measured.save(path)
    return pladapt.SourceStatistics.load(path)


def evaluator_of(
    samples: Samples[LabelledSample], calibration: Calibration, settings: Settings
) -> OverlapEvaluator:
    """Return what measures a model on labelled slices at the source's cut-off."""
    return OverlapEvaluator(
        samples=samples, cutoff=calibration.cutoff, batch_size=settings.batch_size
    )
