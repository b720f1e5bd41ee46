"""``pladapt score``, ``select`` and ``evaluate``: the steps on their own, from files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

import typer
from rich.console import Console
from rich.table import Table

from pladapt.cli.file_options import (
    AsStored,  # noqa: TC001 - typer reads the annotations
    Binary,  # noqa: TC001 - the same
    Channels,  # noqa: TC001 - the same
    Key,  # noqa: TC001 - the same
    Match,  # noqa: TC001 - the same
    MaxValues,  # noqa: TC001 - the same
    Pairs,  # noqa: TC001 - the same
    Scale,  # noqa: TC001 - the same
)
from pladapt.cli.options import amount, named_values
from pladapt.cli.progress import progress_bars
from pladapt.errors import InputError, RunChangedError
from pladapt.functional.overlap import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pladapt.files import Files, Grouping, Pairing, Problem
    from pladapt.selection.rules import Stratum
    from pladapt.types import Evaluation
    from pladapt.typing import Predictor

Part = TypeVar("Part")

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
BatchSize = Annotated[int, typer.Option(help="Samples in a batch.", min=1)]
GroupBy = Annotated[
    str,
    typer.Option(help="file, folder, or a regular expression whose first group is the patient."),
]
Groups = Annotated[
    Path | None, typer.Option(help="A CSV with the columns name and group, for --group-by.")
]
Readers = Annotated[int, typer.Option(help="How many files are read at once.", min=1)]
Ignore = Annotated[int | None, typer.Option(help="The value of pixels of the truth to leave out.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first file that cannot be used.")
]
_SHOWN = 10
_EVALUATION = {"digests.json", "notes.json", "samples.parquet", "summary.parquet"}


def score(
    model: Annotated[Path | None, typer.Argument(help="The model's file.")] = None,
    images: Annotated[Path | None, typer.Argument(help="A folder of images, or one.")] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The parquet file of scores to write.")
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
    dimensions: Dimensions = "2",
    axes: Axes = None,
    window: Window = None,
    scale: Scale = None,
    channels: Channels = None,
    key: Key = None,
    max_values: MaxValues = None,
    group_by: GroupBy = "file",
    groups: Groups = None,
    batch_size: BatchSize = 8,
    readers: Readers = 2,
    strict: Strict = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew, whatever is there.")
    ] = False,
) -> None:
    """Score a model's predictions on images, or predictions that are there: one row a sample.

    An interrupted command goes on where it was when it is given again.
    """
    from pladapt.files import Files, ImageLayout, score_files  # noqa: PLC0415 - for help
    from pladapt.plugins.manager import selector as make_selector  # noqa: PLC0415 - the same
    from pladapt.selection.recorded import record  # noqa: PLC0415 - the same

    _make_way(output, overwrite=overwrite)
    scoring = {"cutoff": cutoff} | named_values(selector_option or (), "--selector-option")
    made, folder = _predictor(
        predictor, named_values(option or (), "--option"), model, images, probabilities
    )
    layout = ImageLayout(
        dimensions=3 if dimensions == "3" else 2,
        axes=axes,
        window=window,
        probabilities=probabilities is not None,
        scale=scale,
        channels=None if channels is None else int(channels),
        key=key,
        max_values=max_values,
    )
    with progress_bars() as progress:
        files = Files.find(folder)
        try:
            problems = score_files(
                made,
                files,
                output,
                selector=_made(make_selector, selector, scoring),
                layout=layout,
                grouping=grouping_of(group_by, groups),
                batch_size=batch_size,
                readers=readers,
                strict=strict,
                overwrite=overwrite,
                recorded=record(selector, scoring),
                progress=progress,
            )
        except RunChangedError as error:
            error.add_note("Or start anew with --overwrite.")
            raise
    show_problems(problems, output, files)
    print_line(f"Scores: {output}")


def select(
    scores: Annotated[Path, typer.Argument(help="What pladapt score wrote.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The parquet file of the selection to write.")
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
    print_line(f"Selector: {found.selector or 'none recorded; by the column score'}")
    print_line(f"Rules: {'its own' if found.rules is None else describe_rules(found.rules)}")
    table = Table("outcome", "samples")
    for rule, count in found.selection.counts.items():
        table.add_row(rule, f"{count:,}")
    Console().print(table)
    print_line(f"Selection: {output}")


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Predicted masks: a folder, or a file.")],
    truth: Annotated[Path, typer.Argument(help="True masks of the same names.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of parquet files to write.")
    ],
    cutoff: Annotated[
        float | None,
        typer.Option(help="The predictions are probabilities; foreground is above this."),
    ] = None,
    label: Annotated[
        list[int] | None,
        typer.Option(help="The value of a class in the masks; repeat in order.  [default: 1]"),
    ] = None,
    truth_label: Annotated[
        list[int] | None,
        typer.Option(help="The same in the true masks, where it differs; repeat in order."),
    ] = None,
    binary: Binary = False,
    ignore: Ignore = None,
    match: Match = None,
    pairs: Pairs = None,
    as_stored: AsStored = False,
    scale: Scale = None,
    dimensions: Dimensions = "2",
    axes: Axes = None,
    key: Key = None,
    max_values: MaxValues = None,
    group_by: GroupBy = "file",
    groups: Groups = None,
    empty: Annotated[
        float, typer.Option(help="The DSC where truth and prediction are both empty.")
    ] = 1.0,
    readers: Readers = 2,
    strict: Strict = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier evaluation.")
    ] = False,
) -> None:
    """Measure predicted masks against true ones: DSC, SEN and SPC in three aggregations."""
    from pladapt.files import (  # noqa: PLC0415 - help must not wait for it
        Files,
        MaskLayout,
        evaluate_files,
    )
    from pladapt.runs.stages import write_evaluation  # noqa: PLC0415 - the same

    _make_way_for_folder(output, overwrite=overwrite)
    layout = MaskLayout(
        tuple(label or [1]),
        dimensions=3 if dimensions == "3" else 2,
        axes=axes,
        binary=binary,
        as_stored=as_stored,
        key=key,
        max_values=max_values,
    )
    with progress_bars() as progress:
        files, masks = Files.find(predictions), Files.find(truth)
        evaluation, problems = evaluate_files(
            files,
            masks,
            layout=layout,
            truth_layout=replace(layout, labels=tuple(truth_label or layout.labels), ignore=ignore),
            grouping=grouping_of(group_by, groups),
            pairing=pairing_of(match, pairs),
            cutoff=cutoff,
            scale=scale,
            empty=empty,
            readers=readers,
            strict=strict,
            progress=progress,
        )
    if overwrite and output.exists():
        shutil.rmtree(output)
    write_evaluation(evaluation, output)
    _show_evaluation(evaluation)
    show_problems(problems, output, files, masks)
    print_line(f"Evaluation: {output}")


def _make_way(output: Path, *, overwrite: bool) -> None:
    """Refuse to write over finished work, which may have cost days."""
    if output.exists() and not overwrite:
        raise InputError(f"{output} is there already; give another file, or --overwrite.")


def _make_way_for_folder(output: Path, *, overwrite: bool) -> None:
    """Refuse to write over a folder before any work, unless it is an evaluation to be replaced."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{output} is there already; give another folder, or --overwrite.")
    if not output.is_dir() or {path.name for path in output.iterdir()} - _EVALUATION:
        raise InputError(
            f"{output} is not an evaluation alone, and --overwrite would lose the rest; give "
            "another folder."
        )


