"""``pladapt source``: what travels with a model in place of the source's images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from pladapt.cli.file_options import (
    AsStored,  # noqa: TC001 - typer reads the annotations
    Axes,  # noqa: TC001 - the same
    BatchSize,  # noqa: TC001 - the same
    Binary,  # noqa: TC001 - the same
    Channels,  # noqa: TC001 - the same
    Dimensions,  # noqa: TC001 - the same
    GroupBy,  # noqa: TC001 - the same
    Groups,  # noqa: TC001 - the same
    Ignore,  # noqa: TC001 - the same
    Key,  # noqa: TC001 - the same
    Match,  # noqa: TC001 - the same
    MaxErrors,  # noqa: TC001 - the same
    MaxValues,  # noqa: TC001 - the same
    OnError,  # noqa: TC001 - the same
    Pairs,  # noqa: TC001 - the same
    Readers,  # noqa: TC001 - the same
    TruthLabel,  # noqa: TC001 - the same
    Window,  # noqa: TC001 - the same
)
from pladapt.cli.modules import (
    ActivationOption,  # noqa: TC001 - the same
    Arguments,  # noqa: TC001 - the same
    Channel,  # noqa: TC001 - the same
    Device,  # noqa: TC001 - the same
    Prepare,  # noqa: TC001 - the same
    Weights,  # noqa: TC001 - the same
    build_network,
)
from pladapt.cli.options import errors_of
from pladapt.cli.printing import print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, Truth, keep_masks_apart, pairing_of
from pladapt.errors import InputError
from pladapt.source.estimation import calibrate_estimate
from pladapt.source.statistics import SourceStatistics


def source(
    images: Annotated[Path, typer.Argument(help="A folder of the source's images, or one.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file of statistics to write, .npz.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The network, as for pladapt adapt."),
    ] = None,
    weights: Weights = None,
    argument: Arguments = None,
    activation: ActivationOption = "auto",
    channel: Channel = None,
    prepare: Prepare = None,
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
    truth_label: TruthLabel = None,
    binary: Binary = False,
    ignore: Ignore = None,
    match: Match = None,
    pairs: Pairs = None,
    as_stored: AsStored = False,
    device: Device = "auto",
    dimensions: Dimensions = "2",
    axes: Axes = None,
    window: Window = None,
    channels: Channels = None,
    key: Key = None,
    max_values: MaxValues = None,
    group_by: GroupBy = "file",
    groups: Groups = None,
    batch_size: BatchSize = 8,
    readers: Readers = 2,
    on_error: OnError = "skip",
    max_errors: MaxErrors = "5%",
) -> None:
    """Measure the few numbers about the source that travel with a model in place of its images.

    With a model also what it predicts on them, which is honest only on images that it was not
    trained on. With their masks as well how a DSC can be told without labels: the images are
    changed in intensity, noise, sharpness and size, and compared with the masks each time.
    """
    from pladapt.files import Files  # noqa: PLC0415 - help must not wait for it

    if output.suffix != ".npz":
        raise InputError(f"The output is {output}; its name must end in .npz.")
    made = None
    if model is not None:
        network = build_network(model, argument, weights, activation, channel, prepare=prepare)
        made = network.predictor(device)
    elif weights is not None or argument or truth is not None:
        raise InputError(
            "There are --weights, --argument or --truth, and no --model that they are for."
        )
    reading = Reading(
        dimensions=dimensions,
        axes=axes,
        window=window,
        channels=channels,
        key=key,
        max_values=max_values,
        group_by=group_by,
        groups=groups,
        readers=readers,
        on_error=on_error,
        max_errors=errors_of(max_errors),
    )
    known = None
    if truth is not None:
        keep_masks_apart(images, truth)
        layout = reading.mask_layout(truth_label, ignore=ignore, binary=binary, as_stored=as_stored)
        known = Truth(Files.find(truth), layout, pairing_of(match, pairs))
    with progress_bars() as progress:
        files = Files.find(images)
        samples, problems = reading.samples(files, progress)
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
