from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pladapt
from pladapt import DataError, InputError
from pladapt.errors import LabelledTargetError, MissingDataError, RunChangedError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.plugins import PluginManager
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import SimpleNamespace

QUIET = PluginManager()


class Killed(BaseException):
    """The process ends here."""


class Clock:
    """Counts what a run does, and ends it at one of these steps."""

    def __init__(self) -> None:
        self.step, self.at = 0, -1

    def tick(self) -> None:
        self.step += 1
        if self.step == self.at:
            raise Killed

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let the clock tick before the function."""

        def ticking(*args: Any, **options: Any) -> Any:
            self.tick()
            return function(*args, **options)

        return ticking

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Let the clock tick after the function, which changes what is on the disk."""

        def ticking(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            self.tick()
            return result

        return ticking


@pytest.fixture(scope="module")
def clock(toy: SimpleNamespace) -> Iterator[Clock]:
    """Tick before every call of a part and after every change on the disk."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        for owner, names, tick in (
            (toy.Predictor, ["predict"], clock.before),
            (toy.Retrainer, ["retrain", "save", "load"], clock.before),
            (CertaintyIndexSelector, ["score", "select", "label"], clock.before),
            (OverlapEvaluator, ["evaluate"], clock.before),
            (pq, ["write_table"], clock.after),
            (os, ["replace"], clock.after),
            (Path, ["mkdir", "write_text"], clock.after),
        ):
            for name in names:
                patch.setattr(owner, name, tick(getattr(owner, name)))
        yield clock


@dataclasses.dataclass
class Runner:
    """Runs one and the same adaptation, and ends it at a step if told to."""

    toy: SimpleNamespace
    clock: Clock

    def run(self, folder: Path, at: int = -1, **changes: Any) -> pladapt.AdaptationResult:
        self.clock.step, self.clock.at = 0, at
        options = {
            "predictor": self.toy.Predictor(),
            "target": self.toy.target(),
            **self.toy.parts(),
            "rounds": 2,
            "batch_size": 4,
            "plugins": QUIET,
        }
        return pladapt.adapt(**options | changes, workdir=folder)


@pytest.fixture(scope="module")
def runner(toy: SimpleNamespace, clock: Clock) -> Runner:
    return Runner(toy, clock)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def finished(folder: Path) -> dict[str, bytes]:
    """Return the files that count: not those under way, nor the lists of what is finished."""
    passing = (".partial", "scoring/", ".lock", "digests.json")
    return {n: data for n, data in contents(folder).items() if not any(p in n for p in passing)}


@pytest.fixture(scope="module")
def undisturbed(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    runner.run(folder)
    return contents(folder)


def test_the_folder_holds_what_the_architecture_says(undisturbed: dict[str, bytes]) -> None:
    evaluation = ["digests.json", "notes.json", "samples.parquet", "summary.parquet"]
    assert sorted(undisturbed) == sorted(
        [
            "run.json",
            *(f"round-{n}/evaluations/overlap/{name}" for n in range(3) for name in evaluation),
            *(
                f"round-{n}/{name}"
                for n in (1, 2)
                for name in (
                    "digests.json",
                    "scores.parquet",
                    "selection.parquet",
                    "labels/digests.json",
                    "labels/labels.parquet",
                    "predictor/digests.json",
                    "predictor/shift.json",
                )
            ),
        ]
    )


def test_the_same_run_writes_the_same_bytes(
    runner: Runner, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    runner.run(tmp_path)
    assert contents(tmp_path) == undisturbed


def test_a_run_killed_at_any_step_leaves_whole_stages_and_ends_with_the_same_bytes(
    runner: Runner, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    expected = runner.run(tmp_path / "undisturbed").predictor
    steps = runner.clock.step
    assert steps > 60  # the clock ticks
    for at in range(1, steps + 1):
        folder = tmp_path / str(at)
        with pytest.raises(Killed):
            runner.run(folder, at)
        assert finished(folder).items() <= undisturbed.items(), at
        assert runner.run(folder).predictor == expected, at
        assert contents(folder) == undisturbed, at


@settings(max_examples=15)
@given(st.lists(st.integers(1, 60), max_size=6))
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(
    runner: Runner,
    undisturbed: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    kills: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    for at in kills:
        try:
            runner.run(folder, at)
        except Killed:
            continue
    runner.run(folder)
    assert contents(folder) == undisturbed


def test_a_refused_run_killed_at_any_step_ends_with_the_same_bytes(
    runner: Runner, tmp_path: Path
) -> None:
    collapse = {"retrainer": runner.toy.Retrainer(rate=-5), "gates": [pladapt.DoNoHarm()]}
    result = runner.run(tmp_path / "undisturbed", rounds=1, **collapse)
    undisturbed, steps = contents(tmp_path / "undisturbed"), runner.clock.step
    assert "round 1 refused" in str(result.stopped)
    assert "round-1/judgement/evidence.parquet" in undisturbed
    for at in range(1, steps + 1):
        with pytest.raises(Killed):
            runner.run(tmp_path / str(at), at, rounds=1, **collapse)
        again = runner.run(tmp_path / str(at), rounds=1, **collapse)
        assert again.predictor == runner.toy.Predictor(), at
        assert again.stopped == result.stopped, at
        assert contents(tmp_path / str(at)) == undisturbed, at


def test_a_finished_run_is_only_read(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[bool] = []

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            assert not finished, "a finished stage was run again"
            return function(*args)

        return call

    for owner, name in (
        (runner.toy.Predictor, "predict"),
        (runner.toy.Retrainer, "retrain"),
        (OverlapEvaluator, "evaluate"),
    ):
        monkeypatch.setattr(owner, name, once(getattr(owner, name)))
    first = runner.run(tmp_path)
    finished.append(True)
    again = runner.run(tmp_path)
    assert again.predictor == first.predictor
    assert again.stopped is None
    for one, other in zip(again.rounds, first.rounds, strict=True):
        assert one.scores.equals(other.scores)
        assert one.selection.table.equals(other.selection.table)
        assert one.evaluations["overlap"].summary.equals(other.evaluations["overlap"].summary)
        assert one.evaluations["overlap"].notes == other.evaluations["overlap"].notes


def test_a_finished_run_is_read_back_without_its_parts(runner: Runner, tmp_path: Path) -> None:
    result = runner.run(tmp_path)
    record = pladapt.read_run(tmp_path)
    assert record.workdir == tmp_path
    assert record.stopped is None
    assert record.before["overlap"].samples.equals(result.before["overlap"].samples)
    assert record.after["overlap"].summary.equals(result.after["overlap"].summary)
    for one, other in zip(record.rounds, result.rounds, strict=True):
        assert one.scores.equals(other.scores)
        assert one.selection.kept == other.selection.kept


def test_a_run_that_selected_nothing_is_read_back_with_the_reason(
    runner: Runner, tmp_path: Path
) -> None:
    result = runner.run(tmp_path, selector=CertaintyIndexSelector(min_pixels=10_000))
    record = pladapt.read_run(tmp_path)
    assert record.stopped == result.stopped
    assert "selected none" in str(record.stopped)
    assert len(record.rounds) == 1


@pytest.mark.parametrize(
    "lost",
    [
        "run.json",
        "round-1/scores.parquet",
        "round-1/digests.json",
        "round-2/selection.parquet",
        "round-2/evaluations",
    ],
)
def test_an_unfinished_run_is_not_read(runner: Runner, tmp_path: Path, lost: str) -> None:
    runner.run(tmp_path)
    (tmp_path / lost).rename(tmp_path / "lost")
    with pytest.raises(MissingDataError, match=r"run\.json|continue the run"):
        pladapt.read_run(tmp_path)


def test_a_retrainer_that_cannot_be_stored_retrains_and_ends_with_the_same_bytes(
    runner: Runner, tmp_path: Path
) -> None:
    class Forgetful:
        """Retrains like the toy, and has neither save nor load."""

        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            """Retrain as the toy does."""
            return runner.toy.Retrainer().retrain(predictor, labels)

    undisturbed = runner.run(tmp_path / "one", retrainer=Forgetful())
    steps = runner.clock.step
    for at in range(1, steps, 7):
        with pytest.raises(Killed):
            runner.run(tmp_path / str(at), at, retrainer=Forgetful())
        assert runner.run(tmp_path / str(at), retrainer=Forgetful()).predictor == (
            undisturbed.predictor
        )
        assert contents(tmp_path / str(at)) == contents(tmp_path / "one")


def test_what_a_killed_process_left_aside_is_cleared(
    runner: Runner, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    for name in (
        ".run.json",
        "round-1/.scores.parquet",
        "round-1/labels/.labels.parquet",
        "round-2/.selection.parquet",
    ):
        path = tmp_path / f"{name}.partial"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half a file")
    for name in ("round-1/.predictor", "round-0/evaluations/.overlap"):
        (tmp_path / f"{name}.partial").mkdir(parents=True)
        (tmp_path / f"{name}.partial" / "half").write_bytes(b"half a file")
    runner.run(tmp_path)
    assert contents(tmp_path) == undisturbed


def test_a_damaged_stage_is_named_and_can_be_made_again(
    runner: Runner, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    runner.run(tmp_path)
    tables = [name for name in undisturbed if name.endswith(".parquet")]
    assert {f"round-{n}/scores.parquet" for n in (1, 2)} < set(tables)
    for name in tables:
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DataError, match=f"{name} is not .*: it is damaged. Delete ") as caught:
            runner.run(tmp_path)
        (stage,) = re.findall(r"Delete (\S+), and run the same", str(caught.value))
        shutil.rmtree(stage) if Path(stage).is_dir() else Path(stage).unlink()
        runner.run(tmp_path)
        assert contents(tmp_path) == undisturbed, name


# Continuing with something else


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda toy: {"rounds": 3}, "rounds was 2 and is now 3"),
        (lambda toy: {"batch_size": 5}, "batch_size was 4 and is now 5"),
        (lambda toy: {"predictor": toy.Predictor(0.1)}, r"predictor.shift was 0.0 and is now 0.1"),
        (
            lambda toy: {"selector": toy.parts(top_k=4)["selector"]},
            "selector.top_k was 3 and is now 4",
        ),
        (
            lambda toy: {"selector": toy.parts(ci_limit=None)["selector"]},
            "selector.ci_limit was 0.6 and is now None",
        ),
        (lambda toy: {"retrainer": toy.Retrainer(0.5)}, "retrainer.rate was 0.25 and is now 0.5"),
        (lambda toy: {"evaluators": {}}, "evaluators.overlap.* and is now 'nothing'"),
        (lambda toy: {"target": toy.target()[:-1]}, "target.samples was 7 and is now 6"),
    ],
)
def test_a_changed_parameter_is_named(
    runner: Runner, tmp_path: Path, change: Any, message: str
) -> None:
    runner.run(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RunChangedError, match=message):
        runner.run(tmp_path, **change(runner.toy))
    assert contents(tmp_path) == before


def test_every_changed_parameter_is_named(runner: Runner, tmp_path: Path) -> None:
    runner.run(tmp_path)
    with pytest.raises(RunChangedError, match=r"batch_size was .*; rounds was .*Give the same"):
        runner.run(tmp_path, rounds=1, batch_size=1)


def test_a_changed_image_is_named(runner: Runner, tmp_path: Path) -> None:
    runner.run(tmp_path)
    target = runner.toy.target()
    image = target[4].image.copy()
    image[0, 5, 5] = np.nextafter(image[0, 5, 5], 1)
    target[4] = dataclasses.replace(target[4], image=image)
    with pytest.raises(RunChangedError, match=r"sample 4, 's4', .*: sha256 was '\w+' and is"):
        runner.run(tmp_path, target=target)


@pytest.mark.parametrize("change", [{"id": "other"}, None], ids=["renamed", "reordered"])
def test_a_changed_id_is_named(runner: Runner, tmp_path: Path, change: Any) -> None:
    runner.run(tmp_path)
    target = runner.toy.target()
    if change:
        target[2] = dataclasses.replace(target[2], **change)
    else:
        target[2], target[3] = target[3], target[2]
    with pytest.raises(RunChangedError, match=r"sample 2, 's2', .*id was 's2' and is '(other|s3)'"):
        runner.run(tmp_path, target=target)


def test_a_labelled_sample_is_refused_in_a_continued_run_too(
    runner: Runner, tmp_path: Path
) -> None:
    runner.run(tmp_path)
    target = [*runner.toy.target()[:5], *runner.toy.lesions()[5:]]
    with pytest.raises(LabelledTargetError, match="'s5' has a mask"):
        runner.run(tmp_path, target=target)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {}}', "\x00"], ids=repr)
def test_a_broken_manifest_is_refused(runner: Runner, tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run.json is .*use another folder"):
        runner.run(tmp_path)


def test_the_manifest_tells_what_was_asked_and_with_what(
    undisturbed: dict[str, bytes],
) -> None:
    manifest = json.loads(undisturbed["run.json"])
    assert manifest["config"]["rounds"] == 2
    assert manifest["config"]["selector"]["cutoff"] == 0.5
    assert manifest["config"]["selector"]["type"].endswith("CertaintyIndexSelector")
    (environment,) = manifest["environments"]
    assert environment["packages"]["pladapt"] == pladapt.__version__
    assert environment["packages"]["numpy"] == np.__version__


def test_a_part_that_refers_to_itself_is_refused_before_anything_is_written(
    runner: Runner, tmp_path: Path
) -> None:
    class Looped:
        """A retrainer with a way back to itself."""

        def __init__(self) -> None:
            self.parent = {"child": self}

        def retrain(self, predictor: Any, _labels: Any, /) -> Any:
            """Return the predictor."""
            return predictor

    with pytest.raises(InputError, match=r"refers to itself.*give it a method describe"):
        runner.run(tmp_path / "run", retrainer=Looped())
    assert not (tmp_path / "run").exists()
