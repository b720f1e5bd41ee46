"""The loop over rounds: score and label, select, retrain, evaluate."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa

from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.data.views import checked
from pladapt.errors import InputError
from pladapt.plugins.guard import guarded
from pladapt.runs.dividing import join_parts
from pladapt.runs.given import check_folder
from pladapt.runs.job import prepared
from pladapt.runs.labels import PseudoLabels
from pladapt.runs.manifest import locked_run
from pladapt.runs.records import (
    EVIDENCE_FILE,
    OUTCOME_FILE,
    SCORES_FILE,
    Recalibrated,
    Round,
    RunRecord,
    stored_judgement,
    stored_left_out,
    write_outcome,
)
from pladapt.runs.restarting import Start, gates_of, start_of, stored_start
from pladapt.runs.reviewed import answers_for, stored_review, taught_labels, with_answers
from pladapt.runs.scoring import KEYS, score_and_label
from pladapt.runs.stages import (
    measured,
    refuse_nan,
    returned,
    stored_evaluations,
    write_judgement,
)
from pladapt.runs.target import check_unchanged, known_target, tried
from pladapt.runs.usable import read_left_out, write_left_out
from pladapt.selection.base import by_rules_alone
from pladapt.selection.rules import kept_rows
from pladapt.storage import (
    check_stored,
    is_stored,
    read_stored_table,
    stored_columns,
    stored_folder,
    stored_rows,
    write_stored_table,
)
from pladapt.types import Judgement, Selection
from pladapt.typing import Predictor, Recalibration, ResumableRetrainer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pladapt.data.tolerance import OnError
    from pladapt.plugins.manager import PluginManager
    from pladapt.runs.answers import Answer
    from pladapt.runs.job import Job
    from pladapt.runs.restarting import Restart
    from pladapt.types import Evaluation, Progress, PseudoLabelled, Sample, Samples
    from pladapt.typing import (
        Evaluator,
        Gate,
        Recalibrator,
        Retrainer,
        Selector,
    )

R = TypeVar("R")

_LABELS: Final = "labels/labels.parquet"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdaptationResult(RunRecord):
    """What adaptation returned, and the evidence of what it did.

    Args:
        predictor: That of the last round that stands; where none does, the recalibrated one if it
            stands; else the one given.
        first: The teacher of the first round: the recalibrated predictor if it stands, else the
            one given.
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
    restart: Restart | None = None,
    workdir: str | Path | None = None,
    batch_size: int = 8,
    on_error: OnError = "skip",
    max_errors: float = MAX_ERRORS,
    time_limit: float | None = None,
    plugins: PluginManager | Iterable[object] | None = None,
    progress: Progress | None = None,
) -> AdaptationResult:
    """Adapt a predictor to unlabelled target images with its own surest predictions.

    Each round scores the target, selects, labels the kept samples, and retrains on them; the next
    round uses the new predictor. Evaluators only report: nothing that they return reaches
    selection, retraining or the choice of a checkpoint. One that fails is a warning, and its
    evaluation says so in its notes; given the same again, the run tries it once more. Only an error
    of pladapt's own, such as of masks that do not fit, ends the run, and only before the first
    round, when nothing would be lost.

    Args:
        predictor: The source's predictor; it is not changed.
        target: Unlabelled samples with unique ids; any object with ``__len__`` and
            ``__getitem__``.
        selector: Scores, selects and labels; or one such for each round, in their order, which
            may for instance keep a growing fraction.
        retrainer: Makes the next predictor.
        evaluators: Measure the predictor before the first round and after each one; by name, or
            in a sequence to be named after their classes.
        recalibrator: Makes the predictor fit the target before the first round.
        gates: Each compares, without labels of the target, what recalibration and each round made
            with the predictor that was given. Where any refuses it, the run ends with what was
            there before it.
        rounds: How many rounds, at least 1; or 0 to stop after recalibration.
        restart: Chooses what a round starts from that people's answers teach; by default that is
            what the run has made so far.
        workdir: The run folder. An interrupted run continues in it with the first stage that is
            missing, and ends with the same bytes. A finished one goes on with a further round where
            people have reviewed its masks since (`pladapt.review.Review`). Without a folder nothing
            is kept on disk.
        batch_size: How many samples are predicted at once.
        on_error: What becomes of a sample that cannot be read, or on which a part fails: ``skip``
            leaves it out, and lists it with the reason in ``left_out`` of the result; ``raise``
            ends the run. A labelled sample in the target always does.
        max_errors: How many samples may be left out: a number from 0 as an integer, or a fraction
            in [0, 1] as a float. More of them end the run, which a higher number continues.
        time_limit: How many seconds a batch may take to be predicted and scored; see
            `pladapt.data.Tolerance`.
        plugins: Whom the observer hooks tell what happened: every installed plugin, and the modules
            or objects given here; or those alone that a manager knows.
        progress: Called as work advances.

    Raises:
        LabelledTargetError: A target sample has a mask.
        InputError: The target is empty, an id stands twice, a part returned a wrong shape, or
            there are more or fewer selectors than rounds.
        DataError: More samples than ``max_errors`` cannot be used; says which, and why.
        RunChangedError: ``workdir`` holds a run with other inputs or parameters.
        DataError: A file in ``workdir`` is damaged; says which, and what to delete.
        BusyError: Another process works in ``workdir``.
        DiskFullError: There is no room in ``workdir``; the run continues once there is.
    """
    check_folder(workdir)
    job, selectors = prepared(
        predictor,
        target,
        Tolerance(on_error, max_errors, time_limit),
        selector=selector,
        retrainer=retrainer,
        evaluators=evaluators,
        recalibrator=recalibrator,
        gates=gates,
        rounds=rounds,
        restart=restart,
        batch_size=batch_size,
        plugins=plugins,
        progress=progress,
    )
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="pladapt-") as folder, guarded():
            return _run(job, selectors, Path(folder), None).held()
    config = job.config(selector, rounds)
    with locked_run(Path(workdir), config) as folder, guarded():
        join_parts(folder, config)
        return _run(job, selectors, folder, folder)


