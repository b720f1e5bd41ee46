"""Recipes whose outcome a few labelled images of the target decide."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.data.views import Subset
from pladapt.errors import InputError
from pladapt.evaluation.few_labels import AS_IT_IS
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.recipes.bundle import Recipe
from pladapt.runs.adaptation import AdaptationResult
from pladapt.runs.choosing import CHOICE, Chosen, renew_chosen
from pladapt.runs.manifest import describe, locked_run, note_reviews, read_manifest
from pladapt.runs.reviewed import CANDIDATES
from pladapt.runs.stages import named_evaluators, stored_evaluations
from pladapt.runs.usable import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pladapt.data.tolerance import OnError
    from pladapt.evaluation.few_labels import Choice, FewLabels
    from pladapt.plugins.manager import PluginManager
    from pladapt.types import Evaluation, Progress, Sample, Samples
    from pladapt.typing import Evaluator, Gate, Predictor


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledRecipe(Recipe):
    """Runs several recipes on the unlabelled images, and lets a few labelled ones choose.

    The labels reach the chooser alone: no candidate is made from them, but for one whose own
    recipe was given them to learn from. The labelled images take no part in any candidate's run,
    neither for statistics nor to be labelled and trained on.

    Args:
        candidates: Recipes by name, each of which gives a candidate beside the model as it is,
            unless it leaves the model as it was. The other arguments are those of one of them.
        chooser: Has the labelled images.
        start: Which candidate stays unless another is clearly better on the labelled images; where
            it left the model as it was, that stays.
        taught: Whether their labels train candidates, too; told in the record.
        limits: Gates that a predictor must pass with the cut-off that the labels chose.
    """

    candidates: Mapping[str, Recipe]
    chooser: FewLabels
    start: str = AS_IT_IS
    taught: bool = False
    limits: Sequence[Gate] = ()

    def adapt(
        self,
        predictor: Predictor,
        target: Samples[Sample],
        *,
        evaluators: Mapping[str, Evaluator] | Sequence[Evaluator] = (),
        workdir: str | Path | None = None,
        on_error: OnError = "skip",
        max_errors: float = MAX_ERRORS,
        time_limit: float | None = None,
        plugins: PluginManager | Iterable[object] | None = None,
        progress: Progress | None = None,
    ) -> AdaptationResult:
        """Run every candidate's recipe, and choose; the arguments are those of `Recipe.adapt`.

        In the run folder each candidate has a run of its own, in ``candidates``. People's answers
        to its masks teach that which ``start`` names, and the labelled images choose again.

        Raises:
            InputError: The target has no images beside the labelled ones; and as the parts say.
            LabelledTargetError: A target sample has a mask.
            RunChangedError: ``workdir`` holds a run with other inputs or parameters.
        """
        known = named_evaluators(evaluators)
        options = {"on_error": on_error, "max_errors": max_errors, "time_limit": time_limit}
        shared = options | {"plugins": plugins, "progress": progress}
        work = _Work(self, predictor, target, known, shared)
        if workdir is None:
            with tempfile.TemporaryDirectory(prefix="pladapt-") as folder:
                return work.result(Path(folder)).held()
        with locked_run(Path(workdir), work.config()) as folder:
            return work.result(folder)


@dataclass(frozen=True, eq=False)
class _Work:
    """What one call works with."""

    recipe: LabelledRecipe
    given: Predictor
    target: Samples[Sample]
    evaluators: Mapping[str, Evaluator]
    shared: Mapping[str, Any]

    def config(self) -> dict[str, Any]:
        """Return what the run depends on."""
        chooser = self.recipe.chooser
        return {
            "predictor": describe(self.given),
            "target": {"samples": len(self.target)},
            "chooser": describe(chooser),
            "start": self.recipe.start,
            "labelled": {"chose": chooser.ids, "taught": self._taught},
            "candidates": {name: describe(each) for name, each in self.recipe.candidates.items()},
            "limits": describe(list(self.recipe.limits)),
            "evaluators": describe(self.evaluators),
        }

    def result(self, folder: Path) -> AdaptationResult:
        """Run the candidates' recipes in a folder, and choose."""
        before = self._evaluated(self.given, folder / "round-0")
        places = _apart(self.target, set(self.recipe.chooser.ids))
        apart = self.target if len(places) == len(self.target) else Subset(self.target, places)
        runs = {
            name: each.adapt(self.given, apart, workdir=folder / CANDIDATES / name, **self.shared)
            for name, each in self.recipe.candidates.items()
        }
        made = {n: run.predictor for n, run in runs.items() if run.predictor is not self.given}
        choice, refused = self._choice({AS_IT_IS: self.given, **made}, apart)
        dropped = {n: run.verdict.reason for n, run in runs.items() if n not in made} | refused
        first = runs.get(self.recipe.start)
        chosen = Chosen(
            choice,
            self.recipe.chooser.ids,
            self._taught,
            dropped,
            left_out=_left_out(runs, places),
            rounds=0 if first is None else len(first.rounds),
        )
        renew_chosen(chosen, folder / CHOICE)
        if reviews := first and first.workdir and read_manifest(first.workdir).get("reviews"):
            note_reviews(folder, reviews)
        predictor = _shifted({AS_IT_IS: self.given, **made}[choice.name], choice)
        after = self._evaluated(predictor, folder / CHOICE) if choice.changes else before
        own = runs.get(choice.name)
        return AdaptationResult(
            before=before,
            rounds=own.rounds if own else (),
            recalibration=own.recalibration if own else None,
            workdir=folder,
            choice=replace(chosen, evaluations=after),
            predictor=predictor,
            first=own.first if own else self.given,
        )

    @property
    def _taught(self) -> tuple[str, ...]:
        return self.recipe.chooser.ids if self.recipe.taught else ()

    def _choice(
        self, candidates: Mapping[str, Predictor], target: Samples[Sample]
    ) -> tuple[Choice, dict[str, str]]:
        """Return what the labels choose, at the source's cut-off where another is refused."""
        chooser = self.recipe.chooser
        start = self.recipe.start if self.recipe.start in candidates else AS_IT_IS
        choice = chooser.choose(candidates, start=start)
        if choice.shift == 0:
            return choice, {}
        shifted = _shifted(candidates[choice.name], choice)
        judged = [gate.judge(self.given, shifted, target) for gate in self.recipe.limits]
        reasons = [reason for each in judged for reason in each.reasons]
        if not reasons:
            return choice, {}
        what = f"{choice.name} at the cut-off {choice.cutoff:g}"
        return chooser.choose(candidates, start=start, cutoffs=False), {what: "; ".join(reasons)}

    def _evaluated(self, predictor: Predictor, folder: Path) -> dict[str, Evaluation]:
        tolerance = Tolerance(self.shared["on_error"], self.shared["max_errors"])
        return stored_evaluations(self.evaluators, predictor, folder, tolerance)


def _shifted(predictor: Predictor, choice: Choice) -> Predictor:
    return predictor if choice.shift == 0 else LogitShiftPredictor(predictor, choice.shift)


def _apart(target: Samples[Sample], ids: set[str]) -> list[int]:
    """Return where in a target the samples stand that are not labelled.

    Raises:
        InputError: There are none.
    """
    places = [index for index in range(len(target)) if _id(target, index) not in ids]
    if not places:
        raise InputError(
            f"All {len(target)} target images are labelled ones; give unlabelled images as well."
        )
    return places


def _id(target: Samples[Sample], index: int) -> str | None:
    """Return a sample's id; None where it cannot be read, which the candidates' runs deal with."""
    try:
        return target[index].id
    except Exception:  # noqa: BLE001 - of any kind
        return None


def _left_out(runs: Mapping[str, AdaptationResult], places: Sequence[int]) -> pa.Table:
    """Return each sample that a candidate's run left out, once."""
    rows = {row["position"]: row for run in runs.values() for row in run.left_out.to_pylist()}
    moved = [row | {"position": places[at]} for at, row in sorted(rows.items())]
    return pa.Table.from_pylist(moved, schema=LEFT_OUT)
