"""What people said of a run's masks goes into the run when it continues."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt import DataError, DoNoHarm, Judgement, Verdict
from pladapt.evaluation.few_labels import LEAST
from pladapt.evidence import ForegroundFraction
from pladapt.review import Review
from pladapt.runs import Restart
from pladapt.runs.reviewed import REPEATS
from pladapt.types import EVIDENCE
from pladapt.typing import Recalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import SimpleNamespace

    from pladapt.runs import AdaptationResult

    Adapt = Callable[..., AdaptationResult]


@pytest.fixture
def adapt(toy: SimpleNamespace, tmp_path: Path) -> Adapt:
    """Adapt in one folder, again and again."""

    def again(shift: float = 0.0, **options: Any) -> AdaptationResult:
        parts = toy.parts() | options
        given = toy.Predictor(shift=shift)
        return pladapt.adapt(given, toy.target(), **parts, workdir=tmp_path / "run")

    return again


@pytest.fixture
def seen(toy: SimpleNamespace) -> Any:
    """A retrainer that notes what it is taught with, and can resume."""

    class Noting(toy.Retrainer):  # type: ignore[misc,name-defined]  # the toy's
        def __init__(self) -> None:
            super().__init__()
            self.labels: list[list[pladapt.PseudoLabelled]] = []
            self.given: list[Any] = []

        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            self.given.append(predictor)
            self.labels.append([labels[index] for index in range(len(labels))])
            return super().retrain(predictor, labels)

        def describe(self) -> str:
            return "noting"

    return Noting()


def square() -> Any:
    mask = np.zeros((6, 6), np.uint8)
    mask[2:5, 2:5] = 1
    return mask


def test_reviewed_masks_teach_in_a_further_round(adapt: Adapt, seen: Any) -> None:
    first = adapt(retrainer=seen)
    assert first.rounds[0].selection.kept == ("s0", "s1", "s2")
    review = Review(first.workdir, who="Ann")  # type: ignore[arg-type]  # there is one
    accepted = review.mask("s1")
    review.accept("s1", seconds=4)
    review.correct("s6", square(), seconds=30.25)
    review.reject("s0")
    result = adapt(retrainer=seen)
    assert len(seen.labels) == 2, "the first round was done"
    taught = seen.labels[1]
    assert [item.id for item in taught] == ["s1", "s6", "s2"]
    np.testing.assert_array_equal(taught[0].label, accepted)
    np.testing.assert_array_equal(taught[1].label, square())
    assert taught[0].score == taught[1].score >= taught[2].score
    before, after = result.rounds
    assert before.reviewed is None
    assert after.selection.dropped["s0"] == "rejected"
    assert after.selection.kept == ("s1", "s6", "s2")
    assert after.reviewed is not None
    assert after.reviewed.select(["id", "decision", "who"]).to_pylist() == [
        {"id": "s0", "decision": "rejected", "who": "Ann"},
        {"id": "s1", "decision": "accepted", "who": "Ann"},
        {"id": "s6", "decision": "corrected", "who": "Ann"},
    ]
    words = "trained with 2 reviewed masks, without 1 rejected sample"
    assert result.verdict == Verdict("adapted", words)
    assert result.predictor.shift != first.predictor.shift  # type: ignore[attr-defined]  # the toy's


def test_the_manifest_says_who_when_and_how_long(adapt: Adapt) -> None:
    folder = adapt().workdir
    assert folder is not None
    assert "reviews" not in json.loads((folder / "run.json").read_text())
    ann = Review(folder, who="Ann")
    ann.accept("s1", seconds=4)
    ann.reject("s0", seconds=1.5)
    Review(folder, who="Bo").accept("s2", seconds=7)
    for _ in range(2):
        adapt()
        found = json.loads((folder / "run.json").read_text())["reviews"]
        for each in found:
            assert each.pop("first") <= each.pop("last")
        assert found == [
            {"round": 2, "who": "Ann", "accepted": 1, "rejected": 1, "seconds": 5.5},
            {"round": 2, "who": "Bo", "accepted": 1, "seconds": 7},
        ]


def test_a_round_is_made_for_new_answers_alone(adapt: Adapt, seen: Any) -> None:
    folder = adapt(retrainer=seen).workdir
    assert folder is not None
    Review(folder, who="Ann").accept("s1")
    results = [adapt(retrainer=seen) for _ in range(2)]
    assert [len(each.rounds) for each in results] == [2, 2]
    assert results[0].predictor == results[1].predictor
    Review(folder, who="Ann").reject("s2")
    assert len(adapt(retrainer=seen).rounds) == 3
    assert len(seen.labels) == 3
    read = pladapt.read_run(folder)
    assert [each.number for each in read.rounds] == [1, 2, 3]
    assert read.rounds[2].reviewed is not None
    assert len(read.rounds[2].reviewed) == 2
    assert read.verdict == adapt(retrainer=seen).verdict


def test_a_round_that_was_interrupted_ends_with_the_answers_that_it_began_with(
    adapt: Adapt, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapt(retrainer=seen).workdir
    assert folder is not None
    Review(folder, who="Ann").accept("s1")
    with monkeypatch.context() as patch:
        patch.setattr(type(seen), "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            adapt(retrainer=seen)
    Review(folder, who="Ann").reject("s2")
    result = adapt(retrainer=seen)
    assert [item.id for item in seen.labels[1]] == [item.id for item in seen.labels[2]]
    assert "s2" not in [item.id for item in seen.labels[3]]
    assert len(result.rounds) == 3


def test_a_few_reviewed_samples_are_heard_among_many(
    toy: SimpleNamespace, seen: Any, tmp_path: Path
) -> None:
    parts = toy.parts(top_k=None, ci_limit=None) | {"retrainer": seen, "workdir": tmp_path / "run"}
    pladapt.adapt(toy.Predictor(), toy.target(count=9), **parts)
    Review(tmp_path / "run", who="Ann").accept("s1")
    pladapt.adapt(toy.Predictor(), toy.target(count=9), **parts)
    ids = [item.id for item in seen.labels[1]]
    others = len({*ids}) - 1
    assert ids.count("s1") == min(REPEATS, others) > 1
    assert len(ids) == 2 * others


class Refusing:
    """A gate that refuses whatever is made."""

    def judge(self, before: Any, after: Any, target: Any, /) -> Judgement:
        return Judgement(accepted=False, reasons=("no",), evidence=EVIDENCE.empty_table())


def test_people_can_go_on_where_a_gate_refused_and_a_gate_can_refuse_them(adapt: Adapt) -> None:
    folder = adapt(gates=[Refusing()]).workdir
    assert folder is not None
    Review(folder, who="Ann").accept("s1")
    result = adapt(gates=[Refusing()])
    assert [each.stands for each in result.rounds] == [False, False]
    assert result.verdict.outcome == "unchanged"
    assert pladapt.read_run(folder).verdict == result.verdict


def test_a_verdict_says_that_the_latest_answers_were_refused(adapt: Adapt) -> None:
    refuses: list[bool] = []

    class Turning(Refusing):
        def judge(self, before: Any, after: Any, samples: Any, /) -> Judgement:
            refused = super().judge(before, after, samples)
            return refused if refuses else replace(refused, accepted=True, reasons=())

    folder = adapt(gates=[Turning()]).workdir
    assert folder is not None
    Review(folder, who="Ann").accept("s1")
    verdict = adapt(gates=[Turning()]).verdict
    assert verdict == Verdict("adapted", "trained with 1 reviewed mask")
    Review(folder, who="Ann").accept("s2")
    refuses.append(True)
    verdict = adapt(gates=[Turning()]).verdict
    assert verdict.outcome == "adapted"
    assert verdict.reason.startswith("trained with 1 reviewed mask; round 3 refused: ")


def test_a_damaged_answer_ends_the_run_before_it_teaches(adapt: Adapt) -> None:
    folder = adapt().workdir
    assert folder is not None
    Review(folder, who="Ann").accept("s1")
    (path,) = (folder / "review" / "answers").iterdir()
    path.write_text(path.read_text().replace("Ann", "Eve"))
    with pytest.raises(DataError, match="review this sample again"):
        adapt()


class Dimmer:
    """A recalibrator that makes everything darker or brighter, and counts."""

    def __init__(self, by: float) -> None:
        self.by, self.asked = by, 0

    def recalibrate(self, predictor: Any, target: Any, /) -> Recalibration:
        self.asked += 1
        made = replace(predictor, shift=predictor.shift + self.by)
        return Recalibration(made, made, EVIDENCE.empty_table())

    def describe(self) -> str:
        return f"{self.by:+}"


def restart(by: float) -> Restart:
    return Restart(recalibrators={"other": Dimmer(by)})


def answered(folder: Path, count: int) -> None:
    review = Review(folder, who="Ann")
    for number in range(count):
        review.correct(f"s{number}", lesion())


def lesion() -> Any:
    mask = np.zeros((6, 6), np.uint8)
    mask[1:4, 1:4] = 1
    return mask


@pytest.mark.parametrize(
    ("toys", "chosen"),
    [((-0.3, 0.3, 0.9), "other"), ((0.0, -0.4, -0.5), "none"), ((0.0, -0.4, 0.9), "so far")],
)
def test_masks_choose_what_they_are_to_teach(
    adapt: Adapt, seen: Any, toys: tuple[float, float, float], chosen: str
) -> None:
    given, by, seen.goal = toys
    # with the lower goal the first round leaves most lesions unmarked
    kept = {"shift": given, "retrainer": seen, "restart": restart(by)}
    first = adapt(**kept)
    assert first.workdir is not None
    answered(first.workdir, 7)
    result = adapt(**kept)
    start = result.rounds[1].start
    assert start is not None
    assert start.choice.name == chosen
    assert start.chose == tuple(f"s{number}" for number in range(7))
    assert set(start.choice.evidence["candidate"].to_pylist()) == {"none", "so far", "other"}
    so_far: Any = first.predictor
    shifts = {"other": given + by, "none": given, "so far": so_far.shift}
    assert seen.given[-1].shift == pytest.approx(shifts[chosen])
    read = pladapt.read_run(first.workdir).rounds[1].start
    assert read is not None
    assert read.choice.name == chosen
    assert adapt(**kept).predictor == result.predictor


def test_another_retrainer_may_train_on_people_s_masks(adapt: Adapt, seen: Any) -> None:
    other = type(seen)()
    kept = {"retrainer": seen, "restart": replace(restart(0.2), retrainer=other)}
    folder = adapt(**kept).workdir
    assert folder is not None
    assert (len(seen.given), len(other.given)) == (1, 0)
    answered(folder, 3)
    adapt(**kept)
    assert (len(seen.given), len(other.given)) == (1, 1)


@dataclass
class Moving:
    """A retrainer that shifts all probabilities to the same."""

    shift: float

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        return replace(predictor, shift=self.shift)


@pytest.mark.parametrize(
    ("given", "taught", "masks", "judged"),
    [
        (0.6, 0.0, 3, True),  # nearly everything was marked, and people say what should be
        (0.6, 0.0, 2, False),  # too few of them to say so
        (0.0, 0.6, 3, False),
    ],
)
def test_people_s_masks_judge_what_they_taught(
    adapt: Adapt, toy: SimpleNamespace, given: float, taught: float, masks: int, *, judged: bool
) -> None:
    kept = {
        "shift": given,
        "retrainer": toy.Retrainer(rate=0.0),
        "restart": replace(restart(0.0), retrainer=Moving(taught)),
        "gates": [DoNoHarm(cutoff=0.5, measures=(ForegroundFraction(factor=1.5),))],
    }
    folder = adapt(**kept).workdir
    assert folder is not None
    answered(folder, masks)
    result = adapt(**kept)
    last = result.rounds[-1]
    assert last.stands == judged
    assert last.judgement is not None
    by_people = "DSC on reviewed masks" if masks == LEAST else "foreground fraction"
    assert set(last.judgement.evidence["measure"].to_pylist()) == {by_people}
    assert pladapt.read_run(folder).rounds[-1].stands == judged
    assert ("round 2 refused" in result.verdict.reason) != judged


def test_fewer_than_three_masks_choose_nothing(adapt: Adapt, seen: Any) -> None:
    kept = {"retrainer": seen, "restart": restart(0.2)}
    folder = adapt(**kept).workdir
    assert folder is not None
    answered(folder, 2)
    assert adapt(**kept).rounds[1].start is None


def test_masks_that_have_taught_choose_no_more(adapt: Adapt, seen: Any) -> None:
    kept = {"retrainer": seen, "restart": restart(0.2)}
    folder = adapt(**kept).workdir
    assert folder is not None
    answered(folder, 3)
    adapt(**kept)
    answered(folder, 5)  # three of them as before
    result = adapt(**kept)
    assert [each.start is None for each in result.rounds] == [True, False, True]


@pytest.mark.parametrize("rule", [None, "doubted"])
def test_pseudo_labels_that_people_s_masks_deny_are_not_learnt(
    adapt: Adapt, seen: Any, rule: str | None
) -> None:
    folder = adapt(retrainer=seen).workdir
    assert folder is not None
    review = Review(folder, who="Ann")
    for id_ in ("s0", "s1", "s3"):
        model = review.mask(id_)
        review.correct(id_, 1 - model if rule else model)
    result = adapt(retrainer=seen).rounds[1]
    assert {"s0", "s1", "s3"} <= {*result.selection.kept}
    assert result.selection.dropped.get("s2") == rule
    assert {item.id for item in seen.labels[1]} == {*result.selection.kept}
