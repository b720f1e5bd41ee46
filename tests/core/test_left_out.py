"""Samples that cannot be used are left out with the reason, and lose nobody else's work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt import DataError, InputError, OverlapEvaluator
from pladapt.data.tolerance import Tolerance
from pladapt.errors import LabelledTargetError
from pladapt.plugins import PluginManager
from pladapt.typing import Recalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import SimpleNamespace

QUIET = PluginManager()
MARK = 0.123  # a pixel of images on which parts fail


class Failing(list[Any]):
    """Samples of which some cannot be read."""

    def __init__(self, samples: list[Any], *places: int) -> None:
        super().__init__(samples)
        self.places = places

    def __getitem__(self, index: Any, /) -> Any:
        if index in self.places:
            raise OSError("bad sector")
        return super().__getitem__(index)


def marked(samples: list[Any], *places: int) -> list[Any]:
    """Mark some images."""
    made = list(samples)
    for place in places:
        image = made[place].image.copy()
        image[0, 0, 0] = MARK
        made[place] = replace(made[place], image=image)
    return made


class Picky:
    """A predictor that fails on marked images, or predicts NaN for them."""

    def __init__(self, inner: Any, *, nan: bool = False) -> None:
        self.inner, self.nan = inner, nan

    @property
    def shift(self) -> float:
        """What the toy's retrainer changes."""
        return float(self.inner.shift)

    def predict(self, images: Any, /) -> Any:
        """Predict as the toy does, but for marked images."""
        bad = images[:, 0, 0, 0] == MARK
        if bad.any() and not self.nan:
            raise RuntimeError("cannot do this one")
        return np.where(bad[:, None, None, None], np.nan, self.inner.predict(images))


class Retrainer:
    """Gives the predictor back."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def describe(self) -> str:
        """Pass for the same."""
        return "the same"

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Look at what is kept."""
        self.ids = [labels[index].id for index in range(len(labels))]
        return predictor


def run(toy: SimpleNamespace, target: Any, predictor: Any = None, **options: Any) -> Any:
    parts = toy.parts(ci_limit=None) | {"evaluators": (), "retrainer": Retrainer()}
    given = parts | {"batch_size": 3, "plugins": QUIET, "max_errors": 2} | options
    return pladapt.adapt(predictor or toy.Predictor(), target, **given)


def test_what_cannot_be_read_or_predicted_is_left_out(toy: SimpleNamespace) -> None:
    target = Failing(marked(toy.target(), 1), 4)
    retrainer = Retrainer()
    result = run(toy, target, Picky(toy.Predictor()), retrainer=retrainer)
    assert result.left_out.to_pylist() == [
        {"position": 1, "id": "s1", "reason": "RuntimeError: cannot do this one"},
        {"position": 4, "id": "[4]", "reason": "OSError: bad sector"},
    ]
    assert result.rounds[0].scores["id"].to_pylist() == ["s0", "s2", "s3", "s5", "s6"]
    assert retrainer.ids == ["s0", "s2", "s3"]


def test_a_prediction_that_is_nan_is_left_out(toy: SimpleNamespace) -> None:
    result = run(toy, marked(toy.target(), 6), Picky(toy.Predictor(), nan=True))
    assert result.left_out["id"].to_pylist() == ["s6"]
    assert "NaN" in result.left_out["reason"][0].as_py()


def test_the_others_fare_as_if_it_had_not_been_there(toy: SimpleNamespace) -> None:
    target = toy.target()
    without = run(toy, [*target[:2], *target[3:]], rounds=2).rounds
    with_it = run(toy, Failing(target, 2), rounds=2).rounds
    for one, other in zip(with_it, without, strict=True):
        assert one.scores.equals(other.scores)
        assert one.selection.table.equals(other.selection.table)


