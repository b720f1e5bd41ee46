"""``pladapt source``: what travels with a model in place of the source's images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from pladapt.cli.file_options import (
    Axes,  # noqa: TC001 - typer reads the annotations
    BatchSize,  # noqa: TC001 - the same
    Channels,  # noqa: TC001 - the same
    Dimensions,  # noqa: TC001 - the same
    Key,  # noqa: TC001 - the same
    MaxErrors,  # noqa: TC001 - the same
    MaxValues,  # noqa: TC001 - the same
    OnError,  # noqa: TC001 - the same
    Readers,  # noqa: TC001 - the same
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
from pladapt.cli.reading import Reading
from pladapt.errors import InputError
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
    device: Device = "auto",
    dimensions: Dimensions = "2",
    axes: Axes = None,
    window: Window = None,
    channels: Channels = None,
    key: Key = None,
    max_values: MaxValues = None,
    batch_size: BatchSize = 8,
    readers: Readers = 2,
    on_error: OnError = "skip",
    max_errors: MaxErrors = "5%",
) -> None:
    """Measure the few numbers about the source that travel with a model in place of its images.

    With a model also what it predicts on them, which is honest only on images that it was not
    trained on.
    """
    from pladapt.files import Files  # noqa: PLC0415 - help must not wait for it

    if output.suffix != ".npz":
        raise InputError(f"The output is {output}; its name must end in .npz.")
    made = None
    if model is not None:
        network = build_network(model, argument, weights, activation, channel, prepare=prepare)
        made = network.predictor(device)
    elif weights is not None or argument:
        raise InputError("There are --weights or --argument, and no --model that they are for.")
    reading = Reading(
        dimensions=dimensions,
        axes=axes,
        window=window,
        channels=channels,
        key=key,
        max_values=max_values,
        readers=readers,
        on_error=on_error,
        max_errors=errors_of(max_errors),
    )
    with progress_bars() as progress:
        files = Files.find(images)
        samples, problems = reading.samples(files, progress)
        measured = SourceStatistics.measure(samples, made, cutoff=cutoff, batch_size=batch_size)
    measured.save(output)
    show_problems(problems, output, files)
    print_line(f"Source statistics of {len(samples)} samples: {output}")
