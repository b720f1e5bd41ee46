"""``pladapt predict``: masks of a folder of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from pladapt.cli.engine import EngineOptions
from pladapt.cli.model import (
    ModelName,
    ModelOptions,
    a_few,
    find_model,
    make_predictor,
    reading_of,
)
from pladapt.cli.modules import SourceFile, look_at_values
from pladapt.cli.options import BatchSize, part_of, with_options, writable
from pladapt.cli.printing import (
    AsJson,
    named,
    print_json,
    print_line,
    show_problems,
    warn_of_all_or_nothing,
)
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading

if TYPE_CHECKING:
    import pyarrow as pa


@with_options(without=["scale"])
def predict(
    model: ModelName,
    images: Annotated[Path, typer.Argument(help="A folder of images, or one.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            callback=writable,
            help="The folder of masks; an interrupted command continues in it.",
        ),
    ],
    how: ModelOptions,
    cutoff: Annotated[
        list[float] | None,
        typer.Option(
            help="The probability above which a pixel is foreground; one, or one a class.  "
            "[default: that of adapt's folder, or 0.5]"
        ),
    ] = None,
    label: Annotated[
        list[int] | None,
        typer.Option(
            help="The value of a class in the masks; repeat in order.  [default: 1, 2, ...; "
            "pictures of one class are bitmaps]"
        ),
    ] = None,
    probabilities: Annotated[
        Path | None, typer.Option(help="Write the probabilities as well, into this folder.")
    ] = None,
    source: SourceFile = None,
    batch_size: BatchSize = 8,
    part: Annotated[
        str | None,
        typer.Option(
            help="Predict one part of the images, as 2/8, beside others that write into the same "
            "folder; the same command without it joins the parts."
        ),
    ] = None,
    where: EngineOptions,
    reading: Reading,
    as_json: AsJson = False,
) -> None:
    """Write a mask for each image, in its format, of its size and at its place.

    NIfTI, MGH, NRRD, MetaImage, TIFF and NPY stay what they are; a DICOM file or series becomes a
    DICOM-SEG, and any other picture a PNG. Of several classes the likeliest above its cut-off is
    marked. How adapt read its images is kept in its folder, and images are read likewise here.

    Given again, the command goes on where it was, and predicts what is new or has changed.
    """
    from pladapt.files import write_masks  # noqa: PLC0415 - help must not wait for it

    files = reading.find(images)
    reading = reading_of(model, reading)
    if source is not None and (few := a_few(files, reading)) is not None:
        look_at_values(few, source, force=how.force)
    found = find_model(model, how, files, reading)
    with progress_bars() as progress:
        table, problems = write_masks(
            found.predictor,
            files,
            output,
            layout=reading.image_layout(),
            grouping=reading.grouping(),
            cutoff=_cutoff(cutoff, found.cutoff),
            labels=label,
            classes=found.classes,
            probabilities=probabilities,
            batch_size=batch_size,
            readers=reading.readers,
            on_error=reading.on_error,
            max_errors=reading.tolerance.max_errors,
            time_limit=reading.time_limit,
            part=None if part is None else part_of(part),
            engine=where.chosen(partial(make_predictor, model, how)),
            progress=progress,
        )
    _warn_of_all_or_nothing(table)
    own = "" if part is None else f"-{part.replace('/', '-of-')}"
    show_problems(problems, output.with_name(f"{output.name}{own}") if own else output, files)
    print_line(f"Masks of {len(table):,} images: {output}")
    if own:
        print_line("Give the same without --part once all parts are there: that joins them.")
    if as_json:
        print_json(masks=output, images=table.to_pylist(), left_out=named(problems))


def _cutoff(given: list[float] | None, own: float | None) -> float | tuple[float, ...]:
    if not given:
        return 0.5 if own is None else own
    return given[0] if len(given) == 1 else tuple(given)


def _warn_of_all_or_nothing(table: pa.Table) -> None:
    """Warn of masks that are alike everywhere, as they are where images are not as in training."""
    if not len(table):
        return
    fractions = table["foreground"].to_numpy()
    what = "nothing" if not fractions.any() else "everything" if (fractions == 1).all() else None
    if what is not None:
        warn_of_all_or_nothing(what, len(fractions))
