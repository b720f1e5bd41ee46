"""``pladapt evaluate``: predicted masks against true ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pladapt.cli.details import MoreFigures
from pladapt.cli.options import with_options, writable
from pladapt.cli.printing import (
    AsJson,
    console,
    figure,
    named,
    print_json,
    print_line,
    show_problems,
)
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, TrueMasks
from pladapt.errors import InputError
from pladapt.functional.overlap import METRICS

if TYPE_CHECKING:
    from pladapt.types import Evaluation

_EVALUATION = {"digests.json", "notes.json", "samples.parquet", "summary.parquet"}


@with_options(
    without=[
        "truth_label",
        "window",
        "channels",
        "max_errors",
        "resample",
        "neighbours",
        "time_limit",
    ]
)
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Predicted masks: a folder, or a file.")],
    truth: Annotated[Path, typer.Argument(help="True masks of the same names.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", callback=writable, help="The folder of parquet files to write."
        ),
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
    masks: TrueMasks,
    reading: Reading,
    empty: Annotated[
        float, typer.Option(help="The DSC where truth and prediction are both empty.")
    ] = 1.0,
    more: MoreFigures,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier evaluation.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure predicted masks against true ones: DSC, SEN and SPC in three aggregations.

    On request also borders in mm, lesions and volumes.
    """
    from pladapt.files import evaluate_files  # noqa: PLC0415 - help must not wait for it
    from pladapt.runs.stages import write_evaluation  # noqa: PLC0415 - the same

    _make_way_for_folder(output, overwrite=overwrite)
    if predictions.resolve() == truth.resolve():
        raise InputError(
            f"The predictions and the truth are both {truth}; give the folder of each."
        )
    layout = reading.mask_layout(
        label, axes=reading.axes, binary=masks.binary, as_stored=masks.as_stored
    )
    details = more.details()
    with progress_bars() as progress:
        files, found = reading.find(predictions), reading.find(truth)
        evaluation, problems = evaluate_files(
            files,
            found,
            layout=layout,
            truth_layout=replace(
                layout, labels=tuple(truth_label or layout.labels), ignore=masks.ignore
            ),
            grouping=reading.grouping(),
            pairing=masks.pairing(),
            cutoff=cutoff,
            scale=reading.scale,
            empty=empty,
            details=details,
            readers=reading.readers,
            on_error=reading.on_error,
            progress=progress,
        )
    if overwrite and output.exists():
        shutil.rmtree(output)
    write_evaluation(evaluation, output)
    _show_evaluation(evaluation)
    more.show(evaluation)
    show_problems(problems, output, files, found)
    print_line(f"Evaluation: {output}")
    if as_json:
        print_json(
            evaluation=output,
            summary=evaluation.summary.to_pylist(),
            notes=evaluation.notes,
            left_out=named(problems),
        )


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


def _show_evaluation(evaluation: Evaluation) -> None:
    table = Table("aggregation", "class", *(metric.upper() for metric in METRICS), "of")
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for row in evaluation.summary.to_pylist():
        rows.setdefault((row["aggregation"], row["class"]), {})[row["metric"]] = row
    for (aggregation, class_), found in rows.items():
        values = [figure(found[metric]) for metric in METRICS]
        table.add_row(aggregation, str(class_), *values, str(found[METRICS[0]]["count"]))
    console().print(table)
    if not sum(int(evaluation.samples[name].to_numpy().sum()) for name in ("tp", "fn")):
        print_line("No true mask has a pixel of any class: DSC 1 says only that none was marked.")
