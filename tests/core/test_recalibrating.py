from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pladapt
from pladapt import DataError, DoNoHarm, InputError, Verdict
from pladapt.errors import LabelledTargetError, MissingDataError, RunChangedError
from pladapt.functional.arrays import to_numpy
from pladapt.plugins import PluginManager
from pladapt.testing import RecalibratorContract
from pladapt.typing import Recalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

QUIET = PluginManager()


@dataclass(frozen=True)
class Brighten:
    """Shifts a predictor until the brightest value of the target is what it should be."""

    goal: float = 0.95

    def recalibrate(self, predictor: Any, target: Any, /) -> Recalibration:
        """Shift it."""
        brightest = max(float(to_numpy(target[i].image).max()) for i in range(len(target)))
        by = self.goal - brightest
        new = dataclasses.replace(predictor, shift=predictor.shift + by)
        evidence = pa.table({"brightest": [brightest], "sure": [True], "none": pa.nulls(1)})
        return Recalibration(new, new, evidence)


@dataclass(frozen=True)
class Ending:
    """Leaves the predictor as it is, and says why."""

    outcome: Any = "unchanged"

    def recalibrate(self, predictor: Any, _target: Any, /) -> Recalibration:
        """End the adaptation."""
        verdict = Verdict(self.outcome, "it would not help")
        return Recalibration(predictor, predictor, pa.table({"looked": [True]}), verdict)


class Noting:
    """A gate that notes what it compares, and accepts it."""

    def __init__(self) -> None:
        self.compared: list[tuple[Any, Any]] = []

    def judge(self, before: Any, after: Any, target: Any, /) -> Any:
        """Accept."""
        self.compared.append((before, after))
        return DoNoHarm().judge(before, before, target)

    def describe(self) -> str:
        """Tell the same each time."""
        return "noting"


class TestBrighten(RecalibratorContract):
    @pytest.fixture
    def recalibrator(self) -> Any:
        return Brighten()

    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()


@pytest.fixture
def run(toy: SimpleNamespace) -> Callable[..., pladapt.AdaptationResult]:
    def adapt(**changes: Any) -> pladapt.AdaptationResult:
        options = {
            "predictor": toy.Predictor(-0.2),
            "target": toy.target(),
            **toy.parts(),
            "recalibrator": Brighten(),
            "plugins": QUIET,
        }
        return pladapt.adapt(**options | changes)

    return adapt


def dsc(evaluations: Any) -> float:
    return float(evaluations["overlap"].value("dsc", aggregation="sample"))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_recalibrated_predictor_teaches_and_is_measured(run: Any, toy: SimpleNamespace) -> None:
    result = run()
    given, made = toy.Predictor(-0.2), Brighten().recalibrate(toy.Predictor(-0.2), toy.target())
    (evaluator,) = toy.parts()["evaluators"].values()
    assert result.recalibration is not None
    assert result.recalibration.evidence.equals(made.evidence)
    expected = [dsc({"overlap": evaluator.evaluate(p)}) for p in (given, made.teacher)]
    assert [dsc(result.before), dsc(result.recalibration.evaluations)] == expected
    assert expected[0] < expected[1]
    alone = run(predictor=made.teacher, recalibrator=None)
    assert str(result.rounds[0].scores) == str(alone.rounds[0].scores)  # NaN among them
    assert result.predictor == alone.predictor
    assert result.first == alone.first == made.teacher
    assert dsc(result.after) == dsc(result.rounds[0].evaluations)


def test_the_teacher_labels_and_the_student_is_trained_to_be_its_own(
    run: Any, toy: SimpleNamespace
) -> None:
    teacher, student = toy.Predictor(-0.1), toy.Predictor(-0.3)
    trained = []

    class Apart:
        """Makes a student that is not its teacher."""

        def recalibrate(self, _predictor: Any, _target: Any, /) -> Recalibration:
            """Return both."""
            return Recalibration(teacher, student, pa.table({"apart": [True]}))

    class Noting(toy.Retrainer):  # type: ignore[misc]  # a class of the fixture
        """Notes what it is to train."""

        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            """Retrain it."""
            trained.append(predictor)
            return super().retrain(predictor, labels)

    result = run(recalibrator=Apart(), retrainer=Noting(), rounds=2)
    assert trained[0] == student
    assert result.first == teacher
    for found, labeller in zip(result.rounds, (teacher, trained[1]), strict=True):
        alone = run(predictor=labeller, recalibrator=None)
        assert str(found.scores) == str(alone.rounds[0].scores)  # NaN among them
    assert len({str(found.scores) for found in result.rounds}) == 2
    refused = run(recalibrator=Apart(), retrainer=toy.Retrainer(rate=-5), gates=[DoNoHarm()])
    assert "round 1 refused" in str(refused.stopped)
    assert refused.predictor == teacher


