from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pladapt import DataError, InputError
from pladapt.errors import MissingDataError, RunChangedError
from pladapt.files import Files, GivenProbabilities, Grouping, ImageLayout, merge_files, score_files
from pladapt.runs import parts
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.storage import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from pladapt.files import Problem

    Write = Callable[[Path, NDArray[Any]], Path]

MAPS = np.random.default_rng(0).random((12, 9, 8), np.float32)


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    """Nine maps of two patients, a volume of three slices, and two files that cannot be used."""
    for index, values in enumerate(MAPS[:9]):
        write(tmp_path / f"maps/p{index % 2}/{index}.npy", values)
    write(tmp_path / "maps/p0/volume.npy", MAPS[9:, None])
    write(tmp_path / "maps/p1/logits.npy", MAPS[0] * 9)
    (tmp_path / "maps/p1/torn.npy").write_bytes(b"\x93NUMPY")
    return tmp_path / "maps"


def run(
    folder: Path, name: str = "scores.parquet", predictor: Any = None, **options: Any
) -> tuple[pa.Table, Sequence[Problem]]:
    output = folder.parent / name
    given: dict[str, Any] = {
        "selector": CertaintyIndexSelector(cutoff=0.6),
        "layout": ImageLayout(probabilities=True),
        "grouping": Grouping("folder"),
        "batch_size": 4,
        "max_errors": 2,
    }
    problems = score_files(
        predictor or GivenProbabilities(), Files.find(folder), output, **given | options
    )
    return read_table(output), problems


def test_every_sample_has_the_row_that_eq_1_gives(folder: Path) -> None:
    scores, _ = run(folder)
    order = [0, 2, 4, 6, 8, 9, 10, 11, 1, 3, 5, 7]
    ids = [f"p{i % 2}/{i}" if i < 9 else f"p0/volume/z{i - 9:03}" for i in order]
    assert scores["id"].to_pylist() == ids
    assert scores["group"].to_pylist() == ["p0"] * 8 + ["p1"] * 4
    assert scores["file"].to_pylist()[:6] == [f"p0/{i}.npy" for i in order[:5]] + ["p0/volume.npy"]
    above = [MAPS[i][MAPS[i] > np.float32(0.6)].astype(np.float64) for i in order]
    assert scores["pixels"].to_pylist() == [len(values) for values in above]
    np.testing.assert_allclose(scores["score"], [values.mean() for values in above], rtol=1e-7)


def test_what_cannot_be_used_is_left_out_and_told(folder: Path) -> None:
    _, problems = run(folder)
    assert [problem.name for problem in problems] == ["p1/logits", "p1/torn"]
    assert "probabilities lie in [0, 1]" in problems[0].reason
    assert "cannot be read" in problems[1].reason


def test_raise_stops_at_the_first(folder: Path) -> None:
    with pytest.raises(DataError, match="p1/logits: Its values reach"):
        run(folder, on_error="raise")
    assert not (folder.parent / "scores.parquet").exists()


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 50}, {"readers": 7}])
def test_batches_and_threads_change_nothing(folder: Path, options: dict[str, int]) -> None:
    assert run(folder, "other.parquet", **options)[0].equals(run(folder)[0])


def test_the_file_says_what_it_was_made_with(folder: Path) -> None:
    run(folder)
    told = json.loads(pq.read_schema(folder.parent / "scores.parquet").metadata[b"pladapt"])
    assert told["selector"]["cutoff"] == 0.6
    assert told["grouping"]["by"] == "folder"
    assert told["files"] == Files.find(folder).fingerprint()


class Failing:
    """Gives the images back, and fails at a call."""

    def __init__(self, error: BaseException, call: int) -> None:
        self._error, self._left = error, call
        self._seen = 0

    @property
    def seen(self) -> int:
        """How many images came."""
        return self._seen

    def describe(self) -> str:
        """Pass for the same predictor, whenever it fails."""
        return "the same"

    def predict(self, images: Any, /) -> Any:
        """Return the images, or fail."""
        self._left -= 1
        if self._left == 0:
            raise self._error
        self._seen += len(images)
        return images


