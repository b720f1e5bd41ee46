"""The tables that end an experiment: on the terminal and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from pladapt.overlap import METRICS
from pladapt.reports.comparison import compare, rows, selected
from pladapt.runs import written_aside
from pladapt_covid_ct.experiment import EVALUATOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pladapt import AdaptationResult
    from pladapt_covid_ct.experiment import Outcome

HEADER: Final = ("data", "slices", "selected", *(metric.upper() for metric in METRICS))

_AGGREGATIONS: Final = {
    "pooled": "all pixels of all slices together",
    "group": "mean over patients, each patient's pixels pooled",
    "sample": "mean over slices",
}


def table(outcome: Outcome, aggregation: str = "pooled") -> Iterator[tuple[str, ...]]:
    """Yield the rows under `HEADER`: in domain, then each target before → after.

    Args:
        outcome: What the experiment found.
        aggregation: ``pooled``, ``group`` or ``sample``.
    """
    values = (outcome.trained.in_domain.value(m, aggregation=aggregation) for m in METRICS)
    yield (f"{outcome.source} in domain", "test", "", *(f"{value:.3f}" for value in values))
    for target, result in outcome.targets.items():
        changes = compare(result, EVALUATOR)
        for samples, _class, *metrics in rows(changes, aggregation):
            yield (f"{outcome.source} to {target}", samples, _selected(result), *metrics)


def _selected(result: AdaptationResult) -> str:
    return f"{len(selected(result))} of {len(result.rounds[0].scores)}"


def write_report(outcome: Outcome, path: Path) -> None:
    """Write the experiment's report as Markdown."""
    with written_aside(path) as aside:
        aside.write_text("\n".join(_report(outcome)) + "\n", encoding="utf-8")


def _report(outcome: Outcome) -> Iterator[str]:
    yield f"# {outcome.source} to {', '.join(outcome.targets)}: before and after adaptation\n"
    yield "DSC, SEN and SPC before → after, at the cut-off chosen on the source.\n"
    for aggregation, meaning in _AGGREGATIONS.items():
        yield f"## {aggregation.capitalize()}: {meaning}\n"
        yield from markdown_table(HEADER, table(outcome, aggregation))
        yield ""
    yield from _caveats(outcome)
    yield from _selection(outcome)
    yield from _data(outcome)
    yield "## Settings\n"
    yield f"```json\n{json.dumps(asdict(outcome.settings), indent=1)}\n```"


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    for line in (header, ["---"] * len(header), *body):
        yield f"| {' | '.join(line)} |"


def _caveats(outcome: Outcome) -> Iterator[str]:
    trained = outcome.trained
    patients = ", ".join(trained.split.test)
    empty = trained.in_domain.notes["empty_dsc"]
    yield "## How to read the figures\n"
    yield (
        f"- The cut-off {trained.calibration.cutoff} has the best pooled DSC on the source's test "
        f"patients ({patients}). The in-domain row is measured on the same slices, as in the "
        "paper, and is flattered by that; the targets are not."
    )
    yield (
        "- `all` includes the slices that the model was retrained on; `not retrained on` leaves "
        "them out. The remaining slices are harder ones, so compare before with after, not the "
        "two sets with each other."
    )
    yield f"- Where truth and prediction are both empty, the DSC is {empty}.\n"


def _selection(outcome: Outcome) -> Iterator[str]:
    yield "## Selection\n"
    for target, result in outcome.targets.items():
        for current in result.rounds:
            counts = ", ".join(f"{n} {rule}" for rule, n in current.selection.counts.items())
            yield f"- {target}, round {current.number}: {counts}"
        if result.stopped:
            yield f"- {target} stopped: {result.stopped}; the model is the source's"
    yield ""


def _data(outcome: Outcome) -> Iterator[str]:
    yield "## Data\n"
    for letter, domain in outcome.domains.items():
        dataset = domain.dataset
        patients, slices, infected = dataset.counts
        yield f"- {letter}: {patients} patients, {slices} slices, {infected} infected"
        yield from (f"  - {note}" for note in dataset.notes)
        yield from (f"  - left out: {problem}" for problem in dataset.problems)
    yield ""
