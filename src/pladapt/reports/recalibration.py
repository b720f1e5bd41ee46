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

_AGREEMENT: Final = {"adjustment", "agreement", "per_image", "fraction", "taken"}

_READING_AGREEMENT: Final = (
    (
        "Each row is the network as it is (`none`) or with an adjustment. `agreement` is the DSC "
        "of its masks with those that it marks on mirrored and scaled images, all pixels pooled; "
        "`per_image` is the mean over the images. Both at the source's cut-off."
    ),
    (
        "`fraction` of all pixels is marked there, and `source` is what the model marked of the "
        "source's images."
    ),
    "A network may be wrong alike on every view: agreement says which is better, not how good.",
)


def recalibration_section(record: RunRecord) -> Iterator[Section]:
    """Show what was recalibrated before the first round, and what that alone changed."""
    if record.recalibration is None:
        return
    words = "Before the first round the model was made to fit the target, without a label of it."
    body: list[Block] = [Text(words), _table(record.recalibration.evidence)]
    if set(record.recalibration.evidence.column_names) >= _AGREEMENT:
        body.append(Bullets(_READING_AGREEMENT))
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
