"""``pladapt labels``: a run's masks for other tools, and what was made of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from pladapt.cli.options import writable
from pladapt.cli.printing import print_line
from pladapt.cli.run_images import (
    Images,
    Run,
    run_samples,
)

app = typer.Typer(no_args_is_help=True, help="Take a run's masks to other tools, and back.")

_Folder = Annotated[Path, typer.Argument(help="The folder that pladapt labels export wrote.")]


@app.callback()
def _group() -> None:
    """Take a run's masks to other tools, and back."""


@app.command()
def export(
    run: Run,
    images: Images = None,
    *,
    to: Annotated[
        Literal["label-studio", "cvat", "coco", "nifti", "png"],
        typer.Option(help="The format; 3D Slicer and ITK-SNAP read nifti."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", callback=writable, help="A new folder.")
    ],
    number: Annotated[
        int,
        typer.Option(
            "-n", "--number", help="How many samples: those of which a look is worth most.", min=1
        ),
    ] = 20,
    every: Annotated[bool, typer.Option("--all", help="Every sample of the run.")] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="The name of a class; repeat in order.")
    ] = None,
) -> None:
    """Write masks with their pictures for another tool, to be corrected there.

    They are as they are now, with what was drawn and said in a review.
    """
    from pladapt.review import Review  # noqa: PLC0415 - help must not wait for it
    from pladapt.review.exchange import export_masks  # noqa: PLC0415 - the same

    review = Review(run, who="export")
    ids = review.masks.ids if every else review.queue(number)
    samples = run_samples(run, images)
    exported = export_masks(review, samples, output, to, ids=ids, names=name or ())
    print_line(f"Masks of {len(exported.files):,} images: {output}")


@app.command("import")
def import_(
    run: Run,
    folder: _Folder,
    images: Images = None,
    *,
    who: Annotated[str, typer.Option(help="Whose masks these are.")],
    unchanged: Annotated[
        bool,
        typer.Option("--unchanged", help="Accept the masks that were not changed, too."),
    ] = False,
    minutes: Annotated[
        float, typer.Option(help="How long they took in all, for the report.", min=0)
    ] = 0,
) -> None:
    """Take in the masks that a tool made of an export: the changed ones are corrected."""
    from pladapt.review import Review  # noqa: PLC0415 - help must not wait for it
    from pladapt.review.exchange import import_masks  # noqa: PLC0415 - the same

    review = Review(run, who=who)
    samples = run_samples(run, images)
    said = import_masks(review, samples, folder, unchanged=unchanged, seconds=60 * minutes)
    counts = Counter(said.values())
    print_line(f"{counts['corrected']:,} masks corrected, {counts['accepted']:,} accepted.")
