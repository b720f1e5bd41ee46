"""``pladapt names``: whose pseudonym is whose."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from pladapt.cli.options import with_options, writable
from pladapt.cli.printing import print_line
from pladapt.cli.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from pladapt.files import Files

_OPTIONS: Final = ("dimensions", "pseudonyms", "pseudonym_key")
_OTHERS: Final = [each.name for each in Reading.options() if each.name not in _OPTIONS]


@with_options(without=_OTHERS)
def names(
    images: Annotated[Path, typer.Argument(help="A folder of images, or one.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", callback=writable, help="A CSV to write, in place of printing it."
        ),
    ] = None,
    reading: Reading,
) -> None:
    """Say which image is behind each name in tables and reports, as a CSV of name and file.

    Needs the images, and the key that the names were made with. Keep what it writes as you keep
    the images: it says whose they are.
    """
    files = reading.image_layout().arranged(reading.find(images))
    with _stream(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("name", "file"), *_rows(files)])
    if output is not None:
        print_line(f"Names of {len(files.paths):,} images: {output}")


def _stream(output: Path | None) -> AbstractContextManager[TextIO]:
    if output is None:
        return nullcontext(sys.stdout)
    return output.open("w", newline="", encoding="utf-8")


def _rows(files: Files) -> Iterator[tuple[str, str]]:
    from pladapt.files.names import as_cell, visible  # noqa: PLC0415 - help must not wait for it
    from pladapt.files.series import files_of  # noqa: PLC0415 - the same

    for name, source in files.paths.items():
        yield as_cell(name), as_cell(visible(str(files_of(source)[0])))