def _run(
    job: Job, selectors: Sequence[Selector], folder: Path, workdir: Path | None
) -> AdaptationResult:
    before = _evaluate(job, job.given, folder / "round-0")
    job, made, recalibrated = _recalibrated(job, folder / "recalibration")
    teacher, student = made.teacher, made.student
    done: list[Round] = []
    stopped = recalibrated is not None and recalibrated.ended
    for number, selector in enumerate([] if stopped else selectors, start=1):
        of_round = replace(job, selector=selector)
        current, new = _round(of_round, teacher, student, number, folder / f"round-{number}")
        job = replace(job, target=job.target.without(current.left_out))
        done.append(current)
        if not current.stands:
            break
        teacher = student = new
    if workdir is not None and selectors:
        of_round = replace(job, selector=selectors[-1])
        teacher = _reviewed_rounds(of_round, teacher, student, done, workdir)
    return AdaptationResult(
        before=before,
        recalibration=recalibrated,
        rounds=tuple(done),
        workdir=workdir,
        predictor=teacher,
        first=made.teacher,
    )


def _reviewed_rounds(
    job: Job, teacher: Predictor, student: Predictor, done: list[Round], folder: Path
) -> Predictor:
    """Go on with a round for what people said of the masks since, and return what came of it."""
    before: Mapping[str, Answer] = {}
    if job.restart is not None and job.restart.retrainer is not None:
        job = replace(job, retrainer=job.restart.retrainer)
    while answers := answers_for(folder, number := len(done) + 1, before):
        of_round, own = replace(job, answers=answers), folder / f"round-{number}"
        of_round = replace(of_round, gates=gates_of(of_round))
        start = start_of(of_round, Start(teacher, student), before, own)
        current, new = _round(of_round, *start, number, own)
        job = replace(job, target=job.target.without(current.left_out))
        done.append(current)
        if current.stands:
            teacher = student = new
        before = answers
    return teacher


def _recalibrated(job: Job, folder: Path) -> tuple[Job, Recalibration, Recalibrated | None]:
    """Make the first teacher and student; they are made anew where a run continues."""
    unchanged = Recalibration(job.given, job.given, pa.table({}))
    recalibrator, before = job.recalibrator, job.target
    if recalibrator is None:
        return job, unchanged, None
    known = known_target(before, folder, partial(_check_unchanged, job))
    target, made = tried(
        known,
        lambda samples: returned(
            recalibrator.recalibrate(job.given, checked(samples)),
            Recalibration,
            recalibrator,
            "recalibrate",
        ),
        [job.given],
        job.batch_size,
    )
    job = replace(job, target=target)
    write_left_out(target.since(before), folder)
    job.progress("recalibrate", 1, 1)
    if not is_stored(folder / EVIDENCE_FILE):
        write_stored_table(made.evidence, folder / EVIDENCE_FILE)
    changed = made.teacher is not job.given
    found = Recalibrated(made.evidence, {}, changed, verdict=made.verdict)
    if not is_stored(folder / OUTCOME_FILE):
        write_outcome(found, folder / OUTCOME_FILE)
    if changed:
        found = replace(found, judgement=_judgement(job, made.teacher, folder))
    found = replace(found, left_out=stored_left_out(folder))
    job = replace(job, target=before.without(found.left_out))
    if not found.stands:
        return job, unchanged, found
    return job, made, replace(found, evaluations=_evaluate(job, made.teacher, folder))


