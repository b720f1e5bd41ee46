"""One round of the paper: train on a source, choose the cut-off on it, and adapt to each target."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch

import pladapt
from pladapt.backends.torch import (
    FineTune,
    RandomAffine,
    TorchPredictor,
    TrainingOptions,
    fit,
    load_module,
    save_module,
)
from pladapt.errors import InputError
from pladapt.evaluators.overlap import OverlapEvaluator
from pladapt.runs import (
    fingerprint,
    open_run,
    read_evaluation,
    read_table,
    write_evaluation,
    write_table,
    written_aside,
)
from pladapt.selectors.certainty_index import CertaintyIndexSelector
from pladapt.views import Subset
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing, keep_slices
from pladapt_covid_ct.splits import split_patients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pladapt import AdaptationResult, Calibration, Evaluation, LabelledSample, Samples
    from pladapt.types import Progress
    from pladapt_covid_ct.datasets import Dataset
    from pladapt_covid_ct.splits import Split

Validation: TypeAlias = Literal["source", "pseudo-labels"]

EVALUATOR: Final = "overlap"
_REFERENCE_SIZE: Final = 512  # the matrix for which the paper drops fewer than 50 pixels
_REFERENCE_PIXELS: Final = 50


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of an experiment; where the paper makes one, it is the default.

    Args:
        size: Width and height given to the network; a multiple of 32. The paper's is 512.
        encoder: An encoder of segmentation-models-pytorch, or timm's as ``tu-NAME``.
        encoder_weights: ``imagenet``, ``none``, or a file.
        epochs: At most so many epochs, in training and in retraining.
        patience: Training stops after so many epochs without a lower validation loss.
        batch_size: Slices in a batch; the paper does not say.
        learning_rate: Adam's, at the start.
        seed: Of the split, the network's random layers, the order of slices and augmentation.
        fold: Which of the five folds of patients.
        device: ``auto``, ``cpu``, ``cuda``, ...
        top_fraction: The share of the target's slices that is kept at the most. The paper took
            the number "based on the size of the external test sets" and does not state it.
        ci_limit: The lowest CI that is kept; the paper does not state its limit.
        min_pixels: The fewest pixels above the cut-off; by default the paper's 50 at 512 x 512,
            scaled to the area of ``size``.
        validation: What stops retraining and chooses its weights: the source's validation
            patients, or a tenth of the target's pseudo-labelled patients.
        slices: ``all`` of the data sets' slices, or the ``infected`` ones alone, as Table I
            counts them. On a target that looks at its masks.
    """

    size: int = 512
    encoder: str = "resnet34"
    encoder_weights: str = "imagenet"
    epochs: int = 100
    patience: int = 5
    batch_size: int = 8
    learning_rate: float = 1e-3
    seed: int = 0
    fold: int = 0
    device: str = "auto"
    top_fraction: float = 0.25
    ci_limit: float | None = None
    min_pixels: int | None = None
    validation: Validation = "source"
    slices: Literal["all", "infected"] = "all"

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:  # noqa: PLR2004 - LinkNet halves its input five times
            raise InputError(f"size is {self.size}; LinkNet needs a multiple of 32.")
        if not 0 < self.top_fraction <= 1:
            raise InputError(f"top_fraction is {self.top_fraction}; it must be in (0, 1].")

    @property
    def fewest_pixels(self) -> int:
        """The fewest pixels above the cut-off, at this size."""
        if self.min_pixels is not None:
            return self.min_pixels
        return max(1, round(_REFERENCE_PIXELS * (self.size / _REFERENCE_SIZE) ** 2))


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A source's model, and what was found on the source's own patients.

    Args:
        predictor: The trained model.
        split: The source's patients.
        validation: The labelled slices of the validation patients.
        calibration: The cut-off and the curve it was chosen from.
        in_domain: The figures on the source's test patients. The cut-off was chosen on the same
            slices, as in the paper, which flatters them.
    """

    predictor: TorchPredictor
    split: Split
    validation: Samples[LabelledSample]
    calibration: Calibration
    in_domain: Evaluation


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What an experiment found.

    Args:
        source: The source's letter.
        settings: Its choices.
        trained: The source's model and in-domain figures.
        targets: What adaptation found, by the target's letter.
        datasets: What was read, by letter.
    """

    source: str
    settings: Settings
    trained: Trained
    targets: Mapping[str, AdaptationResult]
    datasets: Mapping[str, Dataset]


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
        InputError: An unknown letter, or a target that is the source.
        MissingDataError: A data set, or the encoder's weights, are not there.
        DataError: A data set has no usable slice.
        RunChangedError: ``out`` holds an experiment with other data or settings.
    """
    _check_letters(source, targets)
    datasets = {letter: DATASETS[letter].load(data) for letter in (source, *targets)}
    samples = {letter: prepare(read, settings, progress) for letter, read in datasets.items()}
    asked = {
        "source": source,
        "settings": asdict(replace(settings, device="any")),
        "data": {letter: digest(view) for letter, view in samples.items()},
    }
    open_run(out, asked)
    trained = train_source(
        samples[source], settings=settings, folder=out / "source", progress=progress
    )
    results = {
        target: adapt_to(
            samples[target],
            trained,
            settings=settings,
            folder=out / f"{source}-to-{target}",
            progress=progress,
        )
        for target in targets
    }
    return Outcome(source, settings, trained, results, datasets)


def _check_letters(source: str, targets: Sequence[str]) -> None:
    for letter in (source, *targets):
        if letter not in DATASETS:
            raise InputError(f"There is no data set {letter!r}; expected one of {list(DATASETS)}.")
    if source in targets or len(set(targets)) < len(targets) or not targets:
        raise InputError(
            f"The source is {source} and the targets are {list(targets)}; give at least one "
            "target, each once, and none that is the source."
        )


def prepare(dataset: Dataset, settings: Settings, progress: Progress) -> Samples[LabelledSample]:
    """Prepare a data set's slices that show lung, and keep them in memory."""
    slices = keep_slices(
        dataset.slices, only_infected=settings.slices == "infected", with_lung=True
    )
    prepared = PreparedSlices(slices, Preprocessing(size=settings.size))

    def report(_stage: str, done: int, total: int, /) -> None:
        progress(f"prepare {dataset.name}", done, total)

    prepared.preload(report)
    return prepared.labelled()