def _predictor(
    name: str,
    options: Mapping[str, Any],
    model: Path | None,
    images: Path | None,
    probabilities: Path | None,
) -> tuple[Predictor, Path]:
    """Return what predicts, and the folder of what it predicts."""
    from pladapt.files import GivenProbabilities  # noqa: PLC0415 - for help
    from pladapt.plugins.manager import predictor as make_predictor  # noqa: PLC0415 - the same

    if probabilities is not None and model is None:
        return GivenProbabilities(), probabilities
    if probabilities is not None or model is None or images is None:
        raise InputError("Give MODEL and IMAGES, or --probabilities FOLDER and neither of them.")
    return _made(make_predictor, name, {"path": model, **options}), images


def _made(make: Callable[..., Part], name: str, parameters: Mapping[str, Any]) -> Part:
    try:
        return make(name, **parameters)
    except TypeError as error:
        raise InputError(f"{name!r} cannot be made with {dict(parameters)}: {error}.") from error


def grouping_of(by: str, table: Path | None) -> Grouping:
    """Return what --group-by and --groups say."""
    from pladapt.files import Grouping  # noqa: PLC0415 - help must not wait for it

    return Grouping(by) if table is None else Grouping.from_csv(table)


def pairing_of(pattern: str | None, table: Path | None) -> Pairing:
    """Return what --match and --pairs say."""
    from pladapt.files import Pairing  # noqa: PLC0415 - help must not wait for it

    return Pairing(pattern) if table is None else Pairing.from_csv(table)


def show_problems(problems: Sequence[Problem], output: Path, *found: Files) -> None:
    """List what was left out, in a file beside the output and, in part, on the terminal.

    Args:
        problems: What was left out, and why.
        output: What the list is put beside.
        found: What was read; its files that were not looked at are listed as well.
    """
    from pladapt.files.folder import (  # noqa: PLC0415 - help must not wait for it
        kinds,
        not_looked_at,
        write_problems,
    )

    path = output.with_name(f"{output.stem}.left-out.csv")
    unread = [file for files in found for file in files.unread]
    write_problems([*problems, *(each for files in found for each in not_looked_at(files))], path)
    for name, reason in problems[:_SHOWN]:
        print_line(f"Left out: {name}: {reason}")
    if problems:
        print_line(f"Left out: {len(problems):,} in all, listed in {path}")
    if unread:
        print_line(f"Not looked at, listed in {path}: {kinds(unread)}")


def _show_evaluation(evaluation: Evaluation) -> None:
    table = Table("aggregation", "class", *(metric.upper() for metric in METRICS), "of")
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in evaluation.summary.to_pylist():
        rows.setdefault((row["aggregation"], row["class"]), {})[row["metric"]] = row
    for (aggregation, class_), found in rows.items():
        values = [_figure(found[metric]) for metric in METRICS]
        table.add_row(aggregation, str(class_), *values, str(found[METRICS[0]]["count"]))
    Console().print(table)


def _figure(row: Mapping[str, Any]) -> str:
    return f"{row['mean']:.3f}" + ("" if row["std"] is None else f" ± {row['std']:.3f}")


def print_line(line: str) -> None:
    """Print a line as it is, however long, but for characters that would steer the terminal."""
    from pladapt.files.names import visible_lines  # noqa: PLC0415 - for help

    Console(soft_wrap=True).print(visible_lines(line), markup=False, highlight=False)
