"""``pladapt source``: what travels with a model in place of the source's images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from pladapt.cli.modules import Device, NetworkOptions, look_at
from pladapt.cli.options import BatchSize, with_options, writable
from pladapt.cli.printing import AsJson, named, print_json, print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, TrueMasks
from pladapt.errors import InputError
from pladapt.source.estimation import calibrate_estimate
from pladapt.source.statistics import SourceStatistics


@with_options(without=["scale", "time_limit"])
def source(
    images: Annotated[Path, typer.Argument(help="A folder of the source's images, or one.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", callback=writable, help="The file of statistics to write, .npz."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The network, as for pladapt adapt."),
    ] = None,
    how: NetworkOptions,
    cutoff: Annotated[
        float, typer.Option(help="The probability above which a pixel is foreground.")
    ] = 0.5,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="True masks of the same names, for pladapt estimate: of patients that the model "
            "was not trained on. Needs --model."
        ),
    ] = None,
    masks: TrueMasks,
    device: Device = "auto",
    reading: Reading,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
) -> None:
    """Measure the few numbers about the source that travel with a model in place of its images.

    With a model also what it predicts on them, which is honest only on images that it was not
    trained on. With their masks as well how a DSC can be told without labels: the images are
    changed in intensity, noise, sharpness and size, and compared with the masks each time.
    """
    if output.suffix != ".npz":
        raise InputError(f"The output is {output}; its name must end in .npz.")
    network = made = None
    if model is not None:
        network = how.build(model)
        made = network.predictor(device)
    elif how.weights is not None or how.argument or truth is not None:
        raise InputError(
            "There are --weights, --argument or --truth, and no --model that they are for."
        )
    known = None if truth is None else masks.truth(truth, images, reading)
    with progress_bars() as progress:
        files = reading.find(images)
        samples, problems = reading.samples(files, progress)
        if network is not None and made is not None:
            look_at(network, made, samples, force=how.force)
        measured = SourceStatistics.measure(samples, made, cutoff=cutoff, batch_size=batch_size)
        if made is not None and known is not None:
            labelled, without = reading.labelled(samples, known)
            problems += without
            measured = calibrate_estimate(
                measured, labelled, made, batch_size=batch_size, progress=progress
            )
    measured.save(output)
    show_problems(problems, output, files)
    print_line(f"Source statistics of {len(samples)} samples: {output}")
    if (simulated := measured.estimation) is not None:
        print_line(
            f"Estimates of a DSC: off by {simulated.error:.3f} on average over {simulated.cases} "
            "simulated cases, of which neither the patients nor the kind of change were known"
        )
    if as_json:
        estimates = simulated and {"error": simulated.error, "cases": simulated.cases}
        print_json(
            source=output, samples=len(samples), estimates=estimates, left_out=named(problems)
        )
