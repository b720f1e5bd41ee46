"""What a report says of a run: sections made from what the run found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.errors import InputError
from pladapt.reports.changes import change_section, next_steps
from pladapt.reports.choice import choice_caveat, choice_section, choice_words
from pladapt.reports.comparison import ALL, NOT_RETRAINED, by_name, selected
from pladapt.reports.document import (
    Bullets,
    Document,
    Figure,
    Gallery,
    Listing,
    Section,
    Table,
    Text,
)
from pladapt.reports.galleries import KEPT, gallery_section
from pladapt.reports.gap import gap_table
from pladapt.reports.illustrations import overlap_charts, score_charts, training_chart
from pladapt.reports.labels import label_sections
from pladapt.reports.pipeline import pipeline
from pladapt.reports.recalibration import estimate_words, recalibration_section
from pladapt.reports.reviews import review_sections
from pladapt.reports.tables import (
    change_tables,
    evidence_table,
    failed_evaluations,
    group_table,
    overlap_evaluators,
    rules_table,
    sureness_table,
)
from pladapt.runs import manifest as manifests
from pladapt.runs.manifest import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pladapt.reports.changes import Compared
    from pladapt.reports.document import Block
    from pladapt.reports.galleries import Shown
    from pladapt.runs.records import RunRecord
    from pladapt.types import Evaluation, LabelledSample, Samples
    from pladapt.typing import Selector


def describe_run(
    record: RunRecord,
    *,
    title: str = "Before and after adaptation",
    shown: Shown | None = None,
    compared: Compared | None = None,
    truth: Samples[LabelledSample] | None = None,
    upper: Mapping[str, Evaluation] | None = None,
    left_out: Sequence[tuple[str, str]] | None = None,
) -> Document:
    """Return the report of a run.

    Args:
        record: What `pladapt.adapt` returned, or what `pladapt.read_run` found in a folder.
        title: The heading.
        shown: What overlays are drawn from; None for none.
        compared: What pictures of before and after are drawn from, and in place of ``shown`` those
            of kept and dropped samples; None for none.
        truth: The target's samples with masks, as far as they are known, to measure the stored
            pseudo-labels; by default those that are shown.
        upper: What overlap evaluators, by their names, measured of a model that was trained with
            the target's labels (cross-validated), to say how much of the gap was closed.
        left_out: The names of what could not be used, and why; by default what the run left out.

    Raises:
        InputError: ``upper`` was measured on other samples, or no evaluator has its name.
    """
    tables: list[Block] = [Text("No evaluator was given: nothing was measured.")]
    if record.before:
        tables = [block for name in record.before for block in change_tables(record, name)]
        tables = [*failed_evaluations(record), *tables]
    tables += [_gap(record, name, given) for name, given in (upper or {}).items()]
    if compared is not None and record.rounds:
        shown = compared.shown(record.rounds[0])
    return Document(
        title,
        _lead(record),
        (
            Section("Before and after", tuple(tables)),
            *_pictures(record, compared),
            reading_section(caveats([record])),
            *run_sections(record, shown=shown, truth=truth),
            *([pipeline_section(pipeline_words(record))] if record.rounds else []),
            *left_out_sections(_left_out(record) if left_out is None else left_out),
            manifest_section(read_manifest(record.workdir)),
            Section("What to do next", (Bullets(tuple(next_steps(record))),)),
        ),
        _verdict(record),
    )


def _pictures(record: RunRecord, compared: Compared | None) -> Iterator[Section]:
    made = None if compared is None else change_section(record, compared, _measured(record))
    if made is not None:
        yield made


def _verdict(record: RunRecord) -> str:
    return f"Verdict: {record.verdict}."


def left_out_sections(left_out: Sequence[tuple[str, str]]) -> Iterator[Section]:
    """Yield a section on what could not be used, where there is something."""
    if left_out:
        said = f"{len(left_out):,} could not be used and took no part:"
        rows = tuple((name, reason) for name, reason in left_out)
        table = Table("What was left out, and why", ("name", "reason"), rows, folded=True)
        yield Section("Left out", (Text(said), table))


def _left_out(record: RunRecord) -> list[tuple[str, str]]:
    return [(row["id"], row["reason"]) for row in record.left_out.to_pylist()]


def _lead(record: RunRecord) -> str:
    said = [_verdict(record), *choice_words(record)]
    found = record.recalibration
    if found is not None and found.changed and found.stands:
        alone = "" if record.rounds else ", and not retrained"
        said.append(f"The model was recalibrated on the unlabelled target{alone}.")
    if found is not None:
        trained = any(each.stands for each in record.rounds)
        said += estimate_words(found, trained=trained)
    if record.rounds:
        scored, kept = len(record.rounds[0].scores), len(selected(record))
        rounds = sum(current.stands for current in record.rounds)
        said.append(
            f"{kept} of {scored} target samples were retrained on in {rounds} "
            f"round{'' if rounds == 1 else 's'}, with the model's own predictions."
        )
    return " ".join(said)


def _gap(record: RunRecord, name: str, upper: Evaluation) -> Table:
    if name not in (known := overlap_evaluators(record)):
        raise InputError(f"There is no overlap evaluator {name!r}; the run had {known}.")
    return gap_table(record.before[name], record.after[name], upper)


def run_sections(
    record: RunRecord,
    *,
    shown: Shown | None = None,
    truth: Samples[LabelledSample] | None = None,
) -> Iterator[Section]:
    """Yield what there is to say of a run beside its tables of before and after.

    Args:
        record: What the run did.
        shown: What overlays are drawn from; None for none.
        truth: As for `describe_run`.
    """
    yield from choice_section(record)
    yield from recalibration_section(record)
    if record.rounds:
        yield selection_section(record, None if shown is None else shown.selector)
        yield from _judgements(record)
    yield from review_sections(record)
    if record.rounds and shown is not None:
        yield gallery_section(record, shown, _measured(record))
    for name in overlap_evaluators(record):
        yield overlap_section(record, name)
    yield from label_sections(record, truth if truth is not None or shown is None else shown.truth)
    yield from _retraining(record)


def caveats(records: Sequence[RunRecord]) -> list[str]:
    """Return what a reader must know to read the figures of some runs."""
    said = [
        (
            f"`{ALL}` includes the samples that the model was retrained on; `{NOT_RETRAINED}` "
            "leaves them out. The remaining samples are harder ones, so compare before with after, "
            "not the two sets with each other."
        ),
        choice_caveat(records),
    ]
    if any(each.reviewed is not None for record in records for each in record.rounds):
        said[-1] = (
            "Masks that people reviewed were taught; no other mask of a target took part in "
            "scoring, selecting, retraining or choosing weights."
        )
    if any(
        record.rounds and len(selected(record)) == len(record.rounds[0].scores)
        for record in records
    ):
        said.append(
            "Where every sample was retrained on, without its mask, none is left to tell how the "
            "model does on further samples of the same target."
        )
    measured = [record.before[name] for record in records for name in overlap_evaluators(record)]
    empty = ", ".join(sorted({evaluation.notes["empty_dsc"] for evaluation in measured}))
    if measured:
        said += [
            f"Where truth and prediction are both empty, the DSC is {empty}.",
            (
                "SEN is undefined where the truth is empty, and left out of means; the table of "
                "every figure says of how many values each mean is."
            ),
            (
                "The interval of a mean change is a 95 % bootstrap over groups, and p is of "
                "Wilcoxon's test on the groups' changes. With few groups both say little."
            ),
        ]
    return said


def selection_section(record: RunRecord, selector: Selector | None = None) -> Section:
    """Tell how many samples each rule dropped, and draw the scores with the rules' values.

    Args:
        record: What the run did.
        selector: The run's; where there is none, its folder's manifest tells of it.
    """
    parameters = _parameters(record) if selector is None else describe(selector)
    body: list[Block] = [rules_table(record.rounds, parameters)]
    body += [score_charts(current, parameters) for current in record.rounds]
    if not record.rounds[-1].selection.kept:
        body.insert(0, Text(f"The run stopped: {record.stopped}; no model came of that round."))
    return Section("Selection", tuple(body))


def _parameters(record: RunRecord) -> Mapping[str, Any]:
    """Return what the run folder's manifest says of the selector; nothing without a folder."""
    parameters = read_manifest(record.stages).get("config", {}).get("selector", {})
    return parameters if isinstance(parameters, dict) else {}