def test_without_rounds_it_is_all_that_happens(run: Any, toy: SimpleNamespace) -> None:
    stages: list[str] = []
    result = run(rounds=0, progress=lambda stage, *_: stages.append(stage))
    assert result.rounds == ()
    assert result.stopped is None
    made = Brighten().recalibrate(toy.Predictor(-0.2), toy.target())
    assert result.predictor == made.teacher
    assert result.after is result.recalibration.evaluations
    assert stages == ["evaluate", "recalibrate", "evaluate"]


def test_a_run_without_a_recalibrator_has_no_recalibration(run: Any, tmp_path: Path) -> None:
    result = run(recalibrator=None, workdir=tmp_path)
    assert result.recalibration is None
    assert pladapt.read_run(tmp_path).recalibration is None
    assert not (tmp_path / "recalibration").exists()
    with pytest.raises(InputError, match="rounds is 0; it must be at least 1"):
        run(recalibrator=None, rounds=0)
    with pytest.raises(InputError, match="rounds is -1; it must be at least 0"):
        run(rounds=-1)


def test_where_no_round_stands_the_recalibrated_one_is_returned(
    run: Any, toy: SimpleNamespace
) -> None:
    made = Brighten().recalibrate(toy.Predictor(-0.2), toy.target()).teacher
    refused = run(retrainer=toy.Retrainer(rate=-5), gates=[DoNoHarm()])
    assert "round 1 refused" in str(refused.stopped)
    nothing = run(selector=toy.parts(min_pixels=10_000)["selector"])
    assert "selected none" in str(nothing.stopped)
    for result in (refused, nothing):
        assert result.predictor == made
        assert dsc(result.after) == dsc(result.recalibration.evaluations) != dsc(result.before)


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_labelled_sample_reaches_no_recalibrator(
    run: Any, toy: SimpleNamespace, rounds: int
) -> None:
    target = [*toy.target()[:5], *toy.lesions()[5:]]
    with pytest.raises(LabelledTargetError, match="'s5' has a mask"):
        run(target=target, rounds=rounds)


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_run_is_read_back_with_its_recalibration(run: Any, tmp_path: Path, rounds: int) -> None:
    result = run(workdir=tmp_path, rounds=rounds)
    record = pladapt.read_run(tmp_path)
    assert record.recalibration is not None
    assert record.recalibration.evidence.equals(result.recalibration.evidence)
    assert dsc(record.recalibration.evaluations) == dsc(result.recalibration.evaluations)
    assert dsc(record.after) == dsc(result.after)
    assert len(record.rounds) == rounds


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_run_killed_after_any_change_on_the_disk_ends_with_the_same_bytes(
    run: Any, tmp_path: Path, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process ends here."""

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made = function(*args, **options)
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return made

        return call

    left = [0]
    for owner, name in ((pq, "write_table"), (os, "replace"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    undisturbed = run(workdir=tmp_path / "undisturbed", rounds=rounds)
    expected, changes = contents(tmp_path / "undisturbed"), -left[0]
    assert "recalibration/evidence.parquet" in expected
    assert "recalibration/evaluations/overlap/summary.parquet" in expected
    for at in range(1, changes + 1):
        left[0] = at
        with pytest.raises(Killed):
            run(workdir=tmp_path / str(at), rounds=rounds)
        result = run(workdir=tmp_path / str(at), rounds=rounds)
        assert result.predictor == undisturbed.predictor, at
        assert contents(tmp_path / str(at)) == expected, at


def test_another_recalibrator_is_named(run: Any, tmp_path: Path) -> None:
    run(workdir=tmp_path)
    with pytest.raises(RunChangedError, match=r"recalibrator.goal was 0.95 and is now 0.9"):
        run(workdir=tmp_path, recalibrator=Brighten(0.9))
    with pytest.raises(RunChangedError, match=r"recalibrator.* and is now 'nothing'"):
        run(workdir=tmp_path, recalibrator=None)


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_run_does_not_go_on_with_other_images(
    run: Any, toy: SimpleNamespace, tmp_path: Path, rounds: int
) -> None:
    target = toy.target()
    run(workdir=tmp_path, rounds=rounds)
    before = contents(tmp_path)
    run(workdir=tmp_path, rounds=rounds, target=toy.target())
    other = dataclasses.replace(target[4], image=target[4].image * 0.5)
    with pytest.raises(RunChangedError, match=r"sample 4, 's4', .*: sha256 was '\w+' and is"):
        run(workdir=tmp_path, rounds=rounds, target=[*target[:4], other, *target[5:]])
    with pytest.raises(RunChangedError, match=r"sample 0, 's0', .*: id was 's0' and is 's1'"):
        run(workdir=tmp_path, rounds=rounds, target=[target[1], target[0], *target[2:]])
    assert contents(tmp_path) == before


# Verdicts


@pytest.mark.parametrize("outcome", ["unchanged", "unfit"])
def test_a_verdict_ends_the_run_with_the_predictor_that_was_given(
    run: Any, toy: SimpleNamespace, outcome: str, tmp_path: Path
) -> None:
    given, gate, stages = toy.Predictor(-0.2), Noting(), []

    def note(stage: str, *_: int) -> None:
        stages.append(stage)

    options = {"recalibrator": Ending(outcome), "gates": [gate], "workdir": tmp_path}
    result = run(predictor=given, rounds=2, progress=note, **options)
    assert result.predictor is result.first is given
    assert result.verdict == Verdict(outcome, "it would not help")  # type: ignore[arg-type]  # a literal
    assert result.rounds == ()
    assert result.stopped is None
    assert dsc(result.after) == dsc(result.before)
    assert result.recalibration.ended
    assert not result.recalibration.changed
    assert stages == ["evaluate", "recalibrate", "evaluate"]
    assert gate.compared == []
    stored = contents(tmp_path)
    record = pladapt.read_run(tmp_path)
    assert (record.verdict, record.rounds) == (result.verdict, ())
    assert record.recalibration is not None
    assert record.recalibration.evidence.equals(result.recalibration.evidence)
    assert run(predictor=given, rounds=2, **options).verdict == result.verdict
    assert contents(tmp_path) == stored


def test_a_recalibrator_may_end_the_run_with_what_it_made_and_gates_judge_it(
    run: Any, toy: SimpleNamespace, tmp_path: Path
) -> None:
    given, verdict = toy.Predictor(-0.2), Verdict("adapted", "there is no room for more")

    class Enough(Brighten):
        """Brightens, and says that no training would help."""

        def recalibrate(self, predictor: Any, target: Any, /) -> Recalibration:
            """Shift it."""
            made = super().recalibrate(predictor, target)
            return dataclasses.replace(made, verdict=verdict)

    gates = [DoNoHarm()]
    result = run(predictor=given, recalibrator=Enough(), gates=gates, workdir=tmp_path / "good")
    assert result.predictor == Brighten().recalibrate(given, toy.target()).teacher
    assert result.rounds == ()
    assert result.verdict == verdict
    assert result.recalibration.judgement.accepted
    assert result.after is result.recalibration.evaluations
    assert dsc(result.after) > dsc(result.before)
    refused = run(predictor=given, recalibrator=Enough(0.3), gates=gates, workdir=tmp_path / "bad")
    assert refused.predictor is given
    assert refused.rounds == ()
    assert refused.verdict.outcome == "unchanged"
    for name, made in (("good", result), ("bad", refused)):
        record = pladapt.read_run(tmp_path / name)
        assert (record.verdict, record.rounds) == (made.verdict, ())


def test_what_recalibration_left_as_it_was_without_a_verdict_is_trained(
    run: Any, toy: SimpleNamespace, tmp_path: Path
) -> None:
    class Leaving:
        """Finds nothing to change, and lets the training begin."""

        def recalibrate(self, predictor: Any, _target: Any, /) -> Recalibration:
            """Return it."""
            return Recalibration(predictor, predictor, pa.table({"looked": [True]}))

    gate = Noting()
    result = run(recalibrator=Leaving(), gates=[gate], workdir=tmp_path)
    assert result.recalibration.stands
    assert not result.recalibration.changed
    assert result.recalibration.judgement is None
    assert [after for _, after in gate.compared] == [result.predictor]
    assert result.predictor == run(recalibrator=None, gates=[Noting()]).predictor
    assert result.verdict == Verdict("adapted", "trained in 1 round")
    assert pladapt.read_run(tmp_path).verdict == result.verdict
    nothing = run(recalibrator=Leaving(), rounds=0)
    assert nothing.predictor == toy.Predictor(-0.2)
    assert nothing.verdict == Verdict("unchanged", "nothing was changed")


def test_gates_compare_what_was_given_with_the_recalibrated_one_and_with_each_round_s(
    run: Any, toy: SimpleNamespace
) -> None:
    given, gate = toy.Predictor(-0.2), Noting()
    result = run(predictor=given, gates=[gate], rounds=2)
    assert all(before is given for before, _ in gate.compared)
    recalibrated, first, second = (after for _, after in gate.compared)
    assert recalibrated == Brighten().recalibrate(given, toy.target()).teacher
    assert first not in (given, recalibrated)
    assert second is result.predictor
    assert result.recalibration.judgement.accepted
    assert result.verdict == Verdict("adapted", "trained in 2 rounds")


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_recalibration_that_does_harm_is_refused_and_the_given_predictor_comes_back(
    run: Any, toy: SimpleNamespace, tmp_path: Path, rounds: int
) -> None:
    given = toy.Predictor(-0.2)
    options = {"recalibrator": Brighten(goal=0.3), "gates": [DoNoHarm()], "rounds": rounds}
    result = run(predictor=given, workdir=tmp_path, **options)
    assert result.predictor is result.first is given
    assert result.rounds == ()
    assert result.recalibration.changed
    assert not result.recalibration.stands
    assert result.recalibration.evaluations == {}
    assert result.after is result.before
    assert result.verdict.outcome == "unchanged"
    reason = result.verdict.reason
    assert reason.startswith("the recalibration was refused: foreground fraction of class 1 fell")
    assert all(each in reason for each in result.recalibration.judgement.reasons)
    record = pladapt.read_run(tmp_path)
    assert (record.verdict, record.rounds) == (result.verdict, ())
    assert record.recalibration is not None
    assert record.recalibration.judgement is not None
    assert record.recalibration.judgement.evidence.equals(result.recalibration.judgement.evidence)
    assert run(**options | {"gates": ()}).predictor != given


def test_the_verdict_says_how_far_adaptation_came(run: Any, toy: SimpleNamespace) -> None:
    alone = run(rounds=0)
    assert alone.verdict == Verdict("adapted", "recalibrated")
    refused = run(retrainer=toy.Retrainer(rate=-5), gates=[DoNoHarm()])
    assert refused.verdict == Verdict("adapted", f"recalibrated; {refused.stopped}")
    assert "round 1 refused" in refused.verdict.reason
    nothing = run(selector=toy.parts(min_pixels=10_000)["selector"])
    assert nothing.verdict == Verdict("adapted", f"recalibrated; {nothing.stopped}")
    assert "selected none" in nothing.verdict.reason


# Folders that are not whole


def test_a_run_that_lost_its_outcome_or_judgement_is_not_read(run: Any, tmp_path: Path) -> None:
    options = {"workdir": tmp_path, "rounds": 0, "gates": [DoNoHarm()]}
    run(**options)
    stored = contents(tmp_path)
    folder = tmp_path / "recalibration"
    for name, said in (
        ("outcome.json", r"no .*outcome\.json"),
        ("judgement", "has no judgement"),
        ("evaluations", r"has evaluations by \[\] and not by \['overlap'\]"),
    ):
        kept = (folder / name).rename(tmp_path / "kept")
        with pytest.raises(MissingDataError, match=rf"{said}.*continue the run"):
            pladapt.read_run(tmp_path)
        run(**options)
        (shutil.rmtree if kept.is_dir() else os.remove)(kept)
        assert contents(tmp_path) == stored
        pladapt.read_run(tmp_path)


def test_a_run_that_lost_its_evidence_is_not_read(run: Any, tmp_path: Path) -> None:
    run(workdir=tmp_path, rounds=0)
    path = tmp_path / "recalibration/evidence.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"evidence\.parquet is not what was written"):
        pladapt.read_run(tmp_path)
    path.unlink()
    with pytest.raises(MissingDataError, match=r"no .*evidence\.parquet, .*continue the run"):
        pladapt.read_run(tmp_path)
    run(workdir=tmp_path, rounds=0)
    assert pladapt.read_run(tmp_path).recalibration is not None
