"""What a report is made of: values that say nothing of how they will be shown.

One document becomes a page (`pladapt.reports.html`) and a text (`pladapt.reports.markdown`). All
strings are plain text, whatever is in them; between backticks it is set as code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

from pladapt.errors import InputError

_NUMERIC: Final = re.compile(r"[-+]?[\d.,]*\d%?|nan|")
_BETWEEN: Final = re.compile(r" (?:→|±|of|to) ")


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph.

    Args:
        text: What it says.
    """

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list.

    Args:
        items: What each point says.
    """

    kind: ClassVar = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines that are shown as they are.

    Args:
        title: What they are.
        text: The lines.
        language: Of the lines: ``json``, say.
    """

    kind: ClassVar = "listing"
    title: str
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row names the row.

    Args:
        caption: What the table shows.
        header: The columns' names.
        rows: As many cells each as there are columns.
        folded: Whether a page shows the caption alone until it is opened.

    Raises:
        InputError: A row has another number of cells than the header.
    """

    kind: ClassVar = "table"
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise InputError(
                    f"The row {row} has {len(row)} cells; expected {len(self.header)}, one for "
                    f"each of the columns {self.header}."
                )

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers alone, also such as ``0.5 → 0.6`` or ``3 of 9``."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.header)
        return tuple(
            all(_NUMERIC.fullmatch(part) for cell in column for part in _BETWEEN.split(cell))
            for column in columns
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture.

    Args:
        svg: One ``svg`` element that refers to nothing outside itself. It is put into the page as
            it is, so whatever text it has must be escaped.
        alt: What it shows, for whoever does not see it.
        caption: What stands below it.
    """

    kind: ClassVar = "figure"
    svg: str = field(repr=False)
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Figures side by side, as many as the width has room for.

    Args:
        caption: What they have in common.
        figures: The figures.
        small: Whether a phone shows two beside each other.
    """

    kind: ClassVar = "gallery"
    caption: str
    figures: tuple[Figure, ...]
    small: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document under a heading.

    Args:
        title: The heading.
        body: What stands under it, sections included.
    """

    kind: ClassVar = "section"
    title: str
    body: tuple[Block, ...]


Block: TypeAlias = "Text | Bullets | Listing | Table | Figure | Gallery | Section"


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Args:
        title: The heading of all.
        lead: What a reader should know first.
        body: The sections.
        verdict: What of the lead is set apart: its beginning, or nothing.
    """

    title: str
    lead: str
    body: tuple[Section, ...]
    verdict: str = ""

    @property
    def rest(self) -> str:
        """The lead without the verdict."""
        return self.lead.removeprefix(self.verdict).strip()
