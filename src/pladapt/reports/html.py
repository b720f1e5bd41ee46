"""A document as one page that needs nothing beside itself."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pladapt.optional import needs
from pladapt.storage import atomic_write

with needs("report", "jinja2", "markupsafe"):
    import jinja2
    from markupsafe import Markup, escape

if TYPE_CHECKING:
    from pladapt.reports.document import Document, Figure, Section

_TEMPLATES: Final = Path(__file__).with_name("templates")
_NAMES: Final = re.compile(r'(\bid="|\bhref="#|url\(#)')


def write_html(document: Document, path: Path) -> None:
    """Write a document as a page, whole or not at all.

    The page holds its style and its pictures, asks for nothing else, and runs no script. The same
    document gives the same bytes.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(to_html(document), encoding="utf-8")


def to_html(document: Document) -> str:
    """Return a document as a page; see `write_html`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"drawn": _Drawn(), "anchor": _Anchors()}
    return environment.get_template("report.html.j2").render(document=document)


class _Drawn:
    """Puts figures into a page that holds several: no two parts of them may share a name."""

    def __init__(self) -> None:
        self._number = count(1)

    def __call__(self, figure: Figure) -> Markup:
        named = _NAMES.sub(rf"\g<1>figure-{next(self._number)}-", figure.svg)
        shown = f'<svg role="img" aria-label="{escape(figure.alt)}" '
        return Markup(named.replace("<svg ", shown, 1))  # noqa: S704 - a figure's SVG is our own


class _Anchors:
    """Names each section of a page, also where two have one title."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def __call__(self, section: Section) -> str:
        words = "-".join(re.findall(r"[a-z0-9]+", section.title.lower()))
        return self._names.setdefault(id(section), f"section-{len(self._names) + 1}-{words}")
