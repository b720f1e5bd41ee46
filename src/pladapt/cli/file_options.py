"""Options that say how files are read, and which belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Scale = Annotated[
    float | None,
    typer.Option(
        help="What probability 1 is stored as, such as 100 for percent.  [default: 1, or the "
        "largest value of an integer type]"
    ),
]
Key = Annotated[str | None, typer.Option(help="Which array of NPZ files, if they have several.")]
MaxValues = Annotated[
    int | None,
    typer.Option(
        help="How many values a file may hold.  [default: 2^29, and 89 million in a slice]", min=1
    ),
]
Channels = Annotated[
    Literal["1", "3"] | None,
    typer.Option(help="Make three equal channels of greys (3), or one of three equal ones (1)."),
]
Binary = Annotated[
    bool, typer.Option("--binary", help="Whatever is not 0 in a mask is foreground.")
]
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
