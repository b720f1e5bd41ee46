"""The report of an experiment: one document, written as a page and as Markdown."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Final

import pladapt
from pladapt.reports import figures
from pladapt.reports.document import Bullets, Document, Figure, Gallery, Section, Table, Text
from pladapt.reports.findings import (
    caveats,
    manifest_section,
    pipeline_section,
    pipeline_words,
    read_manifest,
    reading_section,
    run_sections,
)
from pladapt.reports.galleries import Shown
from pladapt.reports.html import write_html
from pladapt.reports.illustrations import training_chart
from pladapt.reports.markdown import write_markdown
from pladapt.reports.tables import AGGREGATIONS, every_figure
from pladapt_covid_ct.appearance import appearance
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.recipes import first_selector, recipe_of
from pladapt_covid_ct.source import EVALUATOR
from pladapt_covid_ct.tables import HEADER, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pladapt.reports.document import Block
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.experiment import Outcome
    from pladapt_covid_ct.settings import Settings
    from pladapt_covid_ct.source import Trained

_ROBUST: Final = {
    "predictor": "the source's model, recalibrated on the target",
    "score": "agreement of its members",
}
_MOST_SHOWN: Final = 10  # files that were left out; more would push the rest out of sight


def write_report(outcome: Outcome, folder: Path, *, notes: Sequence[str] = ()) -> None:
    """Write ``report.html`` and ``report.md``.

    Args:
        outcome: What the experiment found.
        folder: The run folder.
        notes: What a reader must know beside what the report says of itself.
    """
    document = describe(outcome, folder, notes=notes)
    write_html(document, folder / "report.html")
    write_markdown(document, folder / "report.md")


def describe(outcome: Outcome, folder: Path, *, notes: Sequence[str] = ()) -> Document:
    """Return the report of an experiment; see `write_report`."""
    source, settings = outcome.source, outcome.settings
    manifest = manifest_section(read_manifest(folder))
    return Document(
        f"{source} to {', '.join(outcome.targets)}: before and after adaptation",
        f"DSC, SEN and SPC at the cut-off chosen on the source: LinkNet with {settings.encoder} at "
        f"{settings.size} x {settings.size} pixels, fold {settings.fold}, seed {settings.seed}; "
        f"adapted by the recipe `{settings.recipe}`.",
        (
            Section("Before and after", tuple(_changes(outcome))),
            reading_section([*notes, *_caveats(outcome), *caveats([*outcome.targets.values()])]),
            *(_target(outcome, letter) for letter in outcome.targets),
            Section(f"The source {source}", tuple(_source(outcome.trained))),
            Section("The data", tuple(_data(outcome.domains))),
            pipeline_section(_words(outcome)),
            Section(manifest.title, (_settings(settings), *manifest.body)),
        ),
    )


def _changes(outcome: Outcome) -> Iterator[Block]:
    for aggregation, meaning in AGGREGATIONS.items():
        caption = f"{aggregation.capitalize()}: {meaning}; before → after"
        yield Table(caption, HEADER, tuple(table(outcome, aggregation)))
    for letter, result in outcome.targets.items():
        yield every_figure(result, EVALUATOR, f" of {outcome.source} to {letter}")


def _caveats(outcome: Outcome) -> Iterator[str]:
    patients = ", ".join(outcome.trained.split.test)
    yield (
        f"The cut-off {outcome.trained.calibration.cutoff} has the best "
        f"{outcome.trained.calibration.aggregation} DSC on the source's test patients "
        f"({patients}). The in-domain row is measured on the same slices, as in the paper, and is "
        "flattered by that; the targets are not."
    )
    if outcome.trained.calibration.at_edge:
        yield (
            f"The cut-off {outcome.trained.calibration.cutoff} lies at the edge of those that were "
            "tried: a better one may lie beyond. It is found where probabilities crowd near 0 or "
            "1; the curve of the calibration shows it."
        )
    if outcome.settings.slices == "infected":
        yield (
            "Slices without a lesion were left out of the targets, too, which looks at their "
            "masks; on all slices the figures are others."
        )


def _target(outcome: Outcome, letter: str) -> Section:
    trained, settings = outcome.trained, outcome.settings
    samples = outcome.domains[letter].samples
    shown = Shown(
        target=pladapt.unlabelled(samples),
        predictor=outcome.targets[letter].first,
        selector=first_selector(recipe_of(trained, settings, len(samples))),
        truth=samples,
        batch_size=settings.batch_size,
    )
    body = run_sections(outcome.targets[letter], shown=shown)
    return Section(f"{outcome.source} to {letter}", tuple(body))


def _source(trained: Trained) -> Iterator[Block]:
    parts = ("train", "validation", "test")
    yield Table(
        "The source's patients; no patient is in two parts",
        ("part", "patients", "which"),
        tuple(
            (part, str(len(names)), ", ".join(names))
            for part, names in ((part, getattr(trained.split, part)) for part in parts)
        ),
        folded=True,
    )
    history = trained.folder / "history.json"
    training = training_chart(history).figures if history.exists() else ()
    yield Gallery("Training, and the choice of the cut-off", (*training, _calibration(trained)))


def _calibration(trained: Trained) -> Figure:
    columns = (trained.calibration.curve[name].to_numpy() for name in ("class", "cutoff", "dsc"))
    classes, cutoffs, values = columns
    best = trained.calibration.cutoff
    chosen = best if isinstance(best, tuple) else (best,)
    found = sorted(set(classes.tolist()))
    of_class = {
        "DSC" if len(found) == 1 else f"class {class_}": classes == class_ for class_ in found
    }
    said = f"DSC of {len(cutoffs) // len(chosen)} cut-offs on the source's test patients"
    return Figure(
        figures.calibration_curve(
            {name: (cutoffs[mask], values[mask]) for name, mask in of_class.items()},
            dict(zip(of_class, chosen, strict=True)),
        ),
        f"Line chart: {said}; the best is {best}.",
        f"{said}; the best, {best}, is kept for every target.",
    )


def _data(domains: Mapping[str, Domain]) -> Iterator[Block]:
    counts = ("patients", "slices", "infected")
    yield Table(
        "What was read, and what Table I of the paper counts",
        ("data", "name", *counts, "used", *(f"{name}, paper" for name in counts)),
        tuple(
            (
                letter,
                DATASETS[letter].name,
                *(_number(count) for count in domain.dataset.counts),
                str(len(domain.samples)),
                *(_number(count) for count in DATASETS[letter].paper),
            )
            for letter, domain in domains.items()
        ),
    )
    notes = [f"{name}: {note}" for name, read in domains.items() for note in read.dataset.notes]
    if notes:
        yield Bullets(tuple(notes))
    problems = [
        (name, problem.path, problem.reason)
        for name, domain in domains.items()
        for problem in domain.dataset.problems
    ]
    if problems:
        caption = f"What was left out, and why: {len(problems)} files"
        header = ("data", "file", "reason")
        yield Table(caption, header, tuple(problems), folded=len(problems) > _MOST_SHOWN)
    else:
        yield Text("No file was left out.")
    yield from appearance(domains)


def _number(count: int | None) -> str:
    return "" if count is None else str(count)


def _words(outcome: Outcome) -> dict[str, str]:
    """Return the steps of the pipeline, with what each target put into them."""
    of_target = {letter: pipeline_words(run) for letter, run in outcome.targets.items()}
    several = {
        # a target on which no round ran has no words for what a round does
        step: "; ".join(
            f"{letter}: {words[step]}" for letter, words in of_target.items() if step in words
        )
        for step in ("target", "selection", "dropped")
    }
    counts = outcome.domains[outcome.source].dataset.counts
    return {
        "source": f"{outcome.source}: {counts.patients} patients, {counts.slices} slices",
        "training": f"LinkNet, {outcome.settings.encoder}",
        "calibration": f"{outcome.trained.calibration.cutoff}, the best on the test patients",
        **(_ROBUST if outcome.settings.recipe == "robust" else {}),
        **several,
    }


def _settings(settings: Settings) -> Table:
    return Table(
        "The settings",
        ("setting", "value", "meaning"),
        tuple(
            (item.name, str(getattr(settings, item.name)), item.metadata.get("help", ""))
            for item in fields(settings)
        ),
        folded=True,
    )
