"""One round of the paper: train on a source, choose the cut-off on it, and adapt to each target."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pladapt
from pladapt.backends.torch import FineTune, fit, load_module, save_module
from pladapt.evaluators.overlap import OverlapEvaluator
from pladapt.runs import (
    describe,
    open_run,
    read_evaluation,
    read_table,
    write_evaluation,
    write_table,
    written_aside,
)
from pladapt.views import Subset
from pladapt_covid_ct.domains import check_letters, load_domains
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.retraining import (
    ContinuedAdam,
    Restart,
    predictor,
    save_optimizer,
    selector,
    training_options,
)
from pladapt_covid_ct.splits import split_patients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from pladapt import AdaptationResult, Calibration, Evaluation, LabelledSample, Samples
    from pladapt.backends.torch import ModulePredictor
    from pladapt.protocols import Predictor
    from pladapt.types import Progress
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.settings import Settings
    from pladapt_covid_ct.splits import Split

EVALUATOR: Final = "overlap"
MODEL: Final = "model.safetensors"
CHECKPOINT: Final = "checkpoint.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"
EXPORTED: Final = "onnx"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trained:
    """A source's model, and what was found on the source's own patients.

    Args:
        predictor: The trained model.
        channels: Those of its output.
        split: The source's patients.
        train: The labelled slices of the training patients.
        validation: The labelled slices of the validation patients.
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
    calibration: Calibration
    in_domain: Evaluation
    folder: Path


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an experiment found.

    Args:
        source: The source's letter.
        settings: Its choices.
        trained: The source's model and in-domain figures.
        targets: What adaptation found, by the target's letter.
        domains: What was read, by letter.
    """

    source: str
    settings: Settings
    trained: Trained
    targets: Mapping[str, AdaptationResult]
    domains: Mapping[str, Domain]


def run_experiment(
    data: Path,
    source: str,
    targets: Sequence[str],
    *,
    settings: Settings,
    out: Path,
    progress: Progress,
) -> Outcome:
    """Train on the source, calibrate on its test patients, and adapt to each target.

    Args:
        data: The folder with the data sets' own folders.
        source: The letter of the data set to train on.
        targets: The letters of the data sets to adapt to.
        settings: The choices.
        out: The run folder; an interrupted run continues in it.
        progress: Called as work advances.

    Raises:
        InputError: An unknown letter, a target that is the source, or lesion classes that the
            data sets do not have in common.
        MissingDataError: A data set, or the encoder's weights, are not there.
        DataError: A data set has no usable slice.
        RunChangedError: ``out`` holds an experiment with other data or settings.
    """
    check_letters(source, targets)
    domains = load_domains(data, (source, *targets), settings, progress)
    return run_round(source, domains, settings=settings, out=out, progress=progress)


def run_round(
    source: str,
    domains: Mapping[str, Domain],
    *,
    settings: Settings,
    out: Path,
    progress: Progress,
) -> Outcome:
    """Run an experiment on data that were read before.

    Args:
        source: The letter of the data set to train on.
        domains: The source, and each target in its order.
        settings: The choices.
        out: The run folder. Targets may be added to a run that is there.
        progress: Called as work advances.

    Raises:
        RunChangedError: ``out`` holds an experiment with other data or settings.
    """
    open_run(out, _asked(source, domains[source], settings))
    with written_aside(out / "data.json") as aside:
        told = {letter: domain.describe() for letter, domain in domains.items()}
        aside.write_text(json.dumps(told, indent=1), encoding="utf-8")
    trained = train_source(
        domains[source], settings=settings, folder=out / "source", progress=progress
    )
    results = {
        target: adapt_to(
            domain.samples,
            trained,
            settings=settings,
            folder=out / f"{source}-to-{target}",
            progress=progress,
        )
        for target, domain in domains.items()
        if target != source
    }
    return Outcome(source, settings, trained, results, domains)


def _asked(source: str, domain: Domain, settings: Settings) -> dict[str, Any]:
    # the targets' data are in the manifests of their own folders
    return {
        "source": source,
        "settings": asdict(replace(settings, device="any")),
        "data": describe(domain.samples),
    }


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
    evaluator = _evaluator(test, calibration, settings)
    path = folder / "evaluations" / EVALUATOR
    if not path.exists():
        write_evaluation(evaluator.evaluate(trained), path)
    return Trained(
        predictor=trained,
        channels=domain.channels,
        split=split,
        train=train,
        validation=validation,
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
    with written_aside(folder / "history.json") as aside:
        aside.write_text(json.dumps({"best_epoch": result.best_epoch, "epochs": history}))
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
    return pladapt.Calibration.from_curve(read_table(path), settings.calibration)


def _evaluator(
    samples: Samples[LabelledSample], calibration: Calibration, settings: Settings
) -> OverlapEvaluator:
    return OverlapEvaluator(
        samples=samples, cutoff=calibration.cutoff, batch_size=settings.batch_size
    )


def adapt_to(
    target: Samples[LabelledSample],
    trained: Trained,
    *,
    settings: Settings,
    folder: Path,
    progress: Progress,
) -> AdaptationResult:
    """Adapt a source's model to a target; the target's masks go to the evaluator alone.

    Args:
        target: The target's slices.
        trained: The source's model.
        settings: The choices.
        folder: The run folder.
        progress: Called as work advances.
    """
    return pladapt.adapt(
        trained.predictor,
        pladapt.unlabelled(target),
        selector=selector(settings, trained.calibration.cutoff, len(target)),
        retrainer=_retrainer(trained, settings, folder / "checkpoints", progress),
        evaluators={EVALUATOR: _evaluator(target, trained.calibration, settings)},
        workdir=folder,
        batch_size=settings.batch_size,
        progress=progress,
    )


def _retrainer(
    trained: Trained, settings: Settings, checkpoints: Path, progress: Progress
) -> FineTune:
    options = training_options(settings)
    if settings.optimiser == "continued":
        options = replace(options, optimizer=ContinuedAdam(trained.folder / OPTIMIZER))
    given: dict[str, Any] = {
        "validation": trained.validation if settings.validation == "source" else 0.1,
        "options": options,
        "checkpoints": checkpoints,
        "progress": progress,
    }
    if settings.source_ratio:
        given |= {"source": trained.train, "source_ratio": settings.source_ratio}
    if settings.retrain_from == "source":
        return FineTune(**given)
    initial = build_model(
        settings.encoder, settings.encoder_weights, classes=trained.channels, seed=settings.seed
    )
    return Restart(initial=initial, **given)
