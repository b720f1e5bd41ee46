"""``pladapt run``: what a run description says."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pladapt.cli.adapt import STATUSES, show_result
from pladapt.cli.modules import Force, NetworkOptions, look_at
from pladapt.cli.parts import Maker
from pladapt.cli.printing import AsJson, print_json, print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading, TrueMasks
from pladapt.errors import InputError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.plugins.manager import default_manager
from pladapt.source.statistics import SourceStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.cli.description import Description, Part
    from pladapt.files import FileSamples, TrueFileSamples
    from pladapt.plugins.manager import Kind
    from pladapt.recipes.bundle import Recipe
    from pladapt.runs.adaptation import AdaptationResult
    from pladapt.types import Progress
    from pladapt.typing import Evaluator, Predictor


def run(
    description: Annotated[
        Path | None, typer.Argument(help="A TOML file that says what the run is made of.")
    ] = None,
    *,
    print_schema: Annotated[
        bool,
        typer.Option("--print-schema", help="Print what such a file may hold, as JSON schema."),
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Adapt as a run description says: with a recipe, or with parts by their names.

    Exit status: as for adapt. An interrupted run goes on where it was when it is given again.
    """
    from pladapt.cli.description import Description, read_description  # noqa: PLC0415 - extra

    if print_schema:
        typer.echo(json.dumps(Description.model_json_schema(), indent=2))
        return
    if description is None:
        raise InputError("Give a file that describes the run, or --print-schema.")
    found = read_description(description)
    for path in found.plugins:
        default_manager().register_file(path)
    result = _Run(description, found, force=force).result()
    show_result(result)
    outcome = result.verdict.outcome
    print_line(f"Run: {found.output} ({result.verdict})")
    if as_json:
        from pladapt.cli.report import values_of  # noqa: PLC0415 - needs the extra

        print_json(**values_of(result), run=found.output)
    if status := STATUSES[outcome]:
        raise typer.Exit(status)


class _Run:
    """A run that a file describes.

    Args:
        path: The file.
        said: What it says.
        force: Whether to go on where the input is odd.
    """

    def __init__(self, path: Path, said: Description, *, force: bool) -> None:
        self._path, self._said, self._force = path, said, force
        self._statistics = None if said.source is None else SourceStatistics.load(said.source)

    def result(self) -> AdaptationResult:
        """Do what the file says, and write the predictor and the report."""
        from pladapt.cli.report import compare_results, write_results  # noqa: PLC0415 - needs the extra

        said = self._said
        predictor, look = self._predictor()
        with progress_bars() as progress:
            made = self._recipe(progress)
            target, problems = self._reading.samples(self._files, progress)
            look(target)
            labelled = self._labelled(target)
            evaluators = self._evaluators(labelled)
            result = made.adapt(
                predictor, target, evaluators=evaluators, workdir=said.output, progress=progress
            )
        self._save(result.predictor)
        compared = compare_results(made, predictor, result, target, labelled, cutoff=self._cutoff)
        write_results(result, said.output, self._files, problems, labelled, compared=compared)
        return result

    @property
    def _cutoff(self) -> float:
        if self._said.cutoff is not None:
            return self._said.cutoff
        known = 0.5 if self._statistics is None else self._statistics.cutoff
        if not isinstance(known, float | int):
            raise InputError(f"The source has the cut-offs {known}; give one, as cutoff.")
        return float(known)

    @cached_property
    def _files(self) -> Any:
        return self._reading.find(self._said.images.folder)

    @cached_property
    def _reading(self) -> Reading:
        given = self._said.images.model_dump(exclude={"folder"}, exclude_none=True)
        for name in ("dimensions", "channels"):
            given |= {name: str(given[name])} if name in given else {}
        return Reading(**given)

    def _predictor(self) -> tuple[Predictor, Callable[[FileSamples], None]]:
        """Return the predictor, and what looks at the first images with it."""
        said = self._said.network
        if said is None:
            return self._made("predictor", self._said.predictor), lambda _target: None
        arguments = [f"{name}={json.dumps(value)}" for name, value in said.arguments.items()]
        network = NetworkOptions(
            weights=said.weights,
            argument=arguments,
            activation=said.activation,
            channel=said.channel,
            force=self._force,
        ).build(said.name)
        predictor = network.predictor(said.device)
        return predictor, lambda target: look_at(network, predictor, target, force=self._force)

    def _recipe(self, progress: Progress) -> Recipe:
        from pladapt.recipes.bundle import Recipe  # noqa: PLC0415 - for help

        said = self._said
        if said.recipe is not None:
            made: Recipe = self._made("recipe", said.recipe, progress=progress)
            return made
        recalibrator = said.recalibrator
        return Recipe(
            selector=self._made("selector", said.selector),
            retrainer=self._made("retrainer", said.retrainer, progress=progress),
            recalibrator=None
            if recalibrator is None
            else self._made("recalibrator", recalibrator, progress=progress),
            gates=[self._made("gate", each, ("gates",)) for each in said.gates],
            rounds=said.rounds,
            batch_size=said.batch_size,
        )

    def _labelled(self, target: FileSamples) -> TrueFileSamples | None:
        said = self._said.truth
        if said is None:
            return None
        masks = TrueMasks(truth_label=said.labels, ignore=said.ignore, binary=said.binary)
        known = masks.truth(said.folder, self._said.images.folder, self._reading)
        labelled, without = self._reading.labelled(target, known)
        show_problems(without, self._said.output / "truth", known.files)
        return labelled

    def _evaluators(self, labelled: TrueFileSamples | None) -> dict[str, Evaluator]:
        if labelled is None:
            return {}
        own = OverlapEvaluator(
            samples=labelled, cutoff=self._cutoff, batch_size=self._said.batch_size
        )
        return {"truth": own} | {
            name: self._made("evaluator", part, ("evaluators", name), samples=labelled)
            for name, part in self._said.evaluators.items()
        }

    def _save(self, predictor: Predictor) -> None:
        if self._said.network is None:  # a predictor of one's own; the run folder has its rounds
            return
        from pladapt.torch import save_predictor  # noqa: PLC0415 - needs the extra

        save_predictor(predictor, self._said.output / "adapted", cutoff=self._cutoff)
        self._reading.record(self._said.output / "adapted")

    def _made(self, kind: Kind, part: Part | None, where: tuple[str, ...] = (), **own: Any) -> Any:
        """Make a part, with what the description says and what the run gives."""
        assert part is not None, kind  # noqa: S101 - the description has been validated
        said = self._said
        given = {
            "cutoff": self._cutoff if said.recipe is None else said.cutoff,
            "batch_size": said.batch_size,
            "source": self._statistics,
            "checkpoints": said.output / "checkpoints",
        }
        return Maker(given, self._place).make(kind, part.name, part.parameters, where, **own)

    def _place(self, where: tuple[str, ...]) -> str:
        from pladapt.cli.description import place  # noqa: PLC0415 - the same

        return place(self._path, self._path.read_text(encoding="utf-8"), where)
