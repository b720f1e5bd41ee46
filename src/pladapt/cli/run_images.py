"""The images that a run was made with, for commands that are given its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading
from pladapt.errors import InputError
from pladapt.storage import read_json, to_json

if TYPE_CHECKING:
    from pladapt.files import FileSamples

Run = Annotated[Path, typer.Argument(help="The run folder that pladapt adapt wrote.")]
Images = Annotated[
    Path | None,
    typer.Argument(help="The run's images.  [default: where adapt found them]"),
]

_NAME: Final = "images.json"


def note_images(run: Path, images: Path, reading: Reading) -> None:
    """Note in a run's folder where its images are, unless the path tells whose they are."""
    place = str(images.resolve())
    if reading.hiding().identifies(place):
        (run / _NAME).unlink(missing_ok=True)
    else:
        (run / _NAME).write_text(to_json({"images": place}), encoding="utf-8")


def run_samples(run: Path, images: Path | None) -> FileSamples:
    """Read a run's images as they were read for it.

    Raises:
        InputError: Nothing says where they are.
        DataError: None can be read.
    """
    if images is None and not (run / _NAME).is_file():
        raise InputError(f"{run} does not say where its images are; give them after the run.")
    place = images or Path(read_json(run / _NAME)["images"])
    reading = Reading(max_errors="100%").recorded(run / "adapted")
    with progress_bars() as progress:
        samples, _ = reading.samples(reading.find(place), progress)
    return samples
