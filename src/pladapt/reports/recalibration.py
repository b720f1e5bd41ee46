"""What a report says of a recalibration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pladapt.reports.document import Bullets, Section, Table, Text
from pladapt.reports.tables import every_figure, figure, overlap_evaluators

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pladapt.reports.document import Block
    from pladapt.runs.records import RunRecord

_CONSENSUS: Final = {"adjustment", "agreement", "kept", "shift", "fraction"}

_READING_CONSENSUS: Final = (
    (
        "Each row is an adjustment of the one network. `agreement` is Cohen's kappa, at its best "
        "fraction of foreground, among the adjustment's mirror images and with the other "
        "adjustments; those that come near the best one are `kept`, and their mean taught in the first round. "
        "-1 says that it has no peak."
    ),
    (
        "`agreed` is the fraction of the compared pixels on which those agree best. `fraction` is "
        "what was taken for the target's foreground: between that and what the source's cut-off marks. "
        "An empty `agreed` means that nothing was agreed on: all are kept, at the mean of what "
        "they mark. For so many `groups` the fraction was found anew, from the group's samples."
    ),
    "`shift` is what was added to the logits, so that this fraction lies above the cut-off.",
    (
        "Adjustments that agree can all be wrong alike: agreement is no evidence that they are "
        "right."
    ),
)


def recalibration_section(record: RunRecord) -> Iterator[Section]:
    """Show what was recalibrated before the first round, and what that alone changed."""
    if record.recalibration is None:
        return
    words = "Before the first round the model was made to fit the target, without a label of it."
    body: list[Block] = [Text(words), _table(record.recalibration.evidence)]
    if set(record.recalibration.evidence.column_names) >= _CONSENSUS:
        body.append(Bullets(_READING_CONSENSUS))
    alone = replace(record, rounds=())
    if record.rounds:
        body += [
            every_figure(alone, name, f" of {name} before and after recalibration alone")
            for name in overlap_evaluators(record)
        ]
    yield Section("Recalibration", tuple(body))


def _table(evidence: pa.Table) -> Table:
    """Return what a recalibrator went by, in its own columns."""
    return Table(
        "What it was made from, without a label of the target",
        tuple(evidence.column_names),
        tuple(tuple(map(_cell, row.values())) for row in evidence.to_pylist()),
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return figure(value) if value is None or isinstance(value, float) else str(value)
