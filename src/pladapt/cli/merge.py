"""``pladapt merge``: the parts that several machines scored."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from pladapt.cli.options import writable
from pladapt.cli.printing import AsJson, print_json, print_line
from pladapt.errors import InputError


def merge(
    parts: Annotated[
        list[Path], typer.Argument(help="What pladapt score --part wrote, of every part.")
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", callback=writable, help="The parquet file of scores to write."
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put scores together that were made part by part: the same file as in one piece."""
    from pladapt.files import merge_files  # noqa: PLC0415 - help must not wait for it

    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; give another file, or --overwrite.")
    rows = merge_files(parts, output)
    print_line(f"Scores of {rows:,} samples: {output}")
    if as_json:
        print_json(scores=output, samples=rows)
