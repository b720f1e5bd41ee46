"""What commands print: lines, tables, and what was left out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.files import Files, Problem

_SHOWN = 10
_WIDE = 1000


def console(*, soft_wrap: bool = False) -> Console:
    """Return what prints tables: as wide as the terminal; as they need where there is none."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else _WIDE, soft_wrap=soft_wrap)


def print_line(line: str) -> None:
    """Print a line as it is, however long, but for characters that would steer the terminal."""
    from pladapt.files.names import visible_lines  # noqa: PLC0415 - for help

    Console(soft_wrap=True).print(visible_lines(line), markup=False, highlight=False)


def show_problems(problems: Sequence[Problem], output: Path, *found: Files) -> None:
    """List what was left out, in a file beside the output and, in part, on the terminal.

    Args:
        problems: What was left out, and why.
        output: What the list is put beside.
        found: What was read; its files that were not looked at are listed as well.
    """
    from pladapt.files.folder import (  # noqa: PLC0415 - help must not wait for it
        kinds,
        not_looked_at,
        write_problems,
    )

    path = output.with_name(f"{output.stem}.left-out.csv")
    unread = [file for files in found for file in files.unread]
    write_problems([*problems, *(each for files in found for each in not_looked_at(files))], path)
    for name, reason in problems[:_SHOWN]:
        print_line(f"Left out: {name}: {reason}")
    if problems:
        print_line(f"Left out: {len(problems):,} in all, listed in {path}")
    if unread:
        print_line(f"Not looked at, listed in {path}: {kinds(unread)}")
