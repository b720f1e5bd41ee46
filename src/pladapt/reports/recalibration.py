"""What a report says of a recalibration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pladapt.reports.document import Bullets, Section, Table, Text
from pladapt.reports.tables import every_figure, evidence_table, figure, overlap_evaluators

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pladapt.reports.document import Block
    from pladapt.runs.records import Recalibrated, RunRecord

_AGREEMENT: Final = {"adjustment", "agreement", "per_image", "fraction", "taken"}

_READING_AGREEMENT: Final = (
    (
        "Each row is the network as it is (`none`) or with an adjustment. `agreement` is the DSC "
        "of its masks with those that it marks on mirrored and scaled images, all pixels pooled; "
        "`per_image` is the mean over the images. Both at the source's cut-off."
    ),
    (
        "`fraction` of all pixels is marked there. The row `source` is the model as it is on the "
        "source's images."
    ),
    "A network may be wrong alike on every view: agreement says which is better, not how good.",
)


def recalibration_section(record: RunRecord) -> Iterator[Section]:
    """Show what was recalibrated before the first round, and what that alone changed."""
    if record.recalibration is None:
        return
    found = record.recalibration
    body: list[Block] = [Text(_words(found)), _table(found.evidence)]
    if set(found.evidence.column_names) >= _AGREEMENT:
        body.append(Bullets(_READING_AGREEMENT))
    if (judged := evidence_table(found)) is not None:
        body.append(judged)
    alone = replace(record, rounds=())
    if record.rounds:
        body += [
            every_figure(alone, name, f" of {name} before and after recalibration alone")
            for name in overlap_evaluators(record)
        ]
    yield Section("Recalibration", tuple(body))


def _words(found: Recalibrated) -> str:
    if not found.changed:
        return "Without a label of the target, nothing was found that surely fits the model to it."
    if not found.stands:
        return "What was made to fit the target, without a label of it, was refused by a gate."
    return "Before the first round the model was made to fit the target, without a label of it."


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
