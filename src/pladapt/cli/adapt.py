"""``pladapt adapt``: a recipe, from a network and a folder of images."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from pladapt.cli.modules import Factory, NetworkOptions, look_at
from pladapt.cli.options import BatchSize, part_of, with_options, writable
from pladapt.cli.parts import PartOptions
from pladapt.cli.printing import AsJson, console, named, print_json, print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, TrueMasks
from pladapt.cli.run_images import note_images
from pladapt.errors import InputError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.runs.dividing import check_divisible
from pladapt.source.statistics import SourceStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pladapt.data.tolerance import Tolerance
    from pladapt.files import Problem, TrueFileSamples
    from pladapt.reports.document import Table as Shown
    from pladapt.runs.adaptation import AdaptationResult
    from pladapt.types import Outcome
    from pladapt.typing import Evaluator

STATUSES: Final[Mapping[Outcome, int]] = {"adapted": 0, "unchanged": 3, "unfit": 4}
"""The exit statuses of `adapt`, as its help says."""


@with_options(without=["scale"])
def adapt(
    model: Factory,
    images: Annotated[Path, typer.Argument(help="A folder of unlabelled target images, or one.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            callback=writable,
            help="The run folder; an interrupted run continues in it.",
        ),
    ],
    how: NetworkOptions,
    parts: PartOptions,
    source: Annotated[
        Path | None, typer.Option(help="What pladapt source wrote about the source's images.")
    ] = None,
    cutoff: Annotated[
        float | None,
        typer.Option(
            help="The source's cut-off.  [default: that in the source's statistics, or 0.5]"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the recipe's training.", min=0)] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to compute: auto, cpu, cuda, ...  [default: auto]")
    ] = None,
    batch_size: BatchSize = 8,
    truth: Annotated[
        Path | None,
        typer.Option(help="True masks of the same names: for the evaluation and nothing else."),
    ] = None,
    labelled: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="IMAGES MASKS",
            help="Three to five labelled images of the target, or more, and their masks: these "
            "decide what is taken.",
        ),
    ] = None,
    train_on_labelled: Annotated[
        bool,
        typer.Option("--train-on-labelled", help="The images of --labelled are trained on, too."),
    ] = False,
    foreground_fraction: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="Which fraction of all pixels can be foreground, such as 0.01 0.1: a model that "
            "marks another is shifted to the nearest, and what would mark another is refused.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Label one part of the images, as 2/8, beside others that write into the same "
            "folder; the same command without it takes the labels of all parts and goes on."
        ),
    ] = None,
    masks: TrueMasks,
    reading: Reading,
    as_json: AsJson = False,
) -> None:
    """Adapt a network to unlabelled images, and write the predictor and a report.

    First the verdict is printed. Exit status: 0 where the network was adapted, 3 where it was left
    as it was, since nothing would surely help, and 4 where it is not fit for the images; then a few
    of them have to be labelled, for --labelled. 1 is an error, 2 a command line that is none.

    An interrupted command goes on where it was when it is given again.
    """
    known = None if truth is None else masks.truth(truth, images, reading)
    few = None if labelled is None else masks.truth(labelled[1], labelled[0], reading)
    statistics = None if source is None else SourceStatistics.load(source)
    files = reading.find(images)
    # imported before the work, so that what is missing is said before it
    from pladapt.cli.report import (  # noqa: PLC0415 - the same
        compare_results,
        values_of,
        write_results,
    )
    from pladapt.torch import check_trainable, save_predictor  # noqa: PLC0415 - the same

    given: dict[str, Any] = {"cutoff": cutoff, "seed": seed, "device": device}
    given |= {"foreground_fraction": foreground_fraction}
    given |= {"train_on_labelled": train_on_labelled or None}
    config = {name: value for name, value in given.items() if value is not None}
    config |= {} if statistics is None else {"source": statistics}
    few_given = {} if labelled is None else {"labelled": labelled}
    chosen = parts.chosen(config | few_given, truth=truth is not None)
    network = how.build(model)
    predictor = network.predictor(device or "auto")
    used = _cutoff(chosen, statistics)
    unpaired: list[Problem] = []
    with progress_bars() as progress:
        own = {"checkpoints": output / "checkpoints", "progress": progress}
        if labelled is not None and few is not None:
            chosen["labelled"], unpaired = reading.few(reading.find(labelled[0]), few, progress)
        made = parts.build(chosen, used, batch_size=batch_size, **own)
        if made.rounds:
            check_trainable(network.module)
        if part is not None:
            check_divisible(made.recalibrator)
        target, problems = reading.samples(files, progress)
        look_at(network, predictor, target, force=how.force)
        true, without = (None, []) if known is None else reading.labelled(target, known)
        work: dict[str, Any] = {
            "evaluators": _evaluators(true, used, batch_size, reading.tolerance, parts),
            "workdir": output,
            "on_error": reading.on_error,
            "max_errors": reading.tolerance.max_errors,
            "time_limit": reading.time_limit,
            "progress": progress,
        }
        if part is not None:
            count = made.label_part(predictor, target, part_of(part), **work)
            _say_part(part, count, output, as_json=as_json)
            return
        result = made.adapt(predictor, target, **work)
    save_predictor(result.predictor, output / "adapted", cutoff=used)
    reading.record(output / "adapted")
    note_images(output, images, reading)
    compared = compare_results(made, predictor, result, target, true, cutoff=used)
    write_results(result, output, files, problems, true, compared=compared)
    show_problems(unpaired, output / "labelled")
    show_problems(without, output / "truth", *([] if known is None else [known.files]))
    show_result(result)
    _say_outcome(result, output, used)
    if as_json:
        unread = named([*problems, *without])
        paths = {"run": output, "adapted": output / "adapted", "cutoff": used}
        print_json(**values_of(result), **paths, unread=unread)
    if status := STATUSES[result.verdict.outcome]:
        raise typer.Exit(status)


def _say_outcome(result: AdaptationResult, output: Path, cutoff: float) -> None:
    adapted = result.verdict.outcome == "adapted"
    kind = "Adapted predictor" if adapted else "Predictor, as it was"
    print_line(f"{kind}: {output / 'adapted'} (cut-off {cutoff:g})")
    print_line(f"For masks: pladapt predict {output / 'adapted'} IMAGES -o MASKS")


def _say_part(part: str, count: int, output: Path, *, as_json: bool) -> None:
    print_line(f"Part {part}, {count:,} samples, is labelled: {output}")
    print_line("Give the same without --part once all parts are: that adapts.")
    if as_json:
        print_json(run=output, part=part, samples=count)


def _cutoff(chosen: dict[str, Any], statistics: SourceStatistics | None) -> float:
    """Return the cut-off that the adapted predictor is to be used and measured with."""
    known = 0.5 if statistics is None else statistics.cutoff
    each = chosen.get("cutoff", known)
    different = {each} if isinstance(each, float) else {*each}
    if len(different) > 1:
        raise InputError(f"The source has the cut-offs {each}; give one with --cutoff.")
    return float(different.pop())


def _evaluators(
    labelled: TrueFileSamples | None,
    cutoff: float,
    batch_size: int,
    tolerance: Tolerance,
    parts: PartOptions,
) -> dict[str, Evaluator]:
    if labelled is None:
        return {}
    evaluator = OverlapEvaluator(
        samples=labelled, cutoff=cutoff, batch_size=batch_size, tolerance=tolerance
    )
    return {"truth": evaluator} | parts.evaluators(
        samples=labelled, cutoff=cutoff, batch_size=batch_size, spacing=labelled.spacing
    )


def show_result(result: AdaptationResult) -> None:
    """Print the figures before and after; where there is no truth, the evidence without it."""
    printed = console()
    for shown in _tables(result):
        table = Table(*shown.header, title=shown.caption)
        for row in shown.rows:
            table.add_row(*row)
        printed.print(table)


def _tables(result: AdaptationResult) -> Iterator[Shown]:
    from pladapt.reports import document  # noqa: PLC0415 - for help
    from pladapt.reports.choice import choice_section  # noqa: PLC0415 - the same
    from pladapt.reports.recalibration import recalibration_section  # noqa: PLC0415 - the same
    from pladapt.reports.tables import change_tables, evidence_table  # noqa: PLC0415 - the same

    for section in choice_section(result):
        yield from (block for block in section.body if isinstance(block, document.Table))
    if result.before:
        yield next(change_tables(result, next(iter(result.before))))
        return
    for section in recalibration_section(result):
        yield from (block for block in section.body if isinstance(block, document.Table))
    for current in result.rounds:
        if (evidence := evidence_table(current)) is not None:
            yield evidence