def test_more_than_may_be_left_out_end_the_run_which_a_higher_number_continues(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    target = Failing(toy.target(), 2, 3, 5)
    with pytest.raises(DataError, match=r"3 of 7 samples .* allows 2\.(.|\n)*\[5\]: OSError: bad"):
        run(toy, target, workdir=tmp_path)
    result = run(toy, target, workdir=tmp_path, max_errors=0.5)
    assert result.left_out["position"].to_pylist() == [2, 3, 5]
    again = run(toy, target, workdir=tmp_path, max_errors=3)
    assert again.left_out.equals(result.left_out)
    assert pladapt.read_run(tmp_path).left_out.equals(result.left_out)


@pytest.mark.parametrize("at", [3, 7, 11, 15, 19])
def test_an_interrupted_run_leaves_out_the_same(
    toy: SimpleNamespace, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Failing):
        reads = 0

        def __getitem__(self, index: Any, /) -> Any:
            Interrupted.reads += 1
            if Interrupted.reads == at:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    monkeypatch.setattr("pladapt.runs.parts.SECONDS", 0.0)
    target = marked(toy.target(), 4)
    options = {"predictor": Picky(toy.Predictor()), "rounds": 2}
    expected = run(toy, Failing(target, 1), **options, workdir=tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        run(toy, Interrupted(target, 1), **options, workdir=tmp_path / "other")
    again = run(toy, Failing(target, 1), **options, workdir=tmp_path / "other")
    assert again.left_out.equals(expected.left_out)
    for one, other in zip(again.rounds, expected.rounds, strict=True):
        assert one.scores.equals(other.scores)


def test_raise_ends_the_run_at_the_first(toy: SimpleNamespace) -> None:
    with pytest.raises(OSError, match="bad sector"):
        run(toy, Failing(toy.target(), 3), on_error="raise")


def test_a_part_that_never_works_is_named_by_its_own_error(toy: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError, match="cannot do this one"):
        run(toy, marked(toy.target(), *range(7)), Picky(toy.Predictor()), max_errors=1.0)


def test_a_mask_is_never_skipped(toy: SimpleNamespace) -> None:
    with pytest.raises(LabelledTargetError):
        run(toy, [*toy.target()[:6], *toy.lesions()[6:]])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_is_no_sample_s_fault_ends_the_run(toy: SimpleNamespace, error: Any) -> None:
    class Ending:
        def predict(self, images: Any, /) -> Any:
            """Fail."""
            raise error

    with pytest.raises(type(error)):
        run(toy, toy.target(), Ending())


class Recalibrator:
    """Predicts the whole target, and changes nothing."""

    def recalibrate(self, predictor: Any, target: Any, /) -> Recalibration:
        """Predict each sample."""
        import pyarrow as pa

        for index in range(len(target)):
            predictor.predict(target[index].image[None])
        return Recalibration(predictor, predictor, pa.table({"samples": [len(target)]}))


class Gate:
    """Predicts the whole target, and accepts."""

    def judge(self, before: Any, after: Any, target: Any, /) -> Any:
        """Predict each sample."""
        judged = [after.predict(target[index].image[None]) for index in range(len(target))]
        one = replace_evidence(len(judged))
        return pladapt.Judgement(accepted=True, reasons=(), evidence=one)


def replace_evidence(count: int) -> Any:
    import pyarrow as pa

    from pladapt.types import EVIDENCE

    row = dict.fromkeys(EVIDENCE.names) | {"measure": "count", "after": count, "passed": True}
    return pa.Table.from_pylist([row], schema=EVIDENCE)


@pytest.mark.parametrize("damage", [lambda t: marked(t, 2), lambda t: Failing(t, 2)])
def test_recalibration_goes_on_without_it(
    toy: SimpleNamespace, tmp_path: Path, damage: Callable[[Any], Any]
) -> None:
    target = damage(toy.target())
    options: dict[str, Any] = {"recalibrator": Recalibrator(), "workdir": tmp_path}
    for _ in range(2):  # anew, and continued
        result = run(toy, target, Picky(toy.Predictor()), **options)
        assert result.recalibration.evidence["samples"].to_pylist() == [6]
        assert result.left_out["position"].to_pylist() == [2]
        assert len(result.rounds[0].scores) == 6
    assert pladapt.read_run(tmp_path).left_out.equals(result.left_out)


def test_gates_judge_the_others(toy: SimpleNamespace, tmp_path: Path) -> None:
    class Spoiling(Retrainer):
        """Makes a predictor that fails where the one before did not."""

        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            """Return it."""
            return Picky(predictor)

    target = marked(toy.target(), 5)
    for _ in range(2):
        result = run(toy, target, gates=[Gate()], retrainer=Spoiling(), workdir=tmp_path, rounds=2)
        assert result.rounds[0].judgement.evidence["after"].to_pylist() == [6.0]
        assert result.left_out["id"].to_pylist() == ["s5"]
        assert [len(each.scores) for each in result.rounds] == [7, 6]


def test_an_evaluator_says_what_it_left_out(toy: SimpleNamespace) -> None:
    samples = marked(toy.lesions(), 3)
    evaluator = OverlapEvaluator(samples=samples, tolerance=Tolerance(max_errors=1))
    found = evaluator.evaluate(Picky(toy.Predictor()))
    assert len(found.samples) == 6
    assert found.notes["left out"] == "s3: RuntimeError: cannot do this one"
    others = OverlapEvaluator(samples=[*samples[:3], *samples[4:]])
    assert found.summary.equals(others.evaluate(Picky(toy.Predictor())).summary)


@pytest.mark.parametrize(
    ("given", "allowed"), [(0, 0), (0.0, 0), (3, 3), (0.05, 5), (0.001, 1), (1.0, 100)]
)
def test_what_is_tolerated(given: float, allowed: int) -> None:
    assert Tolerance(max_errors=given).allowed(100) == allowed


@pytest.mark.parametrize("given", [-1, 1.5, float("nan")])
def test_what_is_no_number_of_errors(given: float) -> None:
    with pytest.raises(InputError, match="max_errors is"):
        Tolerance(max_errors=given)
    with pytest.raises(InputError, match="on_error is 'ignore'"):
        Tolerance("ignore")  # type: ignore[arg-type]
