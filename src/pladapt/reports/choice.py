"""What a report says of a choice by a few labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pladapt.reports.document import Bullets, Section, Table, Text
from pladapt.reports.tables import figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt.reports.document import Block
    from pladapt.runs.choosing import Chosen
    from pladapt.runs.records import RunRecord

_READING: Final = (
    (
        "`none` is the model as it is. `dsc` is the mean over the labelled images; at a cut-off "
        "other than the source's it is that of each image at the cut-off that is best on the "
        "others."
    ),
    (
        "What `robust` makes without labels stays unless another is clearly better. `gain` is the "
        "difference from the model as it is, and `better` the number of images on which it is "
        "higher. A few images tell large differences only, and what they chose looks "
        "better on them than it is elsewhere."
    ),
)


def choice_section(record: RunRecord) -> Iterator[Section]:
    """Show what was tried on the labelled images, and what of it was taken."""
    if record.choice is None:
        return
    rows = [
        (
            row["candidate"],
            f"{row['cutoff']:g}",
            figure(row["dsc"]),
            figure(row["gain"]),
            f"{row['better']} of {row['images']}",
            "yes" if row["taken"] else "no",
        )
        for row in record.choice.choice.evidence.to_pylist()
    ]
    header = ("candidate", "cut-off", "dsc", "gain", "better", "taken")
    body: list[Block] = [Text(_roles(record.choice)), Table(_CAPTION, header, tuple(rows))]
    if record.choice.dropped:
        told = tuple(record.choice.dropped.items())
        body.append(Table("What was no candidate, and why", ("name", "reason"), told))
    yield Section("Labelled images", (*body, Bullets(_READING)))


_CAPTION: Final = "The candidates on the labelled images"


def choice_words(record: RunRecord) -> Iterator[str]:
    """Yield sentences on which images chose, for the lead."""
    if record.choice is not None:
        yield _roles(record.choice)


def choice_caveat(records: Sequence[RunRecord]) -> str:
    """Return what masks of the target took part in."""
    if all(record.choice is None for record in records):
        return (
            "No mask of a target took part in scoring, selecting, retraining or choosing weights; "
            "masks made the figures and nothing else."
        )
    taught = any(record.choice is not None and record.choice.taught for record in records)
    also = " and taught" if taught else ", and taught nothing"
    return (
        f"The masks of the labelled images chose what was taken{also}; no other mask of a target "
        "took part. Figures on these images are too high."
    )


def _roles(chosen: Chosen) -> str:
    """Tell which images chose and which taught."""
    names = ", ".join(chosen.chose)
    taught = "the same also taught" if chosen.taught else "none taught"
    return f"The labels of {len(chosen.chose)} images chose ({names}); {taught}."
