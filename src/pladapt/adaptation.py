"""The loop over rounds: score and label, select, retrain, evaluate."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pladapt.errors import InputError, MissingDataError, RunChangedError
from pladapt.inference import predictions, score
from pladapt.labelling import pseudo_labels
from pladapt.plugins import default_manager
from pladapt.protocols import RescoringSelector, ResumableRetrainer
from pladapt.runs import (
    PseudoLabels,
    describe,
    fingerprint,
    open_run,
    read_evaluation,
    read_judgement,
    read_table,
    write_evaluation,
    write_judgement,
    write_labels,
    write_table,
    written_aside,
)
from pladapt.types import Selection
from pladapt.views import check_unlabelled, checked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from pladapt.plugins import PluginManager
    from pladapt.protocols import (
        Evaluator,
        Gate,
        Predictor,
        Recalibrator,
        Retrainer,
        Selector,
    )
    from pladapt.types import Evaluation, Judgement, Progress, Sample, Samples

_EVIDENCE: Final = "evidence.parquet"
_LABELS: Final = "labels/labels.parquet"


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What one round did.

    Args:
        number: From 1.
        scores: A row per target sample: ``id``, ``group``, ``sha256`` of the image, and the
            selector's columns.
        selection: The kept samples, and the rule that dropped each other one.
        evaluations: What each evaluator measured after the round, by its name; empty where
            nothing was selected, and where the round was refused.
        judgement: What the gates said of the predictor that the round made, or None where there
            was no gate or no such predictor.
    """

    number: int
    scores: pa.Table
    selection: Selection
    evaluations: Mapping[str, Evaluation]
    judgement: Judgement | None = None

    @property
    def stands(self) -> bool:
        """Whether the round made a predictor, and no gate refused it."""
        accepted = self.judgement is None or self.judgement.accepted
        return bool(self.selection.kept) and accepted


@dataclass(frozen=True, slots=True, eq=False)
class Recalibrated:
    """What came of recalibration, before the first round.

    Args:
        evidence: What the recalibrator went by.
        evaluations: What each evaluator measured after it, by its name.
    """

    evidence: pa.Table
    evaluations: Mapping[str, Evaluation]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunRecord:
    """The evidence of what a run did.

    Args:
        before: What each evaluator measured of the predictor that was given, by its name.
        rounds: The rounds, in order; at least one, unless there was a recalibrator.
        workdir: The run folder, or None where none was asked for.
        recalibration: What came of the recalibrator, or None where there was none.
    """

    before: Mapping[str, Evaluation]
    rounds: tuple[Round, ...]
    workdir: Path | None
    recalibration: Recalibrated | None = None

    @property
    def after(self) -> Mapping[str, Evaluation]:
        """What each evaluator measured of the predictor that adaptation returned."""
        first = self.recalibration.evaluations if self.recalibration else self.before
        return next((r.evaluations for r in reversed(self.rounds) if r.evaluations), first)

    @property
    def stopped(self) -> str | None:
        """Why the run ended with a round that does not stand, or None."""
        if not self.rounds or (last := self.rounds[-1]).stands:
            return None
        if last.judgement is not None:
            return f"round {last.number} refused: {'; '.join(last.judgement.reasons)}"
        return (
            f"round {last.number} selected none of {len(last.scores)} samples: "
            f"{_reasons(last.selection)}"
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdaptationResult(RunRecord):
    """What adaptation returned, and the evidence of what it did.

    Args:
        predictor: That of the last round that stands; where none does, the recalibrated one, or
            without a recalibrator the one given.
        first: That of the first round: the recalibrated one, or without a recalibrator the one
            given.
    """

    predictor: Predictor
    first: Predictor


def adapt(
    predictor: Predictor,
    target: Samples[Sample],
    *,
    selector: Selector | Sequence[Selector],
    retrainer: Retrainer,
    evaluators: Mapping[str, Evaluator] | Sequence[Evaluator] = (),
    recalibrator: Recalibrator | None = None,
    gates: Sequence[Gate] = (),
    rounds: int = 1,
    workdir: str | Path | None = None,
    batch_size: int = 8,
    plugins: PluginManager | None = None,
    progress: Progress | None = None,
) -> AdaptationResult:
    """Adapt a predictor to unlabelled target images with its own surest predictions.

    Each round scores the target, selects, labels the kept samples, and retrains on them; the next
    round uses the new predictor. Evaluators only report: nothing that they return reaches
    selection, retraining or the choice of a checkpoint.

    Args:
        predictor: The source's predictor; it is not changed.
        target: Unlabelled samples with unique ids; any object with ``__len__`` and
            ``__getitem__``.
        selector: Scores, selects and labels; or one such for each round, in their order, which
            may for instance keep a growing share.
        retrainer: Makes the next predictor.
        evaluators: Measure the predictor before the first round and after each one; by name, or
            in a sequence to be named after their classes.
        recalibrator: Makes the predictor fit the target before the first round.
        gates: Each judges what a round made, without labels of the target. Where any refuses it,
            the run ends with the predictor before it.
        rounds: How many rounds, at least 1; or 0 to stop after recalibration.
        workdir: The run folder. An interrupted run continues in it with the first stage that is
            missing, and ends with the same bytes. Without one nothing is kept on disk.
        batch_size: How many samples are predicted at once.
        plugins: Whom the observer hooks tell what happened; by default every installed plugin.
        progress: Called as work advances.

    Raises:
        LabelledTargetError: A target sample has a mask.
        InputError: The target is empty, an id stands twice, a part returned a wrong shape, or
            there are more or fewer selectors than rounds.
        RunChangedError: ``workdir`` holds a run with other inputs or parameters.
    """
    least = 0 if recalibrator is not None else 1
    for name, value, low in (("rounds", rounds, least), ("batch_size", batch_size, 1)):
        if value < low:
            raise InputError(f"{name} is {value}; it must be at least {low}.")
    if len(target) == 0:
        raise InputError("The target is empty; give at least one unlabelled sample.")
    check_unlabelled(target[0])
    selectors = _per_round(selector, rounds)
    job = _Job(
        target,
        selectors[0],
        retrainer,
        _named(evaluators),
        recalibrator,
        gates,
        batch_size,
        plugins or default_manager(),
        progress or _silent,
    )
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="pladapt-") as folder:
            return _run(job, predictor, selectors[:rounds], Path(folder), None)
    asked = _asked(job, predictor) | {"selector": describe(selector), "rounds": rounds}
    open_run(Path(workdir), asked)
    return _run(job, predictor, selectors[:rounds], Path(workdir), Path(workdir))


