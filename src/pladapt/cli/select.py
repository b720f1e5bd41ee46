"""``pladapt select``: the surest samples, from a file of scores."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from pladapt.cli.options import amount, writable
from pladapt.cli.printing import AsJson, console, print_json, print_line

if TYPE_CHECKING:
    from pladapt.selection.rules import Stratum


def select(
    scores: Annotated[Path, typer.Argument(help="What pladapt score wrote.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", callback=writable, help="The parquet file of the selection to write."
        ),
    ],
    min_pixels: Annotated[
        int | None,
        typer.Option(help="The fewest pixels above the cut-off; 0 for no such rule.", min=0),
    ] = None,
    limit: Annotated[float | None, typer.Option(help="The lowest score that is kept.")] = None,
    quantile: Annotated[
        float | None,
        typer.Option(help="The same as a quantile of the scores: 0.75 keeps the upper quarter."),
    ] = None,
    top_k: Annotated[
        str | None,
        typer.Option(help="How many samples are kept at the most: a number, or a fraction as 0.5."),
    ] = None,
    spread: Annotated[
        list[str] | None,
        typer.Option(help="Share out --top-k over group, size or class; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Select the surest samples; note for each other one which rule dropped it.

    The selector is the one that scored, with the rules that it was given then; each option takes
    the place of one of its rules.
    """
    from pladapt.files import select_file  # noqa: PLC0415 - help must not wait for it
    from pladapt.files.selection import describe_rules  # noqa: PLC0415 - the same

    found = select_file(
        scores,
        output,
        min_pixels=min_pixels,
        limit=limit,
        quantile=quantile,
        top_k=None if top_k is None else amount(top_k, "--top-k"),
        spread=cast("list[Stratum]", spread) or None,
    )
    rules = None if found.rules is None else describe_rules(found.rules)
    print_line(f"Selector: {found.selector or 'none recorded; by the column score'}")
    print_line(f"Rules: {rules or 'its own'}")
    table = Table("outcome", "samples")
    for rule, count in found.selection.counts.items():
        table.add_row(rule, f"{count:,}")
    console().print(table)
    print_line(f"Selection: {output}")
    if as_json:
        counts = found.selection.counts
        print_json(selection=output, selector=found.selector, rules=rules, samples=counts)
