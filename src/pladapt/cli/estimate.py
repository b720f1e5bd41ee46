"""``pladapt estimate``: how well a network does on images without labels."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

import pladapt
from pladapt.cli.modules import Device, Factory, NetworkOptions, look_at
from pladapt.cli.options import BatchSize, with_options
from pladapt.cli.printing import AsJson, console, named, print_json, print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading
from pladapt.errors import DataError, InputError
from pladapt.source.statistics import SourceStatistics

if TYPE_CHECKING:
    from pladapt.evidence import Estimate

_COLUMNS: Final = (
    *("date", "name", "images", "groups", "status", "dsc", "low", "high"),
    *("agreement", "fraction", "distance", "shift", "reason"),
)
_BELOW: Final = 3
_NONE: Final = 4


@with_options(without=["scale", "time_limit"])
def estimate(
    model: Factory,
    images: Annotated[Path, typer.Argument(help="A folder of unlabelled images, or one.")],
    *,
    source: Annotated[
        Path, typer.Option(help="What pladapt source --truth wrote about the source's images.")
    ],
    how: NetworkOptions,
    at_least: Annotated[
        float | None,
        typer.Option(help="The DSC below which the exit status is 3.", min=0, max=1),
    ] = None,
    append: Annotated[
        Path | None, typer.Option(help="A CSV table to add a row to, for monitoring.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the images are called in that row.  [default: the folder's name]"),
    ] = None,
    device: Device = "auto",
    batch_size: BatchSize = 8,
    reading: Reading,
    as_json: AsJson = False,
) -> None:
    """Estimate without labels how well a network does on images, in DSC with a 90 % interval.

    Exit status: 0 where there is an estimate, 3 where it is below --at-least, and 4 where there is
    none: the images are unlike all that was simulated on the source, or the network is not fit for
    them; label a few. 1 is an error, 2 a command line that is none.
    """
    if append is not None:
        _check_table(append)
    statistics = SourceStatistics.load(source)
    network = how.build(model)
    predictor = network.predictor(device)
    files = reading.find(images)
    with progress_bars() as progress:
        samples, problems = reading.samples(files, progress)
        look_at(network, predictor, samples, force=how.force)
        found = pladapt.estimate(
            predictor, samples, source=statistics, batch_size=batch_size, progress=progress
        )
    show_problems(problems, None, files)
    print_line(f"{str(found)[0].upper()}{str(found)[1:]}")
    console().print(_table(found))
    if append is not None:
        _append(append, name or reading.hiding().of(images.resolve().name), found)
        print_line(f"Row added: {append}")
    if as_json:
        print_json(
            status=found.status,
            reason=found.reason,
            **_whole(found),
            **_unlike(found),
            groups=found.groups.to_pylist(),
            left_out=named(problems),
        )
    if status := _exit(found, at_least):
        raise typer.Exit(status)


def _exit(found: Estimate, at_least: float | None) -> int:
    if found.interval is None:
        return _NONE
    return _BELOW if at_least is not None and found.interval.dsc < at_least else 0


def _table(found: Estimate) -> Table:
    """Return a row per group, and one of all."""
    table = Table("group", "samples", "DSC", "90 % interval", "agreement", "marked")
    for row in [*found.groups.to_pylist(), _whole(found)]:
        numbers = None if row["dsc"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
        table.add_row(
            row["group"],
            str(row["samples"]),
            "unknown" if row["dsc"] is None else f"{row['dsc']:.2f}",
            numbers or "",
            f"{row['agreement']:.3f}",
            f"{row['fraction']:.2%}",
        )
    unlike = _unlike(found)
    table.caption = (
        f"Intensities: {unlike['distance']:.2f} standard deviations from the source's"
        + ("" if unlike["shift"] is None else f"; the mean image: {unlike['shift']:.1f}")
    )
    return table


def _unlike(found: Estimate) -> dict[str, float | None]:
    """Return how unlike the source's the images are; None for what was not measured."""
    shift = found.likeness.shift
    return {"distance": found.likeness.distance, "shift": None if math.isnan(shift) else shift}


def _whole(found: Estimate) -> dict[str, Any]:
    numbers = dict.fromkeys(("dsc", "low", "high"))
    if found.interval is not None:
        numbers = found.interval._asdict()
    return {
        "group": "all",
        "samples": sum(found.groups["samples"].to_pylist()),
        "agreement": found.agreement,
        "fraction": found.fraction,
        **numbers,
    }


def _append(path: Path, name: str, found: Estimate) -> None:
    """Add a row to a table, which is made where there is none."""
    from pladapt.files.names import as_cell  # noqa: PLC0415 - help must not wait for it

    whole = _whole(found)
    row = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": as_cell(name),
        "images": whole["samples"],
        "groups": len(found.groups),
        "status": found.status,
        **_unlike(found),
        "reason": found.reason,
        **{key: whole[key] for key in ("dsc", "low", "high", "agreement", "fraction")},
    }
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _check_table(path: Path) -> None:
    """Refuse a table that no row can be added to, before the work."""
    if path.suffix != ".csv":
        raise InputError(f"The table is {path}; its name must end in .csv.")
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), [])
    if tuple(header) != _COLUMNS:
        raise DataError(
            f"{path} has the columns {header}, and a row has {list(_COLUMNS)}; give another table."
        )
