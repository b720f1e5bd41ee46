"""Options that several commands share: how files are read, and which belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Dimensions = Annotated[
    Literal["2", "3"], typer.Option(help="Whether a sample is a slice (2) or a volume (3).")
]
Axes = Annotated[
    str | None,
    typer.Option(
        help="The axes of NPY, NIfTI, NRRD and TIFF arrays, of T (times), Z (slices), "
        "C (channels), Y and X."
    ),
]
Window = Annotated[
    tuple[float, float] | None,
    typer.Option(help="What becomes 0 and what becomes 1, such as -1000 400 for CT."),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="What probability 1 is stored as, such as 100 for percent.  [default: 1, or the "
        "largest value of an integer type]"
    ),
]
Channels = Annotated[
    Literal["1", "3"] | None,
    typer.Option(help="Make three equal channels of greys (3), or one of three equal ones (1)."),
]
Key = Annotated[str | None, typer.Option(help="Which array of NPZ files, if they have several.")]
MaxValues = Annotated[
    int | None,
    typer.Option(
        help="How many values a file may hold.  [default: 2^29, and 89 million in a slice]", min=1
    ),
]
GroupBy = Annotated[
    str,
    typer.Option(help="file, folder, or a regular expression whose first group is the patient."),
]
Groups = Annotated[
    Path | None, typer.Option(help="A CSV with the columns name and group, for --group-by.")
]
BatchSize = Annotated[int, typer.Option(help="Samples in a batch.", min=1)]
Readers = Annotated[int, typer.Option(help="How many files are read at once.", min=1)]
OnError = Annotated[
    Literal["skip", "raise"],
    typer.Option(help="Leave out and list what cannot be used, or stop at the first."),
]
MaxErrors = Annotated[
    str,
    typer.Option(help="How many may be left out: a number, or a percentage. More end the command."),
]
TruthLabel = Annotated[
    list[int] | None,
    typer.Option(help="A class's value in the true masks; repeat in order.  [default: 1]"),
]
Binary = Annotated[
    bool, typer.Option("--binary", help="Whatever is not 0 in a mask is foreground.")
]
Ignore = Annotated[int | None, typer.Option(help="The value of pixels of the truth to leave out.")]
AsStored = Annotated[
    bool,
    typer.Option("--as-stored", help="Compare voxel by voxel, whatever places the files give."),
]
Match = Annotated[
    str | None,
    typer.Option(
        help="A regular expression whose first group is what the names of a pair share, such as "
        "'^(.+?)(?:_mask)?$'.  [default: the names are equal]"
    ),
]
Pairs = Annotated[
    Path | None, typer.Option(help="A CSV with the columns name and truth, in place of --match.")
]
