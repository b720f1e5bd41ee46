"""A document as Markdown; figures are for the page alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pladapt.files.names import visible
from pladapt.reports.document import Bullets, Listing, Section, Table, Text
from pladapt.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pladapt.reports.document import Block, Document


_CODE: Final = re.compile(r"((?<!`)`[^`]+`(?!`))")
_LINKS: Final = re.compile(r"\\|\](?=[(\[:])")


def write_markdown(document: Document, path: Path) -> None:
    """Write a document as Markdown, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_markdown(document), encoding="utf-8")


def to_markdown(document: Document) -> str:
    """Return a document as Markdown, without its figures."""
    blocks = [f"# {_plain(document.title)}", _plain(document.lead)]
    for section in document.body:
        blocks += _section(section, level=2)
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, level: int) -> Iterator[str]:
    shown = list(_blocks(section.body, level))
    if shown and not _is_for_the_eye(section):
        yield f"{'#' * level} {_plain(section.title)}"
        yield from shown


def _is_for_the_eye(section: Section) -> bool:
    """Tell whether a section has but figures, and words about them."""
    kinds = {block.kind for block in section.body}
    return kinds <= {"text", "figure", "gallery"} and kinds != {"text"}


def _blocks(body: Iterable[Block], level: int) -> Iterator[str]:
    for block in body:
        match block:
            case Text(text):
                yield _plain(text)
            case Bullets(items):
                yield "\n".join(f"- {_plain(item)}" for item in items)
            case Listing(title, text, language):
                yield f"{_plain(title)}:\n\n{_fenced(text, language)}"
            case Table():
                yield f"{_plain(block.caption)}\n\n{to_table(block)}"
            case Section():
                yield from _section(block, level + 1)


def to_table(table: Table) -> str:
    """Return the lines of a table without its caption."""
    lines = (table.header, ["---"] * len(table.header), *table.rows)
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Keep text on one line, and from being read as an element, a link or a picture."""
    line = visible(" ".join(text.split())).replace("<", "&lt;")
    # what is between backticks is code, in which nothing is a link
    parts = _CODE.split(line)
    parts[::2] = [_LINKS.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
