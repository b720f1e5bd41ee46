"""A target that is labelled in parts, and the run that joins them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from pladapt import DataError, InputError, Recipe
from pladapt.errors import MissingDataError, RunChangedError
from pladapt.plugins import PluginManager
from pladapt.runs.manifest import environment, read_manifest
from pladapt.runs.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from pladapt import AdaptationResult, Sample

QUIET = PluginManager()


class Counted:
    """A target that knows what was asked for."""

    def __init__(self, samples: list[Sample], broken: tuple[int, ...] = ()) -> None:
        self.samples, self.broken = samples, broken

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise DataError("This file is cut short.")
        return self.samples[index]


@dataclasses.dataclass
class Work:
    """One adaptation, whole or in parts."""

    toy: SimpleNamespace
    broken: tuple[int, ...] = ()
    recipe: Recipe = dataclasses.field(init=False)
    predicted: int = 0

    def __post_init__(self) -> None:
        parts = self.toy.parts()
        self.evaluators = parts.pop("evaluators")
        self.recipe = Recipe(**parts, rounds=2, batch_size=2)

    @property
    def target(self) -> Any:
        return Counted(self.toy.target(count=7), self.broken)

    def predictor(self) -> Any:
        predictor, work = self.toy.Predictor(), self

        class Counting(type(predictor)):  # type: ignore[misc]
            def predict(self, images: Any, /) -> Any:
                work.predicted += len(images)
                return super().predict(images)

            def describe(self) -> str:
                return "counting"

        return Counting()

    def part(self, number: int, count: int, folder: Path, **options: Any) -> int:
        return self.recipe.label_part(
            self.predictor(),
            self.target,
            (number, count),
            workdir=folder,
            evaluators=self.evaluators,
            **options,
        )

    def whole(self, folder: Path, **options: Any) -> AdaptationResult:
        return self.recipe.adapt(
            self.predictor(),
            self.target,
            workdir=folder,
            evaluators=self.evaluators,
            plugins=QUIET,
            **options,
        )


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("broken", [(), (6,)])
def test_parts_in_any_order_end_as_one_piece_does(
    toy: SimpleNamespace, tmp_path: Path, count: int, broken: tuple[int, ...]
) -> None:
    work = Work(toy, broken)
    work.whole(tmp_path / "one")
    numbers = sorted(range(1, count + 1), key=lambda number: (number % 2, -number))
    sizes = [work.part(number, count, tmp_path / "parts") for number in numbers]
    assert sum(sizes) == 7
    work.whole(tmp_path / "parts")
    assert files(tmp_path / "parts") == files(tmp_path / "one")


def test_the_run_predicts_nothing_again_for_its_labels(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    work = Work(toy)
    work.whole(tmp_path / "one")
    in_one_piece, work.predicted = work.predicted, 0
    for number in (1, 2):
        work.part(number, 2, tmp_path / "parts")
    assert work.predicted == 7
    work.part(1, 2, tmp_path / "parts")  # a part that is done
    assert work.predicted == 7
    work.whole(tmp_path / "parts")
    assert work.predicted == in_one_piece
    work.part(1, 2, tmp_path / "parts")  # and what a late job does
    assert work.predicted == in_one_piece
    assert not (tmp_path / "parts" / "parts").exists()


def test_a_missing_or_unfinished_part_is_named(toy: SimpleNamespace, tmp_path: Path) -> None:
    work = Work(toy)
    work.part(1, 3, tmp_path)
    with pytest.raises(MissingDataError, match=r"2, 3 are not finished.* --part 2/3"):
        work.whole(tmp_path)
    work.part(2, 3, tmp_path)

    def end(_stage: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.part(3, 3, tmp_path, progress=end)
    with pytest.raises(MissingDataError, match="3 is not finished"):
        work.whole(tmp_path)
    work.part(3, 3, tmp_path)
    work.whole(tmp_path)
    work.whole(tmp_path.with_name("one"))
    assert files(tmp_path) == files(tmp_path.with_name("one"))


def test_joining_that_is_killed_goes_on(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(toy)
    work.whole(tmp_path / "one")
    for number in (1, 2, 3):
        work.part(number, 3, tmp_path / "parts")
    writes = 0
    write = Parts.write

    def killed(self: Parts, note: Any = None) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:
            raise KeyboardInterrupt
        write(self, note)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            work.whole(tmp_path / "parts")
    work.whole(tmp_path / "parts")
    assert files(tmp_path / "parts") == files(tmp_path / "one")


def test_parts_of_something_else_are_not_joined(toy: SimpleNamespace, tmp_path: Path) -> None:
    work = Work(toy)
    work.part(1, 2, tmp_path)
    work.part(2, 2, tmp_path)
    other = Work(toy)
    other.recipe = dataclasses.replace(other.recipe, batch_size=4)
    with pytest.raises(RunChangedError, match="batch_size was 2 and is now 4"):
        other.part(2, 2, tmp_path)
    with pytest.raises(RunChangedError, match="batch_size was 2 and is now 4"):
        other.whole(tmp_path)


def test_parts_of_two_divisions_are_refused(toy: SimpleNamespace, tmp_path: Path) -> None:
    work = Work(toy)
    work.part(1, 2, tmp_path)
    with pytest.raises(InputError, match="has parts of 2, and this is one of 3"):
        work.part(1, 3, tmp_path)
    (tmp_path / "parts" / "1-of-3").mkdir()  # as where two began at once
    with pytest.raises(InputError, match=r"parts of 2 and of 3; delete .*/\*-of-2 or .*-of-3"):
        work.whole(tmp_path)


def test_samples_that_cannot_be_used_count_together(toy: SimpleNamespace, tmp_path: Path) -> None:
    work = Work(toy, broken=(1, 5))
    for number in (1, 2):  # each has one, which the limit allows
        work.part(number, 2, tmp_path)
    with pytest.raises(DataError, match="2 of 7 samples cannot be used"):
        work.whole(tmp_path)
    result = work.whole(tmp_path, max_errors=2)
    assert result.left_out["position"].to_pylist() == [1, 5]


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0)])
def test_there_is_no_such_part(toy: SimpleNamespace, tmp_path: Path, part: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="give its number from 1"):
        Work(toy).part(*part, tmp_path)


def test_what_looks_at_the_whole_target_first_is_not_divided(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    class Recalibrator:
        def recalibrate(self, predictor: Any, target: Any, /) -> Any:
            raise AssertionError

    work = Work(toy)
    work.recipe = dataclasses.replace(work.recipe, recalibrator=Recalibrator())
    with pytest.raises(InputError, match="looks at all images"):
        work.part(1, 2, tmp_path)


def test_the_manifest_says_where_parts_were_made(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, here = Work(toy), environment()
    for number in (1, 2):
        there = here | {"machine": f"node-{number}"}
        with monkeypatch.context() as patch:
            patch.setattr("pladapt.runs.manifest.environment", lambda there=there: there)
            work.part(number, 2, tmp_path)
    work.whole(tmp_path)
    machines = {each["machine"] for each in read_manifest(tmp_path)["environments"]}
    assert machines == {"node-1", "node-2", here["machine"]}
