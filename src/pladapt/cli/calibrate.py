"""``pladapt calibrate``: the cut-off of a model, from labelled images of the source."""

from __future__ import annotations

import warnings
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from pladapt.cli.model import ModelName, ModelOptions, find_model, reading_of
from pladapt.cli.options import BatchSize, with_options, writable
from pladapt.cli.printing import (
    AsJson,
    console,
    finite,
    named,
    print_json,
    print_line,
    show_problems,
)
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, TrueMasks
from pladapt.errors import InputError
from pladapt.evaluation.calibration import (
    Aggregation,  # noqa: TC001 - typer reads the annotations
    calibrate_cutoff,
)
from pladapt.functional.certainty import foreground
from pladapt.predictors.prediction import predict
from pladapt.storage import atomic_write, to_json

if TYPE_CHECKING:
    from pladapt.evaluation.calibration import Calibration
    from pladapt.files import TrueFileSamples
    from pladapt.typing import Predictor

_USUAL: Final = 0.5


@with_options(without=["scale", "time_limit"])
def calibrate(
    model: ModelName,
    images: Annotated[Path, typer.Argument(help="A folder of the source's images, or one.")],
    truth: Annotated[
        Path,
        typer.Argument(
            help="Their true masks, of the same names: of patients that the model was not trained "
            "on."
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", callback=writable, help="A file of JSON to write, .json."),
    ] = None,
    aggregation: Annotated[
        Aggregation,
        typer.Option(help="Whose DSC is best: of all pixels, or a mean of samples or groups."),
    ] = "pooled",
    how: ModelOptions,
    masks: TrueMasks,
    batch_size: BatchSize = 8,
    reading: Reading,
    as_json: AsJson = False,
) -> None:
    """Find the cut-off with the best DSC on labelled images of the source, from 0.01 to 0.99.

    Of several classes each has its own, found against all the rest. The images that chose a cut-off
    flatter any figure that is measured on them again.
    """
    if output is not None and output.suffix != ".json":
        raise InputError(f"The output is {output}; its name must end in .json.")
    reading = reading_of(model, reading)
    known, files = masks.truth(truth, images, reading), reading.find(images)
    predictor = find_model(model, how, files, reading).predictor
    with progress_bars() as progress:
        samples, problems = reading.samples(files, progress)
        labelled, without = reading.labelled(samples, known)
        _check_classes(predictor, labelled, masks.truth_label or [1])
        found = calibrate_cutoff(
            predictor, labelled, aggregation=aggregation, batch_size=batch_size, progress=progress
        )
    classes = _classes(found)
    problems += without
    show_problems(problems, output, files, known.files)
    console().print(_table(classes, found.aggregation, len(labelled)))
    _warn(classes)
    cutoffs = " ".join(f"--cutoff {row['cutoff']:g}" for row in classes)
    print_line(
        f"For masks: pladapt predict {model} IMAGES -o MASKS {cutoffs}, with the same --weights "
        "and --prepare, if any."
    )
    if len(classes) == 1:
        print_line(f"Give {cutoffs} to pladapt source and pladapt adapt as well.")
    values = {
        "cutoff": found.cutoff,
        "aggregation": found.aggregation,
        "samples": len(labelled),
        "classes": classes,
        "curve": found.curve.to_pylist(),
    }
    if output is not None:
        with atomic_write(output) as temporary:
            temporary.write_text(to_json(finite(values)), encoding="utf-8")
        print_line(f"Calibration: {output}")
    if as_json:
        print_json(**values, left_out=named(problems))


def _check_classes(predictor: Predictor, labelled: TrueFileSamples, labels: list[int]) -> None:
    """Refuse masks of fewer or more classes than the model has, before the work.

    Raises:
        InputError: They are.
    """
    first = labelled[0]
    found = foreground(predict(predictor, [first], first.image[None]).probabilities).shape[1]
    if found != len(labels):
        raise InputError(
            f"The model has {found} classes but the background, and the values of the true masks "
            f"are {labels}; give --truth-label once for each class, in order, or choose one class "
            "of the model with --channel."
        )


def _classes(found: Calibration) -> list[dict[str, Any]]:
    """Return a row for each class: its cut-off, and the DSC with it and with the usual one."""
    best = found.cutoff if isinstance(found.cutoff, tuple) else (found.cutoff,)
    curve = {(row["class"], row["cutoff"]): row["dsc"] for row in found.curve.to_pylist()}
    return [
        {
            "class": class_,
            "cutoff": cutoff,
            "dsc": curve[class_, cutoff],
            "dsc_at_half": curve[class_, _USUAL],
            "at_edge": class_ in found.at_edge,
        }
        for class_, cutoff in enumerate(best, start=1)
    ]


def _table(classes: list[dict[str, Any]], aggregation: Aggregation, samples: int) -> Table:
    table = Table("class", "cut-off", "DSC", "DSC at 0.5")
    for row in classes:
        figures = f"{row['dsc']:.3f}", f"{row['dsc_at_half']:.3f}"
        table.add_row(str(row["class"]), f"{row['cutoff']:g}", *figures)
    table.caption = f"{aggregation}, {samples:,} samples"
    return table


def _warn(classes: list[dict[str, Any]]) -> None:
    """Warn of what a network that works rarely has: an end of what was tried, or no overlap."""
    for row in classes:
        if row["at_edge"] or not row["dsc"]:
            odd = (
                "lies at an end of what was tried (0.01 to 0.99), so that a better one may lie "
                "beyond"
                if row["dsc"]
                else "is any: with none is a pixel of the class marked"
            )
            warnings.warn(
                f"The cut-off of class {row['class']} {odd}. See that the images are prepared as "
                "in the network's training (--window, --prepare), that its output is probabilities "
                "(--activation), and that the masks have the class (--truth-label).",
                stacklevel=2,
            )
