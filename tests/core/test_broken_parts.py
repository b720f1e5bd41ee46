"""That a broken part of a user's own loses nobody's work, and says what it did."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pladapt
from pladapt import InputError
from pladapt.data import Tolerance
from pladapt.errors import DiskFullError, PluginError, TimeLimitError
from pladapt.evaluation.evaluators import DetailEvaluator, OverlapEvaluator
from pladapt.plugins import PluginManager
from pladapt.plugins.guard import guarded
from pladapt.types import EVIDENCE

if TYPE_CHECKING:
    from types import SimpleNamespace


def run(toy: SimpleNamespace, **changes: Any) -> pladapt.AdaptationResult:
    given = {
        "predictor": toy.Predictor(),
        "target": pladapt.unlabelled(toy.lesions()),
        "selector": pladapt.CertaintyIndexSelector(min_pixels=1, top_k=3),
        "retrainer": toy.Retrainer(),
        "plugins": PluginManager(),
        "batch_size": 2,
    }
    return pladapt.adapt(**given | changes)


@dataclass
class Evaluator:
    """Fails from its second call on, until it is mended."""

    error: Any = None
    calls: int = 0
    inner: Any = None

    def describe(self) -> str:
        return "evaluator"

    def evaluate(self, predictor: Any, /) -> Any:
        self.calls += 1
        if self.calls == 2 and isinstance(self.error, BaseException):
            raise self.error
        return self.inner.evaluate(predictor) if self.calls != 2 else self.error


BROKEN = [
    (RuntimeError("no licence"), "RuntimeError: no licence"),
    (SystemExit(0), "A part called exit (0)"),
    (None, "Evaluator.evaluate returned None, a NoneType"),
    (InputError("wrong masks"), "wrong masks"),
]


@pytest.mark.parametrize(("error", "said"), BROKEN, ids=lambda each: type(each).__name__)
def test_an_evaluator_that_fails_is_recorded_and_tried_again(
    toy: SimpleNamespace, tmp_path: Path, error: Any, said: str
) -> None:
    inner = OverlapEvaluator(samples=toy.lesions())
    evaluator = Evaluator(error, inner=inner)
    with pytest.warns(UserWarning, match="'mine' failed, and the run goes on"):
        result = run(toy, evaluators={"mine": evaluator, "whole": inner}, workdir=tmp_path)
    assert result.verdict.outcome == "adapted"
    assert said in result.after["mine"].failure
    assert result.after["whole"].failure is None
    assert pladapt.read_run(tmp_path).after["mine"].failure == result.after["mine"].failure
    again = run(toy, evaluators={"mine": evaluator, "whole": inner}, workdir=tmp_path)
    assert again.after["mine"].failure is None
    assert again.after["mine"].summary.equals(again.after["whole"].summary)


def test_before_anything_is_done_an_error_that_says_what_to_mend_ends_the_run(
    toy: SimpleNamespace,
) -> None:
    inner = OverlapEvaluator(samples=toy.lesions())
    with pytest.raises(InputError, match="wrong masks"):
        run(toy, evaluators={"mine": Evaluator(InputError("wrong masks"), calls=1, inner=inner)})
    broken = Evaluator(RuntimeError("no licence"), calls=1, inner=inner)
    with pytest.warns(UserWarning, match="no licence"):
        result = run(toy, evaluators={"mine": broken})
    assert result.before["mine"].failure


@pytest.mark.parametrize("error", [DiskFullError("full"), KeyboardInterrupt()])
def test_what_is_no_evaluator_s_fault_ends_the_run(toy: SimpleNamespace, error: Any) -> None:
    broken = Evaluator(error, inner=OverlapEvaluator(samples=toy.lesions()))
    with pytest.raises(type(error)):
        run(toy, evaluators={"mine": broken})


def test_on_error_raise_holds_for_evaluators(toy: SimpleNamespace) -> None:
    broken = Evaluator(RuntimeError("no licence"), inner=OverlapEvaluator(samples=toy.lesions()))
    with pytest.raises(RuntimeError, match="no licence"):
        run(toy, evaluators={"mine": broken}, on_error="raise")


@dataclass
class Odd:
    """A predictor that does something odd for a batch in which a sample is bright."""

    inner: Any
    what: Any

    def predict(self, images: Any, /) -> Any:
        if float(images[:, 0].max()) > 5:
            self.what()
        return self.inner.predict(images)


def marked(toy: SimpleNamespace) -> list[Any]:
    samples = toy.lesions()
    image = samples[3].image.copy()
    image[0, 0, 0] = 9.0
    return [replace(each, image=image) if i == 3 else each for i, each in enumerate(samples)]


def leave() -> None:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        (leave, {}, "called exit"),
        (lambda: time.sleep(60), {"time_limit": 0.2}, "took longer than 0.2 seconds"),
    ],
    ids=["exits", "hangs"],
)
def test_a_predictor_that_exits_or_hangs_on_one_sample_loses_that_alone(
    toy: SimpleNamespace, what: Any, options: Any, said: str
) -> None:
    target = pladapt.unlabelled(marked(toy))
    began = time.monotonic()
    result = run(toy, predictor=Odd(toy.Predictor(), what), target=target, **options,
                 retrainer=Same())  # fmt: skip
    assert time.monotonic() - began < 30
    (row,) = result.left_out.to_pylist()
    assert row["id"] == toy.lesions()[3].id
    assert said in row["reason"]


class Same:
    """A retrainer that returns the predictor."""

    def retrain(self, predictor: Any, _labels: Any, /) -> Any:
        return predictor


def test_a_part_that_exits_never_ends_the_program_as_if_all_were_well(
    toy: SimpleNamespace,
) -> None:
    class Leaving:
        def retrain(self, _predictor: Any, _labels: Any, /) -> Any:
            leave()

    with pytest.raises(PluginError, match="A part called exit"):
        run(toy, retrainer=Leaving())


def test_a_loop_that_catches_every_error_is_stopped_too() -> None:
    def stubborn() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(Exception):
                time.sleep(60)

    with pytest.raises(TimeLimitError, match="--time-limit"), guarded(0.1):
        stubborn()


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_time_limit_is_a_time(seconds: float) -> None:
    with pytest.raises(InputError, match="The time limit is"):
        Tolerance(seconds=seconds)


def test_a_finished_run_is_read_where_nothing_can_be_written(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = toy.lesions()
    given = {"evaluators": [OverlapEvaluator(samples=samples)], "workdir": tmp_path}
    first = run(toy, **given)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refused(*_args: Any, **_options: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    opened = Path.open

    def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return opened(path, mode, *args, **options) if mode.strip("bt") == "r" else refused()

    for owner, name in (
        (os, "replace"), (os, "unlink"), (os, "mkdir"), (pq, "write_table"), (Path, "write_text"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refused)
    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(pladapt.runs.manifest, "environment", lambda: {"python": "another"})
    again = run(toy, **given)
    assert again.predictor == first.predictor
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


class Nothing:
    """A predictor that has gone wrong: all is NaN."""

    def predict(self, images: Any, /) -> Any:
        return images[:, :1] * float("nan")


@pytest.mark.parametrize("kind", [OverlapEvaluator, DetailEvaluator])
def test_what_is_no_number_is_not_measured_as_background(toy: SimpleNamespace, kind: Any) -> None:
    with pytest.raises(InputError, match="has NaN or infinity"):
        kind(samples=toy.lesions()).evaluate(Nothing())


class NoGate:
    def judge(self, before: Any, after: Any, target: Any, /) -> Any:
        return None


class NoRetrainer:
    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        return None


class NoRecalibrator:
    def recalibrate(self, predictor: Any, target: Any, /) -> Any:
        return None


class NoPredictor:
    def predict(self, images: Any, /) -> Any:
        return None


class NoSelector(pladapt.CertaintyIndexSelector):
    def select(self, scores: Any, /) -> Any:
        return None


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"gates": [NoGate()]}, "NoGate.judge returned None"),
        ({"retrainer": NoRetrainer()}, "NoRetrainer.retrain returned None"),
        ({"recalibrator": NoRecalibrator()}, "NoRecalibrator.recalibrate returned None"),
        ({"selector": NoSelector()}, "NoSelector.select returned None"),
        ({"predictor": NoPredictor()}, "NoPredictor predicted NoneType"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_part_that_returns_nothing_is_named(toy: SimpleNamespace, part: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        run(toy, **part)


@dataclass
class Gate:
    """Accepts what it has not measured."""

    after: float | None
    accepted: Any = True

    def judge(self, _before: Any, _after: Any, _target: Any, /) -> pladapt.Judgement:
        row = {"measure": "own", "class": 1, "before": 0.5, "after": self.after, "passed": True}
        return pladapt.Judgement(self.accepted, (), pa.Table.from_pylist([row], schema=EVIDENCE))


def test_a_gate_that_measures_nan_refuses(toy: SimpleNamespace, tmp_path: Path) -> None:
    result = run(toy, gates=[Gate(float("nan"))], workdir=tmp_path)
    assert "Gate measured NaN" in (result.stopped or "")
    assert "own" in (pladapt.read_run(tmp_path).stopped or "")
    assert run(toy, gates=[Gate(None)]).rounds[0].stands  # undefined is not NaN


def test_a_gate_must_say_yes_or_no(toy: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="accepted=nan; give True or False"):
        run(toy, gates=[Gate(0.5, accepted=float("nan"))])


@dataclass
class Spoilt:
    """A retrainer whose training went wrong."""

    def retrain(self, _predictor: Any, _labels: Any, /) -> Any:
        return Nothing()


@pytest.mark.parametrize("gates", [(), (pladapt.DoNoHarm(),)])
def test_a_round_that_made_nan_is_refused(toy: SimpleNamespace, tmp_path: Path, gates: Any) -> None:
    result = run(toy, retrainer=Spoilt(), rounds=2, gates=gates, workdir=tmp_path)
    assert result.stopped == (
        "round 1 refused: it gives NaN or infinity for the images that it was taught with"
    )
    assert isinstance(result.predictor, type(toy.Predictor()))
    assert pladapt.read_run(tmp_path).stopped == result.stopped