def read_manifest(folder: Path | None) -> Mapping[str, Any]:
    """Return the manifest of a run folder; nothing where there is none."""
    if folder is None or not (folder / "run.json").exists():
        return {}
    return manifests.read_manifest(folder)


def overlap_section(record: RunRecord, evaluator: str) -> Section:
    """Show the DSC of each sample and of each group before and after, class by class."""
    classes = np.unique(record.before[evaluator].samples["class"].to_numpy()).tolist()
    body: list[Block] = []
    for class_ in classes:
        of_class = "" if len(classes) == 1 else f" of class {class_}"
        body += [
            overlap_charts(record, evaluator, class_, f"DSC{of_class}"),
            sureness_table(record, evaluator, class_, of_class),
            group_table(record, evaluator, class_, of_class),
        ]
    several = "" if len(record.before) == 1 else f", {evaluator}"
    return Section(f"Each sample and each group{several}", tuple(body))


def _judgements(record: RunRecord) -> Iterator[Section]:
    """Show what the gates measured of each round, without labels of the target."""
    tables = [table for current in record.rounds if (table := evidence_table(current)) is not None]
    if tables:
        words = (
            "No label of the target took part: these figures can show harm, and not that there is "
            "none. A round that a gate refuses ends the run with the model before it."
        )
        if record.rounds[-1].selection.kept and record.stopped:
            words += f" The run stopped: {record.stopped}."
        yield Section("Do no harm", (Text(words), *tables))