def digest(samples: Samples[LabelledSample]) -> dict[str, Any]:
    """Return the number of samples and the SHA-256 of all their ids, images and masks."""
    total = hashlib.sha256()
    for index in range(len(samples)):
        sample = samples[index]
        parts = (sample.id, sample.group, fingerprint(sample.image), fingerprint(sample.mask))
        total.update("\0".join(parts).encode())
    return {"samples": len(samples), "sha256": total.hexdigest()}


def train_source(
    samples: Samples[LabelledSample], *, settings: Settings, folder: Path, progress: Progress
) -> Trained:
    """Train on a source's training patients, and choose the cut-off on its test patients.

    Args:
        samples: The source's slices, of at least three patients.
        settings: The choices.
        folder: Where finished stages are kept, and found again.
        progress: Called as work advances.
    """
    groups = [samples[index].group for index in range(len(samples))]
    split = split_patients(groups, seed=settings.seed, fold=settings.fold)
    train, validation, test = (
        Subset(samples, [i for i, group in enumerate(groups) if group in patients])
        for patients in (split.train, split.validation, split.test)
    )
    predictor = _train(train, validation, settings=settings, folder=folder, progress=progress)
    calibration = _calibrate(predictor, test, settings, folder / "calibration.parquet")
    evaluator = _evaluator(test, calibration, settings)
    path = folder / "evaluations" / EVALUATOR
    if not path.exists():
        write_evaluation(evaluator.evaluate(predictor), path)
    return Trained(predictor, split, validation, calibration, read_evaluation(path))


def training_options(settings: Settings) -> TrainingOptions:
    """Return the paper's training: Adam, the sum of Dice and BCE, zoom, shift, flip and shear.

    The ranges of the augmentation are not in the paper.
    """
    return TrainingOptions(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        optimizer=partial(torch.optim.Adam, lr=settings.learning_rate),
        augmentation=RandomAffine(zoom=0.1, shift=0.1, shear=0.1, flip=(-1,)),
        patience=settings.patience,
        seed=settings.seed,
        device=settings.device,
    )


def _train(
    train: Samples[LabelledSample],
    validation: Samples[LabelledSample],
    *,
    settings: Settings,
    folder: Path,
    progress: Progress,
) -> TorchPredictor:
    path, checkpoint = folder / "model.safetensors", folder / "checkpoint.safetensors"
    weights = "none" if path.exists() else settings.encoder_weights
    module = build_model(settings.encoder, weights, seed=settings.seed)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = training_options(settings)
        result = fit(module, train, validation, options, progress=progress, checkpoint=checkpoint)
        history = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
        with written_aside(folder / "history.json") as aside:
            aside.write_text(json.dumps({"best_epoch": result.best_epoch, "epochs": history}))
        save_module(result.module, path)
    checkpoint.unlink(missing_ok=True)
    load_module(module, path)
    return TorchPredictor(module, device=settings.device)


def _calibrate(
    predictor: TorchPredictor, test: Samples[LabelledSample], settings: Settings, path: Path
) -> Calibration:
    if not path.exists():
        found = pladapt.calibrate_cutoff(predictor, test, batch_size=settings.batch_size)
        write_table(found.curve, path)
    return pladapt.Calibration.from_curve(read_table(path), "pooled")


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
    selector = CertaintyIndexSelector(
        cutoff=trained.calibration.cutoff,
        min_pixels=settings.fewest_pixels,
        ci_limit=settings.ci_limit,
        top_k=max(1, round(settings.top_fraction * len(target))),
    )
    retrainer = FineTune(
        validation=trained.validation if settings.validation == "source" else 0.1,
        options=training_options(settings),
        checkpoints=folder / "checkpoints",
        progress=progress,
    )
    return pladapt.adapt(
        trained.predictor,
        pladapt.unlabelled(target),
        selector=selector,
        retrainer=retrainer,
        evaluators={EVALUATOR: _evaluator(target, trained.calibration, settings)},
        workdir=folder,
        batch_size=settings.batch_size,
        progress=progress,
    )
