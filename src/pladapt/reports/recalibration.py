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
    (
        "`dsc` between `low` and `high` is estimated from the agreement, by what was simulated on "
        "the source's labelled images; without these, or where the target is unlike all that was "
        "simulated, it is left out."
    ),
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
    if record.rounds and record.choice is None:
        body += [
            every_figure(alone, name, f" of {name} before and after recalibration alone")
            for name in overlap_evaluators(record)
        ]
    yield Section("Recalibration", tuple(body))


def estimates(found: Recalibrated) -> dict[str, str]:
    """Return each network's estimated DSC with its interval, in words, by its adjustment."""
    if not set(found.evidence.column_names) >= {"adjustment", "dsc", "low", "high"}:
        return {}
    return {
        row["adjustment"]: f"{row['dsc']:.2f} (90 % interval {row['low']:.2f} to {row['high']:.2f})"
        for row in found.evidence.to_pylist()
        if row["dsc"] is not None
    }


def estimate_words(found: Recalibrated, *, trained: bool) -> Iterator[str]:
    """Yield sentences on the DSC before and after, as far as it can be told without labels."""
    known = estimates(found)
    if "none" not in known:
        return
    yield f"Estimated DSC of the model as it was: {known['none']}."
    taken = next(row["adjustment"] for row in found.evidence.to_pylist() if row["taken"])
    if found.stands and taken != "none" and taken in known:
        yield f"With the target's statistics: {known[taken]}."
    if trained:
        yield "After the training there is no estimate: it makes any model agree with itself."


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
