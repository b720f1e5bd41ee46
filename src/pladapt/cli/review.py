"""``pladapt review``: a page on this machine for a person's answers to a run's masks."""

from __future__ import annotations

import sys
import webbrowser
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from pladapt.cli.printing import print_line
from pladapt.cli.progress import progress_bars
from pladapt.cli.run_images import (
    Images,
    Run,
    run_samples,
)
from pladapt.storage import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.files import FileSamples


Who: TypeAlias = Annotated[str, typer.Option(help="Your name, which is noted with every answer.")]
Number: TypeAlias = Annotated[
    int, typer.Option("-n", "--number", help="How many samples to offer at a time.", min=1)
]
Port: TypeAlias = Annotated[
    int, typer.Option(help="Where on 127.0.0.1 the page is served.", min=1, max=65535)
]
Show: TypeAlias = Annotated[
    bool, typer.Option("--open/--no-open", help="Whether to open the page in a browser.")
]


def review(
    run: Run,
    images: Images = None,
    *,
    who: Who,
    number: Number = 20,
    port: Port = 8642,
    device: Annotated[
        str, typer.Option(help="Where the adapted model predicts, if --predict is given.")
    ] = "auto",
    predict: Annotated[
        bool,
        typer.Option(
            "--predict",
            help="Predict the images with the adapted model first: its masks are a candidate, and "
            "what is reviewed where no round has labelled anything.",
        ),
    ] = False,
    show: Show = True,
) -> None:
    """Open a page with the samples of which a look is worth most, to accept, reject or correct.

    It is served on this machine alone, to whoever has the address. What is said and drawn is in the
    run folder at once; the same pladapt adapt as before goes on with a round that it teaches.
    Ctrl-C ends the command.
    """
    from pladapt.review.server import open_page  # noqa: PLC0415 - help must not wait for it

    samples = run_samples(run, images)
    if predict:
        _predict(run, samples, device)
    ready = partial(announce, show=show)
    open_page(run, samples, who=who, ids=samples.ids, count=number, port=port, ready=ready)


def announce(address: str, *, show: bool) -> None:
    """Print a page's address, and open it in a browser if that is wanted."""
    print_line(f"Review: {address}")
    sys.stdout.flush()  # who reads it from a pipe waits for it
    if show:
        webbrowser.open(address)


def _predict(run: Path, samples: FileSamples, device: str) -> None:
    """Store the adapted model's masks as a candidate."""
    from pladapt.review.masks import predict_candidate  # noqa: PLC0415 - for help
    from pladapt.runs.reviewed import reviewed_run  # noqa: PLC0415 - the same
    from pladapt.torch import load_predictor  # noqa: PLC0415 - the same

    predictor = load_predictor(run / "adapted", device=device)
    cutoff = read_json(run / "adapted" / "predictor.json").get("cutoff") or 0.5
    with progress_bars() as progress:
        folder = reviewed_run(run)
        predict_candidate(predictor, samples, folder, "adapted", cutoff=cutoff, progress=progress)
