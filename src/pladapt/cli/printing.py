"""What commands print: lines, tables, what was left out, or all of it as JSON."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.files import Files, Problem

_SHOWN = 10
_WIDE = 1000
_PROSE: Final = {"stderr": False}


def prose_to_stderr(*, as_json: bool) -> bool:
    """Print lines and tables on standard error from now on, or on standard output again."""
    _PROSE["stderr"] = as_json
    return as_json


AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=lambda given: prose_to_stderr(as_json=given),
        help="Print one JSON object; all else goes to standard error.",
    ),
]


def console(*, soft_wrap: bool = False) -> Console:
    """Return what prints tables: as wide as the terminal; as they need where there is none."""
    stream = sys.stderr if _PROSE["stderr"] else sys.stdout
    known = stream.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else _WIDE, soft_wrap=soft_wrap, stderr=_PROSE["stderr"])


def print_line(line: str) -> None:
    """Print a line as it is, however long, but for characters that would steer the terminal."""
    from pladapt.files.names import visible_lines  # noqa: PLC0415 - for help

    console(soft_wrap=True).print(visible_lines(line), markup=False, highlight=False)


def print_json(**values: Any) -> None:
    """Print one JSON object on standard output; a number that is undefined is null."""
    typer.echo(json.dumps(finite(values), default=str))


def finite(value: Any) -> Any:
    """Return a value in which any number that is not finite is None, as JSON has none."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def named(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """Return what was left out as rows: its ``name`` and the ``reason``."""
    return [{"name": name, "reason": reason} for name, reason in problems]


def show_problems(problems: Sequence[Problem], output: Path | None, *found: Files) -> None:
    """List what was left out, in a file beside the output and, in part, on the terminal.

    Args:
        problems: What was left out, and why.
        output: What the list is put beside; None for no such file.
        found: What was read; its files that were not looked at are listed as well.
    """
    from pladapt.files.folder import (  # noqa: PLC0415 - help must not wait for it
        kinds,
        not_looked_at,
        write_problems,
    )

    unread = [file for files in found for file in files.unread]
    listed = ""
    if output is not None:
        path = output.with_name(f"{output.stem}.left-out.csv")
        not_read = (each for files in found for each in not_looked_at(files))
        write_problems([*problems, *not_read], path)
        listed = f", listed in {path}"
    for name, reason in problems[:_SHOWN]:
        print_line(f"Left out: {name}: {reason}")
    if problems:
        print_line(f"Left out: {len(problems):,} in all{listed}")
    if unread:
        print_line(f"Not looked at{listed}: {kinds(unread)}")


def figure(row: Mapping[str, Any]) -> str:
    """Return the mean of a row of a summary, with its spread where it has one."""
    return f"{row['mean']:.3f}" + ("" if row["std"] is None else f" ± {row['std']:.3f}")


def warn_of_all_or_nothing(what: str, count: int) -> None:
    """Warn of masks that are alike everywhere, as they are where images are not as in training.

    Args:
        what: ``nothing`` or ``everything``.
        count: How many masks there are.
    """
    warnings.warn(
        f"In every mask ({count:,}) {what} is foreground. If that is not so, see that the images "
        "are prepared as in the network's training (--window, --prepare), and that the cut-off is "
        "the model's.",
        stacklevel=2,
    )