def _per_round(selector: Selector | Sequence[Selector], rounds: int) -> Sequence[Selector]:
    if not isinstance(selector, Sequence):
        return [selector] * max(1, rounds)
    if len(selector) != max(1, rounds):
        raise InputError(
            f"There are {len(selector)} selectors and rounds is {rounds}; give one selector for "
            "every round, or one for each."
        )
    return selector


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What a round works with; all but the selector stays the same over the rounds."""

    target: Samples[Sample]
    selector: Selector
    retrainer: Retrainer
    evaluators: Mapping[str, Evaluator]
    recalibrator: Recalibrator | None
    gates: Sequence[Gate]
    batch_size: int
    plugins: PluginManager
    progress: Progress
    checked: list[bool] = field(default_factory=list)


def read_run(folder: str | Path) -> RunRecord:
    """Read what a finished run left in its folder.

    Raises:
        MissingDataError: A stage is not there: the run has not finished, or has not begun.
        DataError: A file is not whole.
    """
    folder = Path(folder)
    manifest = folder / "run.json"
    if not manifest.exists():
        raise MissingDataError(f"{folder} has no run.json; give the folder of a run.")
    asked = json.loads(manifest.read_text(encoding="utf-8"))["asked"]
    before = _read_evaluations(folder / "round-0")
    rounds: list[Round] = []
    for number in range(1, asked["rounds"] + 1):
        here = folder / f"round-{number}"
        rounds.append(_read_round(here, number, before.keys(), gated="gates" in asked))
        if not rounds[-1].stands:
            break
    return RunRecord(
        before=before,
        rounds=tuple(rounds),
        workdir=folder,
        recalibration=_read_recalibrated(folder) if "recalibrator" in asked else None,
    )


def _read_recalibrated(folder: Path) -> Recalibrated:
    here = folder / "recalibration"
    if not (here / _EVIDENCE).exists():
        raise MissingDataError(f"{here} has no {_EVIDENCE}; continue the run to its end.")
    return Recalibrated(read_table(here / _EVIDENCE), _read_evaluations(here))


def _read_round(folder: Path, number: int, evaluators: Collection[str], *, gated: bool) -> Round:
    for name in ("scores.parquet", "selection.parquet"):
        if not (folder / name).exists():
            raise MissingDataError(f"{folder} has no {name}; continue the run to its end.")
    selection = Selection(read_table(folder / "selection.parquet"))
    evaluations = _read_evaluations(folder)
    judgement = _stored_judgement(folder)
    scores = read_table(folder / "scores.parquet")
    current = Round(number, scores, selection, evaluations, judgement)
    if selection.kept and gated and judgement is None:
        raise MissingDataError(f"{folder} has no judgement; continue the run to its end.")
    if current.stands and evaluations.keys() != set(evaluators):
        raise MissingDataError(
            f"{folder} has evaluations by {sorted(evaluations)} and not by {sorted(evaluators)}; "
            "continue the run to its end."
        )
    return current


def _stored_judgement(folder: Path) -> Judgement | None:
    path = folder / "judgement"
    return read_judgement(path) if path.exists() else None


def _read_evaluations(folder: Path) -> dict[str, Evaluation]:
    folders = sorted((folder / "evaluations").glob("[!.]*"))  # what is written aside has a dot
    return {path.name: read_evaluation(path) for path in folders}


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""


def _named(evaluators: Mapping[str, Evaluator] | Sequence[Evaluator]) -> Mapping[str, Evaluator]:
    if isinstance(evaluators, Mapping):
        for name in evaluators:
            if not re.fullmatch(r"\w[\w .-]*", name):
                raise InputError(
                    f"An evaluator is named {name!r}; a folder of the run bears its name: use "
                    "letters, digits, blanks, dots, hyphens and underscores."
                )
        return evaluators
    named: dict[str, Evaluator] = {}
    for evaluator in evaluators:
        name = type(evaluator).__name__
        named[name if name not in named else f"{name}-{len(named) + 1}"] = evaluator
    return named


def _asked(job: _Job, predictor: Predictor) -> dict[str, Any]:
    optional = {"gates": job.gates, "recalibrator": job.recalibrator}
    return {name: describe(part) for name, part in optional.items() if part} | {
        "predictor": describe(predictor),
        "target": {"samples": len(job.target)},
        "retrainer": describe(job.retrainer),
        "evaluators": describe(job.evaluators),
        "batch_size": job.batch_size,
    }


def _run(
    job: _Job,
    predictor: Predictor,
    selectors: Sequence[Selector],
    folder: Path,
    workdir: Path | None,
) -> AdaptationResult:
    before = _evaluate(job, predictor, folder / "round-0")
    first, recalibrated = _recalibrated(job, predictor, folder / "recalibration")
    predictor = first
    done: list[Round] = []
    for number, selector in enumerate(selectors, start=1):
        of_round = replace(job, selector=selector)
        current, predictor = _round(of_round, predictor, number, folder / f"round-{number}")
        done.append(current)
        if not current.stands:
            break
    return AdaptationResult(
        before=before,
        recalibration=recalibrated,
        rounds=tuple(done),
        workdir=workdir,
        predictor=predictor,
        first=first,
    )


def _recalibrated(
    job: _Job, predictor: Predictor, folder: Path
) -> tuple[Predictor, Recalibrated | None]:
    """Make the predictor of the first round; it is made anew where a run goes on."""
    if job.recalibrator is None:
        return predictor, None
    stored = folder / "target.parquet"
    if stored.exists():
        _check_unchanged(job, read_table(stored))
    else:
        write_table(_fingerprints(job.target), stored)
    made = job.recalibrator.recalibrate(predictor, checked(job.target))
    job.progress("recalibrate", 1, 1)
    if not (folder / _EVIDENCE).exists():
        write_table(made.evidence, folder / _EVIDENCE)
    evaluations = _evaluate(job, made.predictor, folder)
    return made.predictor, Recalibrated(made.evidence, evaluations)


def _reasons(selection: Selection) -> str:
    dropped = ((rule, count) for rule, count in selection.counts.items() if rule != "kept")
    return ", ".join(f"{count} by {rule}" for rule, count in dropped)


def _round(job: _Job, predictor: Predictor, number: int, folder: Path) -> tuple[Round, Predictor]:
    tell = job.plugins.tell
    tell("pladapt_round_started", number=number)
    scores = _scores(job, predictor, number, folder)
    selection = _selection(job, scores, number, folder / "selection.parquet")
    current = Round(number, scores, selection, {}, _stored_judgement(folder))
    if current.stands:
        labels = _labels(job, scores, selection, folder / _LABELS)
        new = _retrained(job, predictor, labels, number, folder / "predictor")
        current = replace(current, judgement=_judgement(job, predictor, new, folder))
    if current.stands:
        predictor = new
        current = replace(current, evaluations=_evaluate(job, predictor, folder))
    tell("pladapt_round_finished", number=number, evaluations=dict(current.evaluations))
    return current, predictor


def _scores(job: _Job, predictor: Predictor, number: int, folder: Path) -> pa.Table:
    """Score and label every sample in one pass over the target, unless that was done."""
    path, labels = folder / "scores.parquet", folder / _LABELS
    if path.exists() and labels.exists():
        scores = read_table(path)
        _check_unchanged(job, scores)
        return scores
    blocks: list[pa.Table] = []
    write_labels(_pass(job, predictor, blocks), labels)
    scores = pa.concat_tables(blocks)
    if isinstance(job.selector, RescoringSelector):
        scores = job.selector.rescore(scores)
    write_table(scores, path)
    job.plugins.tell("pladapt_scored", number=number, scores=scores)
    return scores


def _pass(
    job: _Job, predictor: Predictor, scores: list[pa.Table]
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield the pseudo-label of every sample, and append each batch's scores."""
    seen: set[str] = set()
    for batch, prediction in predictions(predictor, job.target, batch_size=job.batch_size):
        for sample in batch:
            check_unlabelled(sample)
            if sample.id in seen:
                raise InputError(f"The target id {sample.id!r} stands twice; ids must be unique.")
            seen.add(sample.id)
        scored = score(job.selector, batch, prediction)
        digests = pa.array([fingerprint(sample.image) for sample in batch], pa.string())
        scores.append(scored.add_column(2, "sha256", digests))
        yield from pseudo_labels(job.selector, prediction)
        job.progress("score", len(seen), len(job.target))