def _measured(record: RunRecord) -> dict[str, str]:
    """Return each sample's DSC before and after, of the first evaluator that counted pixels."""
    said: dict[str, list[str]] = {}
    for name in overlap_evaluators(record)[:1]:
        for class_ in np.unique(record.before[name].samples["class"].to_numpy()):
            before, after = by_name(record, name, by="id", class_=class_)
            columns = (before["id"], before["dsc"], after["dsc"])
            for id_, old, new in zip(*(column.to_pylist() for column in columns), strict=True):
                said.setdefault(id_, []).append(f"DSC {old:.3f} → {new:.3f}")
    return {id_: ", ".join(parts) for id_, parts in said.items()}


def _retraining(record: RunRecord) -> Iterator[Section]:
    if record.stages is None:
        return
    for current in record.rounds:
        path = record.stages / f"round-{current.number}" / "predictor" / "history.json"
        if path.exists():
            number = f", round {current.number}" if len(record.rounds) > 1 else ""
            yield Section(f"Retraining{number}", (training_chart(path),))


def pipeline_section(words: Mapping[str, str]) -> Section:
    """Draw the pipeline with a few words to its steps; see `pladapt.reports.pipeline`."""
    said = "; ".join(f"{step}: {text}" for step, text in words.items())
    drawn = Figure(
        pipeline(words),
        f"Flow chart: a labelled source trains a predictor and chooses the cut-off; target images "
        f"are scored, selected, labelled and retrained on; the result is evaluated. {said}",
        "Masks of the target, where there are any, enter with the evaluation.",
    )
    return Section("The pipeline", (Gallery("How the figures came about", (drawn,)),))


def pipeline_words(record: RunRecord) -> dict[str, str]:
    """Return what a run put into the steps of the pipeline."""
    cutoff = _parameters(record).get("cutoff")
    words = {"calibration": "" if cutoff is None else f"cut-off {cutoff}"}
    if record.rounds:
        first = record.rounds[0]
        counts = first.selection.counts
        dropped = ", ".join(f"{count} {rule}" for rule, count in counts.items() if rule != KEPT)
        words |= {
            "target": f"{len(first.scores)} samples, no masks",
            "selection": f"{counts[KEPT]} kept",
            "dropped": dropped or "none",
        }
    words["evaluation"] = ", ".join(record.before)
    return {step: text for step, text in words.items() if text}


def manifest_section(manifest: Mapping[str, Any]) -> Section:
    """Show what was asked of a run, and the versions of what ran."""
    body: list[Block] = [
        Table(
            "Versions" if number == 1 else f"Versions when the run was continued, {number}",
            ("what ran", "version"),
            tuple({name: environment[name] for name in ("python", "machine")}.items())
            + tuple(environment["packages"].items()),
            folded=True,
        )
        for number, environment in enumerate(manifest.get("environments", []), start=1)
    ]
    if "config" in manifest:
        config = json.dumps(manifest["config"], indent=1, sort_keys=True)
        body.append(
            Listing("The configuration, with the SHA-256 of model and data", config, "json")
        )
    return Section("What ran", tuple(body) or (Text("The run was kept in no folder."),))


def reading_section(points: Sequence[str]) -> Section:
    """Return the section that says how to read the figures."""
    return Section("How to read the figures", (Bullets(tuple(points)),))
