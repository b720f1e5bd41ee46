"""Saved files are whole, checked, and written by one process at a time."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pladapt
from pladapt import DataError, InputError, PladaptError, Sample
from pladapt.errors import BusyError, DiskFullError, MissingDataError
from pladapt.plugins import PluginManager
from pladapt.runs import labels as stored_labels
from pladapt.runs import parts
from pladapt.runs.labels import StoredLabels, packed_labels, write_labels
from pladapt.runs.manifest import locked_run, open_run
from pladapt.runs.parts import Parts
from pladapt.storage import (
    FORMAT,
    atomic_write,
    is_stored,
    locked,
    read_json,
    read_stored_table,
    stored_folder,
    sweep,
    to_json,
    write_stored_table,
)
from pladapt.storage.tables import blocks
from pladapt.types import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import SimpleNamespace

FLIPS = int(os.environ.get("PLADAPT_FLIPS", "100"))
TABLE = pa.table({"id": ["a", "b"], "score": [0.5, 0.25]})


# Whole or not there


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    replace = os.replace

    def note(*paths: Path) -> None:
        order.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", lambda _file: order.append("flush"))
    monkeypatch.setattr(os, "replace", note)
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert order == ["flush", "rename", "flush"]  # the file, and the folder that names it


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to finish
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole_and_only_one_of_ours(tmp_path: Path) -> None:
    for number in (1, 2):
        with stored_folder(tmp_path / "stage") as folder:
            (folder / str(number)).write_text("")
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["2", "digests.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(InputError, match="mine is there already and holds something else"):
        stored_folder(tmp_path / "mine").__enter__()
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "deep/.folder.0a.partial/more").mkdir(parents=True)
    (tmp_path / "deep/.file.0b.partial").write_text("half")
    (tmp_path / "deep/.hidden").write_text("mine")
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [".hidden"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(*_args: Any, **_options: Any) -> None:
        raise OSError(code, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(DiskFullError, match=r": .*t\.parquet could not .* run the same") as caught:
        write_stored_table(TABLE, tmp_path / "t.parquet")
    assert caught.value.errno == code
    assert list(tmp_path.iterdir()) == []


# Checked when it is read


def test_a_file_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path)
    assert not is_stored(path)
    with pytest.raises(MissingDataError, match="never finished"):
        read_stored_table(path)
    write_stored_table(TABLE, path)
    assert is_stored(path)
    assert read_stored_table(path).equals(TABLE)


@pytest.mark.parametrize(
    ("version", "age"), [(FORMAT + 1, "newer"), (FORMAT - 1, "older"), (None, "no")]
)
def test_another_version_of_the_format_is_refused(tmp_path: Path, version: Any, age: str) -> None:
    open_run(tmp_path, {"rounds": 1})
    path = tmp_path / "run.json"
    value = json.loads(path.read_text()) | {"format": version}
    path.write_text(to_json(value))
    with pytest.raises(
        DataError, match=rf"is of .*{age}.* version .*Use the pladapt that wrote it"
    ):
        open_run(tmp_path, {"rounds": 1})


@given(st.binary(max_size=40) | st.integers(1, 100_000).map(lambda n: b'{"a":' * n))
def test_no_json_is_read_without_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "some.json"
    path.write_bytes(data)
    try:
        read_json(path)
    except DataError as error:
        assert "some.json" in str(error)  # noqa: PT017 - some bytes are JSON


class Accepting:
    """A gate that accepts every round."""

    def judge(self, _before: Any, _after: Any, _target: Any, /) -> pladapt.Judgement:
        """Accept."""
        return pladapt.Judgement(accepted=True, reasons=(), evidence=EVIDENCE.empty_table())


@pytest.fixture(scope="module")
def adapt(toy: SimpleNamespace) -> Callable[[Path], pladapt.AdaptationResult]:
    """Run an adaptation with every kind of stage."""

    def adapt(folder: Path) -> pladapt.AdaptationResult:
        return pladapt.adapt(
            toy.Predictor(),
            toy.target(),
            **toy.parts(),
            gates=[Accepting()],
            workdir=folder,
            plugins=PluginManager(),
        )

    return adapt


def whole(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_flipped_bit_is_never_silent_and_never_raw(
    adapt: Callable[[Path], pladapt.AdaptationResult], tmp_path: Path
) -> None:
    folder, draw = tmp_path / "run", np.random.default_rng(0)
    adapt(folder)
    files = whole(folder)
    assert {name.rpartition("/")[2] for name in files} == {
        "run.json",
        "digests.json",
        "scores.parquet",
        "selection.parquet",
        "labels.parquet",
        "shift.json",
        "evidence.parquet",
        "judgement.json",
        "samples.parquet",
        "summary.parquet",
        "notes.json",
    }
    for number in range(FLIPS):
        name = list(files)[number % len(files)]
        damaged = bytearray(files[name])
        place = int(draw.integers(len(damaged)))
        damaged[place] ^= 1 << int(draw.integers(8))
        (folder / name).write_bytes(damaged)
        with pytest.raises(DataError, match=r"delete|Delete|another folder") as caught:
            adapt(folder)
        assert name in str(caught.value), (name, place)
        (folder / name).write_bytes(files[name])
    assert whole(folder) == files


def test_what_is_deleted_as_told_is_made_again(
    adapt: Callable[[Path], pladapt.AdaptationResult], tmp_path: Path
) -> None:
    adapt(tmp_path)
    files = whole(tmp_path)
    for name in files.keys() - {"run.json"}:
        (tmp_path / name).write_bytes(b"damaged" + files[name])
        with pytest.raises(DataError) as caught:
            adapt(tmp_path)
        told = str(caught.value).partition("elete ")[2].partition(", and run")[0]
        told = told.partition(" and run")[0]
        path = tmp_path / os.path.relpath(told, tmp_path)
        assert path != tmp_path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        adapt(tmp_path)
        assert whole(tmp_path) == files, name


def test_stages_without_a_manifest_are_refused(
    adapt: Callable[[Path], pladapt.AdaptationResult], tmp_path: Path
) -> None:
    adapt(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(DataError, match=r"has .*round-.* of a run, and no run\.json"):
        adapt(tmp_path)


def test_another_sample_s_label_is_refused(tmp_path: Path) -> None:
    path, image = tmp_path / "labels.parquet", np.zeros((1, 2, 2))
    label = {"label": np.zeros((2, 2), np.uint8)}
    write_labels([packed_labels([("a", label), ("b", label)])], path)
    target = [Sample("b", "p", image), Sample("a", "p", image)]
    with pytest.raises(DataError, match="sample 0 is of 'a', and the target's is 'b'"):
        stored_labels.PseudoLabels(target, [0], [1.0], path)[0]


# In parts


def test_parts_are_read_by_the_next_process(tmp_path: Path) -> None:
    one = Parts(tmp_path / "parts")
    one.add(TABLE)
    one.add(TABLE)
    one.write({"next": 2})
    one.write("empty")
    other = Parts(tmp_path / "parts")
    assert other.notes() == [{"next": 2}, "empty"]
    assert [len(table) for table in other.tables(["id"])] == [4]
    other.add(TABLE)
    other.write()
    assert sum(len(table) for table in other.tables()) == 6
    other.remove()
    assert Parts(tmp_path / "parts").schema is None


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 5))
def test_blocks_do_not_depend_on_how_rows_came(sizes: list[int], rows: int) -> None:
    numbers = iter(range(sum(sizes)))
    rows_of = [pa.array([next(numbers) for _ in range(size)], pa.int64()) for size in sizes]
    tables = [pa.table({"n": array}) for array in rows_of]
    made = list(blocks(tables, rows))
    assert [n for block in made for n in block["n"].to_pylist()] == list(range(sum(sizes)))
    assert all(len(block) == rows for block in made[:-1])


@given(st.lists(st.integers(1, 3), max_size=6))
def test_a_file_of_labels_does_not_depend_on_how_they_came(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    draw = np.random.default_rng(0)
    each = [
        (f"s{i}", {"label": draw.integers(0, 255, (9, 9)).astype(np.uint8)})
        for i in range(sum(sizes))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_labels, "_GROUP", 200)  # bytes: a few labels
        left = iter(each)
        tables = [packed_labels(itertools.islice(left, size)) for size in sizes]
        write_labels(iter(tables), folder / "parts")
        write_labels([packed_labels(each)], folder / "whole")
        patch.setattr(stored_labels, "_KEPT", 1)
        stored = StoredLabels(folder / "whole")
        for index in range(len(each) - 1, -1, -1):
            id_, arrays = stored[index]
            assert id_ == each[index][0]
            np.testing.assert_array_equal(arrays["label"], each[index][1]["label"])
    assert (folder / "parts").read_bytes() == (folder / "whole").read_bytes()


@pytest.mark.parametrize("seconds", [0.0, 60.0])
@pytest.mark.parametrize("end", [ValueError("batch 5"), KeyboardInterrupt(), MemoryError()])
def test_what_was_scored_before_an_error_is_not_scored_again(
    toy: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
    seconds: float,
) -> None:
    monkeypatch.setattr(parts, "SECONDS", seconds)
    predict, calls = toy.Predictor.predict, []
    once = 7 + 1  # each sample, and one of them by what was trained

    def failing(self: Any, images: Any) -> Any:
        calls.append(len(images))
        if len(calls) == once + 5:
            raise end
        return predict(self, images)

    def run(folder: Path) -> None:
        given = toy.parts() | {"evaluators": {}, "batch_size": 1, "plugins": PluginManager()}
        given |= {"on_error": "raise"}
        pladapt.adapt(toy.Predictor(), toy.target(), **given, workdir=folder)

    monkeypatch.setattr(toy.Predictor, "predict", failing)
    run(tmp_path / "undisturbed")
    with pytest.raises(type(end)):
        run(tmp_path / "run")
    run(tmp_path / "run")
    assert len(calls) == once + 5 + (once - 4)
    assert whole(tmp_path / "run") == whole(tmp_path / "undisturbed")


def test_an_image_that_changed_in_the_middle_of_a_pass_is_named(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = toy.parts() | {"evaluators": {}, "batch_size": 1, "plugins": PluginManager()}
    given |= {"on_error": "raise"}
    target = toy.target()
    broken = [*target[:4], Sample("bad", "p", np.full((1, 6, 6), np.nan)), *target[5:]]
    with pytest.raises(PladaptError):
        pladapt.adapt(toy.Predictor(), broken, **given, workdir=tmp_path)
    changed = [Sample("s0", "p0", target[0].image + 0.01), *broken[1:4], *target[4:]]
    with pytest.raises(pladapt.errors.RunChangedError, match="sample 0, 's0', has changed"):
        pladapt.adapt(toy.Predictor(), changed, **given, workdir=tmp_path)
    mended = pladapt.adapt(toy.Predictor(), target, **given, workdir=tmp_path)
    assert mended.rounds[0].scores["id"].to_pylist() == [f"s{i}" for i in range(7)]


# One writer


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a run folder."""
    program = f"""
        import sys
        from pathlib import Path
        from pladapt.runs.manifest import locked_run
        with locked_run(Path({str(tmp_path)!r}), {{"rounds": 1}}):
            print("holding", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_who_is_first(
    writer: subprocess.Popen[str], tmp_path: Path
) -> None:
    held = pytest.raises(BusyError, match=f"is being written by process {writer.pid} on")
    with held, locked_run(tmp_path, {"rounds": 1}):
        pytest.fail("two writers")
    writer.kill()
    writer.wait()
    with locked_run(tmp_path, {"rounds": 1}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_that_cannot_be_written_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_args: Any, **_options: Any) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr("pathlib.Path.open", denied)
    with locked(tmp_path / ".lock"):
        assert not (tmp_path / ".lock").exists()