def _fingerprint(sample: Sample) -> dict[str, str]:
    check_unlabelled(sample)
    return {"id": sample.id, "group": sample.group, "sha256": fingerprint(sample.image)}


def _fingerprints(target: Samples[Sample]) -> pa.Table:
    return pa.Table.from_pylist([_fingerprint(target[index]) for index in range(len(target))])


def _check_unchanged(job: _Job, before: pa.Table) -> None:
    """Compare the target with what was recalibrated on or scored, once in a process."""
    if job.checked:
        return
    for index, row in enumerate(before.select(["id", "group", "sha256"]).to_pylist()):
        now = _fingerprint(job.target[index])
        if now != row:
            changes = [
                f"{key} was {row[key]!r} and is {now[key]!r}" for key in row if row[key] != now[key]
            ]
            raise RunChangedError(
                f"The target's sample {index}, {row['id']!r}, has changed since the run read it: "
                f"{', '.join(changes)}. Give the same target to continue the run, or another "
                "folder to start anew."
            )
    job.checked.append(True)


def _selection(job: _Job, scores: pa.Table, number: int, path: Path) -> Selection:
    if path.exists():
        return Selection(read_table(path))
    selection = job.selector.select(scores)
    if not selection.table["id"].equals(scores["id"]):
        raise InputError(
            f"{type(job.selector).__name__}.select returned other ids than it was given; expected "
            f"a row for each of the {len(scores)} samples, in their order."
        )
    write_table(selection.table, path)
    job.plugins.tell("pladapt_selected", number=number, selection=selection)
    return selection


