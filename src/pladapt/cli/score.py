"""``pladapt score``: predictions and their scores, from files."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pladapt.cli.engine import EngineOptions
from pladapt.cli.model import a_few
from pladapt.cli.modules import Force, SourceFile, look_at_values
from pladapt.cli.options import BatchSize, named_values, part_of, with_options, writable
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
from pladapt.errors import DataError, InputError, RunChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pladapt.files import Files, ImageLayout
    from pladapt.typing import Predictor

Part = TypeVar("Part")


@with_options()
def score(
    model: Annotated[Path | None, typer.Argument(help="The model's file.")] = None,
    images: Annotated[Path | None, typer.Argument(help="A folder of images, or one.")] = None,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", callback=writable, help="The parquet file of scores to write."
        ),
    ],
    probabilities: Annotated[
        Path | None,
        typer.Option(help="A folder of probability maps, in place of MODEL and IMAGES."),
    ] = None,
    predictor: Annotated[str, typer.Option(help="What runs the model, by name.")] = "onnx",
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the predictor as NAME=VALUE; may be repeated."),
    ] = None,
    selector: Annotated[str, typer.Option(help="What scores, by name.")] = "certainty-index",
    selector_option: Annotated[
        list[str] | None,
        typer.Option(help="An option of the selector as NAME=VALUE; may be repeated."),
    ] = None,
    cutoff: Annotated[
        float, typer.Option(help="The probability above which a pixel is foreground.")
    ] = 0.5,
    source: SourceFile = None,
    force: Force = False,
    reading: Reading,
    batch_size: BatchSize = 8,
    part: Annotated[
        str | None,
        typer.Option(help="Score one part of the files, as 2/8; pladapt merge joins the parts."),
    ] = None,
    where: EngineOptions,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew, whatever is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a model's predictions on images, or predictions that are there: one row a sample.

    An interrupted command goes on where it was when it is given again.
    """
    from pladapt.files import score_files  # noqa: PLC0415 - for help
    from pladapt.plugins.manager import selector as make_selector  # noqa: PLC0415 - the same
    from pladapt.selection.recorded import record  # noqa: PLC0415 - the same

    _make_way(output, overwrite=overwrite)
    scoring = {"cutoff": cutoff} | named_values(selector_option or (), "--selector-option")
    folder = _folder(model, images, probabilities)
    predictor_of = partial(_predictor, predictor, model, named_values(option or (), "--option"))
    made = predictor_of()
    layout = reading.image_layout(probabilities=probabilities is not None)
    with progress_bars() as progress:
        files = reading.find(folder)
        if source is not None:
            _look_at(source, probabilities, files, reading, force=force)
        try:
            problems = score_files(
                made,
                files,
                output,
                selector=_made(make_selector, selector, scoring),
                layout=layout,
                grouping=reading.grouping(),
                batch_size=batch_size,
                readers=reading.readers,
                on_error=reading.on_error,
                max_errors=reading.tolerance.max_errors,
                time_limit=reading.time_limit,
                part=(1, 1) if part is None else part_of(part),
                engine=where.chosen(predictor_of),
                overwrite=overwrite,
                recorded=record(selector, scoring),
                progress=progress,
            )
        except RunChangedError as error:
            error.add_note("Or start anew with --overwrite.")
            raise
    _warn_of_all_or_nothing(output, files, layout)
    show_problems(problems, output, files)
    print_line(f"Scores: {output}")
    if as_json:
        print_json(scores=output, selector=selector, left_out=named(problems))


def _look_at(
    source: Path, probabilities: Path | None, files: Files, reading: Reading, *, force: bool
) -> None:
    if probabilities is not None:
        raise InputError("--source is about images, and --probabilities gives none; leave one out.")
    if (few := a_few(files, reading)) is not None:
        look_at_values(few, source, force=force)


def _warn_of_all_or_nothing(output: Path, files: Files, layout: ImageLayout) -> None:
    """Warn where no sample has foreground, or each is filled by it."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - for help

    if "pixels" not in pq.read_schema(output).names:
        return
    pixels = pq.read_table(output, columns=["pixels"])["pixels"].to_numpy()
    if not pixels.any():
        warn_of_all_or_nothing("nothing", len(pixels))
    elif (pixels == pixels[0]).all() and pixels[0] == _size(files, layout):
        warn_of_all_or_nothing("everything", len(pixels))


def _size(files: Files, layout: ImageLayout) -> int:
    """Return how many pixels the first sample has that can be read."""
    for name, path in layout.arranged(files).paths.items():
        with suppress(DataError):
            return int(next(layout.items(name, layout.load(path))).array[0].size)
    return 0


def _make_way(output: Path, *, overwrite: bool) -> None:
    """Refuse to write over finished work, which may have cost days."""
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; give another file, or --overwrite.")


def _folder(model: Path | None, images: Path | None, probabilities: Path | None) -> Path:
    """Return the folder of what is predicted, or was."""
    if probabilities is not None and model is None:
        return probabilities
    if probabilities is not None or model is None or images is None:
        raise InputError("Give MODEL and IMAGES, or --probabilities FOLDER and neither of them.")
    return images


def _predictor(name: str, model: Path | None, options: Mapping[str, Any]) -> Predictor:
    """Return what predicts."""
    from pladapt.files import GivenProbabilities  # noqa: PLC0415 - for help
    from pladapt.plugins.manager import predictor as make_predictor  # noqa: PLC0415 - the same

    if model is None:
        return GivenProbabilities()
    return _made(make_predictor, name, {"path": model, **options})


def _made(make: Callable[..., Part], name: str, parameters: Mapping[str, Any]) -> Part:
    try:
        return make(name, **parameters)
    except TypeError as error:
        raise InputError(f"{name!r} cannot be made with {dict(parameters)}: {error}.") from error