@pytest.mark.parametrize("seconds", [0.0, 30.0])
@pytest.mark.parametrize("call", [1, 2, 6, 7, 8, 9, 12])
def test_an_interrupted_call_goes_on_and_ends_with_the_same_rows(
    folder: Path, call: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SECONDS", seconds)
    expected, told = run(folder, "undisturbed.parquet", Failing(KeyboardInterrupt(), 99))
    with pytest.raises(KeyboardInterrupt):
        run(folder, predictor=Failing(KeyboardInterrupt(), call), batch_size=1)
    again = Failing(KeyboardInterrupt(), 99)
    scores, problems = run(folder, predictor=again, batch_size=3)
    assert scores.equals(expected)
    assert problems == told
    assert again.seen == 12 - (call - 1)  # what was predicted is kept
    assert not (folder.parent / "scores.parquet.partial").exists()


def test_an_interrupted_call_with_other_parameters_is_refused(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, predictor=Failing(KeyboardInterrupt(), 2))
    other = CertaintyIndexSelector(cutoff=0.7)
    with pytest.raises(RunChangedError, match=r"selector\.cutoff was 0\.6 and is now 0\.7"):
        run(folder, predictor=Failing(KeyboardInterrupt(), 99), selector=other)
    shutil.rmtree(folder / "p1")
    with pytest.raises(RunChangedError, match="files was"):
        run(folder, predictor=Failing(KeyboardInterrupt(), 99))


def test_more_than_may_be_left_out_end_the_call_which_a_higher_number_continues(
    folder: Path,
) -> None:
    with pytest.raises(
        DataError, match=r"2 of 12 files .* allows 1\.(.|\n)*torn: It cannot be read"
    ):
        run(folder, predictor=Failing(KeyboardInterrupt(), 99), max_errors=0.05, batch_size=1)
    again = Failing(KeyboardInterrupt(), 99)
    scores, problems = run(folder, predictor=again, max_errors=2)
    assert again.seen < 12  # what was predicted is kept
    assert scores.equals(run(folder, "undisturbed.parquet", Failing(KeyboardInterrupt(), 99))[0])
    assert len(problems) == 2


class FailsOn:
    """A predictor that fails on dark images as a part of one's own may: by any exception."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        if images.max() < 0.1:
            raise RuntimeError("too dark")
        return images


def test_a_sample_on_which_a_part_fails_is_left_out(tmp_path: Path, write: Write) -> None:
    for index in range(6):
        write(tmp_path / f"maps/{index}.npy", np.full((4, 4), 0.05 if index == 2 else 0.9))
    scores, problems = run(tmp_path / "maps", predictor=FailsOn(), batch_size=1)
    assert scores["id"].to_pylist() == ["0", "1", "3", "4", "5"]
    assert problems[0] == ("2", "RuntimeError: too dark")


class NeedsSquares:
    """Takes images of one size alone."""

    def predict(self, images: Any, /) -> Any:
        """Return the images, if they are square, and no probabilities for dark ones."""
        if images.shape[-1] != images.shape[-2]:
            raise DataError("not square")
        return np.where(images.max(axis=(1, 2, 3), keepdims=True) < 0.1, np.nan, images)


def test_a_sample_that_the_model_refuses_does_not_take_its_batch_along(
    tmp_path: Path, write: Write
) -> None:
    for index in range(6):
        write(tmp_path / f"maps/{index}.npy", np.full((4, 4), 0.05 if index == 2 else 0.9))
    write(tmp_path / "maps/9.npy", np.full((4, 5), 0.9))
    scores, problems = run(tmp_path / "maps", predictor=NeedsSquares(), batch_size=6)
    assert scores["id"].to_pylist() == ["0", "1", "3", "4", "5"]
    assert [problem.name for problem in problems] == ["2", "9"]
    assert "NaN" in problems[0].reason
    assert problems[1].reason == "not square"


def test_predictions_of_other_classes_are_left_out(tmp_path: Path, write: Write) -> None:
    for index, channels in enumerate((3, 3, 4, 3)):
        write(tmp_path / f"maps/{index}.npy", np.full((channels, 4, 4), 1 / channels))
    scores, problems = run(tmp_path / "maps")
    assert scores["id"].to_pylist() == ["0", "1", "3"]
    assert "must have the same classes" in problems[0].reason


def test_a_folder_of_which_nothing_can_be_used_is_an_error(tmp_path: Path, write: Write) -> None:
    for index in range(12):
        write(tmp_path / f"maps/{index:02}.npy", np.full((2, 2), 7.0))
    with pytest.raises(DataError, match=r"Nothing in .* can be used") as caught:
        run(tmp_path / "maps", max_errors=1.0)
    assert "  00 and 11 more: " in str(caught.value)
    assert not (tmp_path / "scores.parquet.partial").exists()  # mended files may be tried


def test_progress_counts_files(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    run(folder, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("score", 12, 12)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_parts_that_are_merged_are_the_file_of_one_piece(folder: Path, count: int) -> None:
    run(folder)
    whole = (folder.parent / "scores.parquet").read_bytes()
    parts = []
    for number in range(1, count + 1):
        name = f"part-{number}.parquet"
        run(folder, name, part=(number, count), batch_size=number, max_errors=1.0)
        parts.append(folder.parent / name)
    rows = merge_files(parts[::-1], folder.parent / "merged.parquet")
    assert rows == 12
    assert (folder.parent / "merged.parquet").read_bytes() == whole


def test_parts_are_merged_only_where_all_are_there_and_of_the_same(folder: Path) -> None:
    for number, cutoff in ((1, 0.6), (2, 0.6), (3, 0.6), (3, 0.7)):
        selector = CertaintyIndexSelector(cutoff=cutoff)
        run(folder, f"{number}-{cutoff}.parquet", part=(number, 3), selector=selector)
    run(folder)
    merged, at = folder.parent / "merged.parquet", folder.parent
    one, two, three, other = (at / f"{n}.parquet" for n in ("1-0.6", "2-0.6", "3-0.6", "3-0.7"))
    copy, other_file = shutil.copy(two, at / "copy.parquet"), at / "other.parquet"
    pq.write_table(pq.read_table(two).replace_schema_metadata(), other_file)
    for given, said in (
        ([one, three], r"The parts are 1/3, 3/3; give each"),
        ([one, two, copy], r"1/3, 2/3, 2/3"),
        ([one, two, two, three], r"2-0\.6\.parquet is given twice"),
        ([one, two, other], "other inputs or parameters than .*: selector"),
        ([one, two, at / "scores.parquet"], "The parts are 1/1, 1/3, 2/3"),
        ([one, two, other_file], "is no file of scores; give"),
        ([one, two, at / "gone.parquet"], "There is no file of scores"),
    ):
        with pytest.raises((InputError, MissingDataError), match=said):
            merge_files(given, merged)
    assert not merged.exists()
    with pytest.raises(InputError, match="The part is 4/3"):
        run(folder, "four.parquet", part=(4, 3))
