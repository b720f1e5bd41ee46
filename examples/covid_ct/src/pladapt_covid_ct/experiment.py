"""One round of the paper: train on a source, choose the cut-off on it, and adapt to each target."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pladapt
from pladapt.errors import InputError
from pladapt.runs.manifest import describe, open_run, read_manifest
from pladapt.storage import atomic_write
from pladapt_covid_ct.domains import check_letters, load_domains
from pladapt_covid_ct.recipes import recipe_of
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.source import EVALUATOR, evaluator_of, train_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pladapt import AdaptationResult, LabelledSample, Sample
    from pladapt.types import Progress
    from pladapt.typing import Samples
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.source import Trained


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
    source_folder: Path | None = None,
) -> Outcome:
    """Run an experiment on data that were read before.

    Args:
        source: The letter of the data set to train on.
        domains: The source, and each target in its order.
        settings: The choices.
        out: The run folder. Targets may be added to a run that is there.
        progress: Called as work advances.
        source_folder: Where the source's model is kept, for several experiments that share one; by
            default in the run folder.

    Raises:
        RunChangedError: ``out`` holds an experiment with other data or settings.
    """
    open_run(out, _config(source, domains[source], settings))
    with atomic_write(out / "data.json") as temporary:
        told = {letter: domain.describe() for letter, domain in domains.items()}
        temporary.write_text(json.dumps(told, indent=1), encoding="utf-8")
    trained = train_source(
        domains[source],
        settings=settings,
        folder=source_folder or out / "source",
        progress=progress,
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


def _config(source: str, domain: Domain, settings: Settings) -> dict[str, Any]:
    # the targets' data are in the manifests of their own folders
    return {
        "source": source,
        "settings": asdict(replace(settings, device="any")),
        "data": describe(domain.samples),
    }


def slices_of(run: Path, data: Path, progress: Progress) -> Samples[Sample]:
    """Return a target's slices as its run was given them: prepared, and without their masks.

    Args:
        run: The target's run folder, in that of the experiment.
        data: The folder with the data sets' own folders.
        progress: Called as work advances.

    Raises:
        InputError: It is no target's folder.
        MissingDataError: The experiment or the data set is not there.
        DataError: The data set has no usable slice.
    """
    source, to, target = run.name.partition("-to-")
    if not to:
        raise InputError(f"{run} is no run folder of a target; give one such as OUT/A-to-B.")
    check_letters(source, [target])
    settings = Settings(**read_manifest(run.parent)["config"]["settings"] | {"device": "auto"})
    return pladapt.unlabelled(load_domains(data, [target], settings, progress)[target].samples)


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
    recipe = recipe_of(
        trained, settings, len(target), checkpoints=folder / "checkpoints", progress=progress
    )
    return recipe.adapt(
        trained.predictor,
        pladapt.unlabelled(target),
        evaluators={EVALUATOR: evaluator_of(target, trained.calibration, settings)},
        workdir=folder,
        progress=progress,
    )