def _labels(job: _Job, scores: pa.Table, selection: Selection, path: Path) -> PseudoLabels:
    index = {id_: place for place, id_ in enumerate(scores["id"].to_pylist())}
    positions = [index[id_] for id_ in selection.kept]
    kept = scores["score"].take(pa.array(positions))
    return PseudoLabels(job.target, positions, kept.to_pylist(), path)


def _retrained(
    job: _Job, predictor: Predictor, labels: PseudoLabels, number: int, folder: Path
) -> Predictor:
    retrainer = job.retrainer
    if isinstance(retrainer, ResumableRetrainer) and folder.exists():
        return retrainer.load(predictor, folder)
    new = retrainer.retrain(predictor, labels)
    if isinstance(retrainer, ResumableRetrainer):
        with written_aside(folder) as aside:
            aside.mkdir()
            retrainer.save(new, aside)
    job.plugins.tell("pladapt_retrained", number=number, predictor=new)
    return new


def _judgement(job: _Job, before: Predictor, after: Predictor, folder: Path) -> Judgement | None:
    """Ask every gate, so that the evidence is whole, unless they have been asked."""
    if job.gates and _stored_judgement(folder) is None:
        judgements = []
        for done, gate in enumerate(job.gates, start=1):
            judgements.append(gate.judge(before, after, job.target))
            job.progress("judge", done, len(job.gates))
        write_judgement(judgements, folder / "judgement")
    return _stored_judgement(folder)


def _evaluate(job: _Job, predictor: Predictor, folder: Path) -> dict[str, Evaluation]:
    evaluations = {}
    for done, (name, evaluator) in enumerate(job.evaluators.items(), start=1):
        path = folder / "evaluations" / name
        if not path.exists():
            write_evaluation(evaluator.evaluate(predictor), path)
        evaluations[name] = read_evaluation(path)
        job.progress("evaluate", done, len(job.evaluators))
    return evaluations