def _round(
    job: Job, teacher: Predictor, student: Predictor, number: int, folder: Path
) -> tuple[Round, Predictor]:
    """Have the teacher label the target, and train the student on what is kept."""
    notify = job.plugins.notify
    notify("pladapt_round_started", number=number)
    found = _scored(job, teacher, number, folder)
    job = replace(job, target=job.target.without(found))
    selection = _selection(job, number, folder)
    current = Round(
        *(number, folder / SCORES_FILE, selection, {}, stored_judgement(folder)),
        reviewed=stored_review(folder),
        start=stored_start(folder),
    )
    if current.stands:
        labels = _labels(job, selection, folder / _LABELS)
        new = _retrained(job, student, labels, number, folder / "predictor")
        current = replace(current, judgement=_judgement(job, new, folder))
    if current.stands:
        student = new
        current = replace(current, evaluations=_evaluate(job, new, folder))
    notify("pladapt_round_finished", number=number, evaluations=dict(current.evaluations))
    return replace(current, left_out=stored_left_out(folder)), student


def _scored(job: Job, predictor: Predictor, number: int, folder: Path) -> pa.Table:
    """Score and label every sample in one pass over the target, unless that was done.

    Returns:
        What is left out since it cannot be used.
    """
    path, labels, parts = folder / SCORES_FILE, folder / _LABELS, folder / "scoring"
    if is_stored(path) and is_stored(labels):
        found = read_left_out(folder)
        left = job.target.without(found)
        _check_unchanged(job, stored_rows(path, KEYS.names), map(left.position, range(len(left))))
    else:
        found = score_and_label(
            predictor,
            job.target,
            job.selector,
            parts,
            scores=path,
            labels=labels,
            batch_size=job.batch_size,
            check=partial(_check_unchanged, job),
            progress=job.progress,
        )
        if job.plugins.hears("pladapt_scored"):
            scores = read_stored_table(path)
            job.plugins.notify("pladapt_scored", number=number, scores=scores)
    shutil.rmtree(parts, ignore_errors=True)
    return found


def _check_unchanged(job: Job, before: Iterable[pa.Table], positions: Iterable[int]) -> None:
    """Compare the target with what was recalibrated on or scored, once in a process."""
    if not job.checked:
        check_unchanged(job.target.target, before, positions)
        job.checked.append(True)


def _selection(job: Job, number: int, folder: Path) -> Selection:
    path, scores = folder / "selection.parquet", folder / SCORES_FILE
    if is_stored(path):
        return Selection(read_stored_table(path))
    columns = None
    if by_rules_alone(job.selector):  # of a million rows, what nobody reads takes room
        columns = job.selector.columns(stored_columns(scores).names)
    read = read_stored_table(scores, columns)
    selection = returned(job.selector.select(read), Selection, job.selector, "select")
    if not selection.table["id"].equals(read["id"]):
        raise InputError(
            f"{type(job.selector).__name__}.select returned other ids than it was given; expected "
            f"a row for each of the {len(read)} samples, in their order."
        )
    if job.answers:
        selection = with_answers(selection, job.answers, folder / _LABELS)
    write_stored_table(selection.table, path)
    job.plugins.notify("pladapt_selected", number=number, selection=selection)
    return selection


def _labels(job: Job, selection: Selection, path: Path) -> Samples[PseudoLabelled]:
    rows = kept_rows(selection)  # a row for each of the target's samples, in their order
    scores = selection.table["score"].to_numpy()[rows]
    labels = PseudoLabels(job.target.samples, rows, scores, path)
    return taught_labels(labels, selection, job.answers) if job.answers else labels


def _retrained(
    job: Job, predictor: Predictor, labels: Samples[PseudoLabelled], number: int, folder: Path
) -> Predictor:
    retrainer = job.retrainer
    if isinstance(retrainer, ResumableRetrainer) and is_stored(folder):
        check_stored(folder)
        return retrainer.load(predictor, folder)
    new = returned(retrainer.retrain(predictor, labels), Predictor, retrainer, "retrain")  # type: ignore[type-abstract]
    if refuse_nan(new, labels, folder.parent):
        return new
    if isinstance(retrainer, ResumableRetrainer):
        with stored_folder(folder) as temporary:
            retrainer.save(new, temporary)
    job.plugins.notify("pladapt_retrained", number=number, predictor=new)
    return new


def _judgement(job: Job, after: Predictor, folder: Path) -> Judgement | None:
    """Have every gate compare with what went in, so that the evidence is whole, unless it is."""
    if job.gates and stored_judgement(folder) is None:
        before, judgements = job.target, []
        for done, gate in enumerate(job.gates, start=1):
            judge, both = partial(gate.judge, job.given, after), [job.given, after]
            target, judgement = tried(job.target, judge, both, job.batch_size)
            judgements.append(measured(returned(judgement, Judgement, gate, "judge"), gate))
            job = replace(job, target=target)
            job.progress("judge", done, len(job.gates))
        write_judgement(judgements, folder / "judgement", job.target.since(before))
    return stored_judgement(folder)


def _evaluate(job: Job, predictor: Predictor, folder: Path) -> dict[str, Evaluation]:
    return stored_evaluations(job.evaluators, predictor, folder, job.target.tolerance, job.progress)
