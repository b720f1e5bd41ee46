"""What a run did: the record in memory, and the one that it left in its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa

from pladapt.errors import MissingDataError
from pladapt.evaluation.few_labels import AS_IT_IS
from pladapt.runs.choosing import CHOICE, read_chosen
from pladapt.runs.manifest import read_manifest
from pladapt.runs.restarting import stored_start
from pladapt.runs.reviewed import CANDIDATES, REJECTED, REVIEWED_FILE, stored_review
from pladapt.runs.stages import read_evaluation, read_judgement
from pladapt.runs.usable import LEFT_OUT, read_left_out
from pladapt.storage import (
    check_stored,
    is_stored,
    read_json,
    read_stored_table,
    stored_file,
    to_json,
)
from pladapt.types import Selection, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pladapt.runs.choosing import Chosen
    from pladapt.types import Evaluation, Judgement

SCORES_FILE: Final = "scores.parquet"
"""The file of a round's scores."""

EVIDENCE_FILE: Final = "evidence.parquet"
"""The file of what a recalibrator went by."""

OUTCOME_FILE: Final = "outcome.json"
"""The file of whether a recalibrator changed anything, and of its verdict if it gave one."""


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What one round did.

    Args:
        number: From 1.
        stored: The scores, or the run folder's file of them.
        selection: The kept samples, the rule that dropped each other one, and the score by which
            either was decided.
        evaluations: What each evaluator measured after the round, by its name; empty where
            nothing was selected, and where the round was refused.
        judgement: What the gates said of the predictor that the round made, or None where there
            was no gate or no such predictor.
        left_out: The samples that could not be used: ``position`` in the target from 0, ``id``
            and ``reason``. They have no row among the scores.
        reviewed: What people said of the masks before the round, which it was taught with: ``id``,
            ``decision``, ``who``, ``at`` and ``seconds``; None where nobody did.
        start: What these masks chose that the round starts from, or None where they did not.
    """

    number: int
    stored: pa.Table | Path
    selection: Selection
    evaluations: Mapping[str, Evaluation]
    judgement: Judgement | None = None
    left_out: pa.Table = field(default_factory=LEFT_OUT.empty_table)
    reviewed: pa.Table | None = None
    start: Chosen | None = None

    @property
    def scores(self) -> pa.Table:
        """A row per target sample, with the selector's columns.

        The first three are ``id``, ``group`` and ``sha256``, that of the image. The table is read
        anew each time, but where the run has no folder.
        """
        return read_stored_table(self.stored) if isinstance(self.stored, Path) else self.stored

    @property
    def stands(self) -> bool:
        """Whether the round made a predictor, and no gate refused it."""
        accepted = self.judgement is None or self.judgement.accepted
        kept = len(self.selection.table) > self.selection.table["rank"].null_count
        return kept and accepted


@dataclass(frozen=True, slots=True, eq=False)
class Recalibrated:
    """What came of recalibration, before the first round.

    Args:
        evidence: What the recalibrator went by.
        evaluations: What each evaluator measured after it, by its name; empty where it did not
            stand.
        changed: Whether it made another predictor than the one given.
        judgement: What the gates said of the recalibrated predictor, or None where there was no
            gate or nothing to judge.
        verdict: The recalibrator's own, where it ended the adaptation.
        left_out: The samples that could not be used, as in `Round`.
    """

    evidence: pa.Table
    evaluations: Mapping[str, Evaluation]
    changed: bool = True
    judgement: Judgement | None = None
    verdict: Verdict | None = None
    left_out: pa.Table = field(default_factory=LEFT_OUT.empty_table)

    @property
    def stands(self) -> bool:
        """Whether the recalibrated predictor took the place of the one given."""
        return self.judgement is None or self.judgement.accepted

    @property
    def ended(self) -> bool:
        """Whether the adaptation ended here, without a round."""
        return self.verdict is not None or not self.stands


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class RunRecord:
    """The evidence of what a run did.

    Args:
        before: What each evaluator measured of the predictor that was given, by its name.
        rounds: The rounds, in order; at least one, unless there was a recalibrator.
        workdir: The run folder, or None where none was asked for.
        recalibration: What came of the recalibrator, or None where there was none.
        choice: What a few labelled images chose, or None where there were none. Then ``rounds`` and
            ``recalibration`` are those of the candidate that they chose.
    """

    before: Mapping[str, Evaluation]
    rounds: tuple[Round, ...]
    workdir: Path | None
    recalibration: Recalibrated | None = None
    choice: Chosen | None = None

    def held(self) -> Self:
        """Return the record without its folder, which may go: what it would read is in memory."""
        rounds = tuple(replace(each, stored=each.scores) for each in self.rounds)
        return replace(self, rounds=rounds, workdir=None)

    @property
    def stages(self) -> Path | None:
        """The folder of ``rounds`` and ``recalibration``, or None where there is none."""
        if self.choice is None or self.workdir is None:
            return self.workdir
        name = self.choice.choice.name
        return None if name == AS_IT_IS else self.workdir / CANDIDATES / name

    @property
    def left_out(self) -> pa.Table:
        """A row per sample that could not be used, with its ``position``, ``id`` and ``reason``."""
        if self.choice is not None:
            return self.choice.left_out
        tables = [LEFT_OUT.empty_table(), *(each.left_out for each in self.rounds)]
        if self.recalibration is not None:
            tables.append(self.recalibration.left_out)
        return pa.concat_tables(tables).sort_by("position")

    @property
    def after(self) -> Mapping[str, Evaluation]:
        """What each evaluator measured of the predictor that adaptation returned."""
        if self.choice is not None:
            return self.choice.evaluations
        found = self.recalibration
        first = found.evaluations if found is not None and found.stands else self.before
        return next((r.evaluations for r in reversed(self.rounds) if r.evaluations), first)

    @property
    def verdict(self) -> Verdict:
        """Whether the model was adapted, and why, or why not."""
        if self.choice is not None:
            return self.choice.verdict
        stopped = f"; {self.stopped}" if self.stopped else ""
        if taught := [each for each in self.rounds if each.stands and each.reviewed is not None]:
            return Verdict("adapted", f"{_taught(taught[-1].reviewed)}{stopped}")
        if (ended := self._ended) is not None:
            return Verdict(ended.outcome, f"{ended.reason}{stopped}")
        trained = [each.number for each in self.rounds if each.stands]
        if trained:
            return Verdict("adapted", f"trained in {_counted(len(trained), 'round')}{stopped}")
        if self.recalibration is not None and self.recalibration.changed:
            return Verdict("adapted", f"recalibrated{stopped}")
        return Verdict("unchanged", self.stopped or "nothing was changed")

    @property
    def _ended(self) -> Verdict | None:
        """The verdict of a recalibration that ended the adaptation, or None."""
        found = self.recalibration
        if found is None:
            return None
        if found.stands and found.verdict is not None:
            return found.verdict
        if found.judgement is not None and not found.judgement.accepted:
            reasons = "; ".join(found.judgement.reasons)
            return Verdict("unchanged", f"the recalibration was refused: {reasons}")
        return None

    @property
    def stopped(self) -> str | None:
        """Why the run ended with a round that does not stand, or None."""
        if not self.rounds or (last := self.rounds[-1]).stands:
            return None
        if last.judgement is not None:
            return f"round {last.number} refused: {'; '.join(last.judgement.reasons)}"
        return (
            f"round {last.number} selected none of {len(last.selection.table)} samples: "
            f"{_reasons(last.selection)}"
        )


def read_run(folder: str | Path) -> RunRecord:
    """Read what a finished run left in its folder.

    Raises:
        MissingDataError: A stage is not there: the run has not finished, or has not begun.
        DataError: A file is damaged, or of another version of the format.
    """
    folder = Path(folder)
    config = read_manifest(folder)["config"]
    before = _read_evaluations(folder / "round-0")
    if "chooser" in config:
        return _read_chosen_run(folder, before)
    gated = "gates" in config
    recalibrated = None
    if "recalibrator" in config:
        recalibrated = _read_recalibrated(folder / "recalibration", before.keys(), gated=gated)
    stopped = recalibrated is not None and recalibrated.ended
    rounds: list[Round] = []
    for number in range(1, 1 if stopped else config["rounds"] + 1):
        rounds.append(_read_round(folder / f"round-{number}", number, before.keys(), gated=gated))
        if not rounds[-1].stands:
            break
    while is_stored(folder / f"round-{len(rounds) + 1}" / REVIEWED_FILE):
        number = len(rounds) + 1
        rounds.append(_read_round(folder / f"round-{number}", number, before.keys(), gated=gated))
    return RunRecord(
        before=before, rounds=tuple(rounds), workdir=folder, recalibration=recalibrated
    )


def _read_chosen_run(folder: Path, before: Mapping[str, Evaluation]) -> RunRecord:
    found = read_chosen(folder / CHOICE)
    evaluations = before
    if found.choice.changes:
        evaluations = _read_evaluations(folder / CHOICE)
        _check_evaluated(evaluations, folder / CHOICE, before.keys())
    record = RunRecord(
        before=before,
        rounds=(),
        workdir=folder,
        choice=replace(found, evaluations=evaluations),
    )
    if found.choice.name == AS_IT_IS or record.stages is None:
        return record
    own = read_run(record.stages)
    return replace(record, rounds=own.rounds, recalibration=own.recalibration)


def _read_recalibrated(folder: Path, evaluators: Collection[str], *, gated: bool) -> Recalibrated:
    found = Recalibrated(
        read_stored_table(folder / EVIDENCE_FILE),
        _read_evaluations(folder),
        judgement=stored_judgement(folder),
        left_out=stored_left_out(folder),
        **_read_outcome(folder / OUTCOME_FILE),
    )
    _check_finished(found, folder, evaluators, judged=gated and found.changed)
    return found


def _read_round(folder: Path, number: int, evaluators: Collection[str], *, gated: bool) -> Round:
    selection = Selection(read_stored_table(folder / "selection.parquet"))
    evaluations = _read_evaluations(folder)
    judgement = stored_judgement(folder)
    scores, left_out = folder / SCORES_FILE, stored_left_out(folder)
    check_stored(scores)
    reviewed, start = stored_review(folder), stored_start(folder)
    current = Round(number, scores, selection, evaluations, judgement, left_out, reviewed, start)
    _check_finished(current, folder, evaluators, judged=gated and bool(selection.kept))
    return current


def _check_finished(
    found: Recalibrated | Round, folder: Path, evaluators: Collection[str], *, judged: bool
) -> None:
    if judged and found.judgement is None:
        raise MissingDataError(f"{folder} has no judgement; continue the run to its end.")
    if found.stands:
        _check_evaluated(found.evaluations, folder, evaluators)


def _check_evaluated(
    found: Mapping[str, Evaluation], folder: Path, evaluators: Collection[str]
) -> None:
    if found.keys() != set(evaluators):
        raise MissingDataError(
            f"{folder} has evaluations by {sorted(found)} and not by {sorted(evaluators)}; "
            "continue the run to its end."
        )


def stored_judgement(folder: Path) -> Judgement | None:
    """Read what the gates said of a round, if they were asked."""
    path = folder / "judgement"
    return read_judgement(path) if is_stored(path) else None


def stored_left_out(folder: Path) -> pa.Table:
    """Read what was left out of a recalibration or round, and of its judgement."""
    return pa.concat_tables([read_left_out(folder), read_left_out(folder / "judgement")])


def write_outcome(recalibrated: Recalibrated, path: Path) -> None:
    """Write whether a recalibrator changed anything, and its verdict if it gave one."""
    verdict = None if recalibrated.verdict is None else asdict(recalibrated.verdict)
    with stored_file(path) as temporary:
        temporary.write_text(to_json({"changed": recalibrated.changed, "verdict": verdict}))


def _read_outcome(path: Path) -> dict[str, Any]:
    check_stored(path)
    found: dict[str, Any] = read_json(path)
    return found | {"verdict": found["verdict"] and Verdict(**found["verdict"])}


def _taught(reviewed: pa.Table | None) -> str:
    """Return what people's answers brought to a training, in words."""
    decisions = [] if reviewed is None else reviewed["decision"].to_pylist()
    rejected = decisions.count(REJECTED)
    said = f"trained with {_counted(len(decisions) - rejected, 'reviewed mask')}"
    return f"{said}, without {_counted(rejected, 'rejected sample')}" if rejected else said


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _read_evaluations(folder: Path) -> dict[str, Evaluation]:
    folders = sorted((folder / "evaluations").glob("[!.]*"))  # what is being written has a dot
    return {path.name: read_evaluation(path) for path in folders}


def _reasons(selection: Selection) -> str:
    dropped = ((rule, count) for rule, count in selection.counts.items() if rule != "kept")
    return ", ".join(f"{count} by {rule}" for rule, count in dropped)
