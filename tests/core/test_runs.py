from __future__ import annotations

import enum
import functools
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import DataError, Evaluation, Sample
from pladapt.data.views import Subset
from pladapt.runs.labels import PseudoLabels, StoredLabels, packed_labels, write_labels
from pladapt.runs.manifest import describe, fingerprint, open_run
from pladapt.runs.stages import read_evaluation, write_evaluation
from pladapt.storage import atomic_write, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class Colour(enum.Enum):
    """Two values."""

    RED = 1
    BLUE = 2


class Part:
    """A part with attributes, of which a hidden one counts too."""

    def __init__(self, rate: Any) -> None:
        self.rate = rate
        self._doubled = [rate, rate]


@dataclass
class Options:
    """A dataclass with a private field."""

    rate: Any
    _seen: int = field(default=0, compare=False, repr=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.5),
        (True, False),
        ("a", "b"),
        (None, 0),
        (np.int64(3), np.int64(4)),
        (np.float32(0.5), np.float32(0.25)),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (frozenset("ab"), frozenset("ac")),
        (np.zeros(3), np.ones(3)),
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3, np.float32), np.zeros(3, np.int32)),
        (Colour.RED, Colour.BLUE),
        (Path("a"), Path("b")),
        (math.sin, math.cos),
        (functools.partial(math.pow, 2), functools.partial(math.pow, 3)),
        (functools.partial(int, base=2), functools.partial(int, base=3)),
        (Part, Options),
        (Part(1), Part(2)),
        (Part(1), Options(1)),
        (Part([{"deep": np.zeros(2)}]), Part([{"deep": np.ones(2)}])),
        (Options(Part(1)), Options(Part(2))),
    ],
)
def test_a_description_changes_when_the_value_does(one: Any, other: Any) -> None:
    assert json.dumps(describe(one)) == json.dumps(describe(one))
    assert json.dumps(describe(one)) != json.dumps(describe(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Part(1), Part(1)),
        (Options(1, 0), Options(1, 7)),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        ({"one", "two", "three"}, {"three", "two", "one"}),
        (np.ones((4, 4))[::2], np.ones((2, 4))),
    ],
)
def test_what_does_not_count_does_not_change_a_description(one: Any, other: Any) -> None:
    assert describe(one) == describe(other)


def test_an_array_is_described_the_same_in_every_library(xp: Any) -> None:
    values = np.array([[1, 2]], np.float32)
    assert describe(xp.asarray(values)) == describe(values)
    assert describe(xp.asarray(values)) != describe(xp.asarray(values + 1))


def test_a_part_may_describe_itself() -> None:
    class Own:
        def describe(self) -> dict[str, int]:
            return {"version": 3}

    assert describe([Own()]) == [{"version": 3}]
    assert "Own" in describe(Own)  # the class is not an instance


def test_samples_count_by_what_they_hold(toy: Any) -> None:
    samples, labelled = toy.target(), toy.lesions()
    said = describe({"samples": samples})["samples"]
    assert said["samples"] == 7
    assert describe(tuple(samples)) == describe(Subset(samples, range(7))) == said
    mask = labelled[3].mask.copy()
    mask[0, 0] = 1 - mask[0, 0]
    changed = [*labelled[:3], replace(labelled[3], mask=mask), *labelled[4:]]
    assert len({json.dumps(describe(each)) for each in (samples, labelled, changed)}) == 3


class Slotted:
    """A part without a dictionary."""

    __slots__ = ("_rate",)

    def __init__(self, rate: float) -> None:
        self._rate = rate


class Network:
    """What has a state as a torch module has."""

    def __init__(self, weights: Any) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _index: int) -> Any:
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""
        return {"weights": self._weights}


def closed(rate: float) -> Any:
    """Return a function that knows a number."""
    return lambda x: x * rate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Slotted(1), Slotted(2)),
        (Network(np.zeros(3)), Network(np.ones(3))),
        (Part(Network(np.zeros(3))), Part(Network(np.ones(3)))),
        (closed(1), closed(2)),
        (Part(closed(1)), Part(closed(2))),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, y=1: x + y, lambda x, y=2: x + y),
        (range(3), range(4)),
        (b"one", b"two"),
    ],
)
def test_what_is_hidden_in_a_part_changes_its_description(one: Any, other: Any) -> None:
    assert describe(one) == describe(one)
    assert describe(one) != describe(other)


def test_the_code_of_a_part_of_ones_own_counts() -> None:
    def made(source: str) -> Any:
        names: dict[str, Any] = {"__name__": "my_script"}
        exec(source, names)  # noqa: S102 - a script that someone edits between two runs
        return names["Mine"]()

    text = "class Mine:\n    def predict(self, images):\n        return images * {}\n"
    assert describe(made(text.format(1))) == describe(made(text.format(1)))
    assert describe(made(text.format(1))) != describe(made(text.format(2)))


def test_a_fingerprint_is_of_the_values_the_shape_and_the_type() -> None:
    image = np.arange(12.0).reshape(1, 3, 4)
    assert fingerprint(image) == fingerprint(np.asfortranarray(image))
    assert fingerprint(image) != fingerprint(image.reshape(1, 4, 3))
    assert fingerprint(image) != fingerprint(image.astype(np.float32))
    assert fingerprint(np.zeros((1, 0, 3))) != fingerprint(np.zeros((1, 3, 0)))


# Labels

LABELS = st.lists(
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6).flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 254, 255]))
    ),
    max_size=5,
)


def write(labels: Iterable[tuple[str, Any]], path: Path) -> None:
    write_labels([packed_labels(labels)], path)


@settings(max_examples=30)
@given(LABELS)
def test_labels_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, labels: list[NDArray[np.uint8]]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    write(((f"s{i}", {"label": label}) for i, label in enumerate(labels)), path)
    target = [Sample(f"s{i}", "p", label[None] / 255) for i, label in enumerate(labels)]
    read = PseudoLabels(target, range(len(target)), [0.5] * len(target), path)
    assert len(read) == len(labels)
    alone = StoredLabels(path)
    assert [alone[i][0] for i in range(len(alone))] == [sample.id for sample in target]
    for index, label in enumerate(labels):
        np.testing.assert_array_equal(alone[index][1]["label"], label, strict=True)
    for index, label in enumerate(labels):
        np.testing.assert_array_equal(read[index].label, label, strict=True)
        assert read[index].label.flags.writeable
        assert (read[index].probabilities, read[index].weight) == (None, None)


@settings(max_examples=30)
@given(
    probabilities=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=4, max_side=5),
        elements=st.floats(0, 1, width=32),
    ),
    names=st.sets(st.sampled_from(["probabilities", "weight"]), min_size=1),
)
def test_soft_labels_are_read_to_within_half_a_step(
    tmp_path_factory: pytest.TempPathFactory, probabilities: NDArray[np.float32], names: set[str]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    soft = {"probabilities": probabilities, "weight": probabilities[0]}
    label = (probabilities[0] > 0.5).astype(np.uint8)
    write([("a", {"label": label} | {name: soft[name] for name in names})], path)
    read = PseudoLabels([Sample("a", "p", probabilities)], [0], [0.5], path)[0]
    np.testing.assert_array_equal(read.label, label)
    for name, given_ in soft.items():
        array = getattr(read, name)
        if name in names:
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, given_, rtol=0, atol=1 / 510 + 1e-6)
            assert array.min() >= 0
            assert array.max() <= 1
        else:
            assert array is None


def test_labels_that_are_no_contiguous_memory_are_written_too(tmp_path: Path) -> None:
    label = np.arange(24, dtype=np.uint8).reshape(4, 6).T[::-1]
    write([("a", {"label": label})], tmp_path / "labels.parquet")
    read = PseudoLabels([Sample("a", "p", label[None])], [0], [1.0], tmp_path / "labels.parquet")
    np.testing.assert_array_equal(read[0].label, label)


def test_labels_take_little_room(tmp_path: Path) -> None:
    label = np.zeros((512, 512), np.uint8)
    label[100:200, 50:300] = 1
    write(((f"s{i}", {"label": label}) for i in range(100)), tmp_path / "labels.parquet")
    assert (tmp_path / "labels.parquet").stat().st_size < 100 * 600


# Tables and evaluations


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "score": [0.5, math.nan], "rule": ["x", None]})
    write_table(table, tmp_path / "deep" / "t.parquet")
    read = read_table(tmp_path / "deep" / "t.parquet")
    assert read.schema == table.schema
    assert str(read.to_pylist()) == str(table.to_pylist())


def test_a_file_that_is_cut_off_anywhere_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(pa.table({"id": ["a", "b"], "score": [0.5, 0.25]}), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"t.parquet is no whole parquet file .*delete it"):
            read_table(path)


def test_a_file_whose_inside_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(pa.table({"id": ["a", "b"], "score": [0.5, 0.25]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-60] + bytes(52) + whole[-8:])
    with pytest.raises(DataError, match=r"t\.parquet is no whole parquet file"):
        read_table(path)


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.parquet")


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    evaluation = Evaluation(
        pa.table({"id": ["ä"], "group": ["p"], "dsc": [0.5]}),
        pa.table({"aggregation": ["pooled"], "class": [1], "metric": ["dsc"], "mean": [0.5]}),
        {"empty_dsc": "1", "remark": "für alle"},
    )
    write_evaluation(evaluation, tmp_path / "overlap")
    read = read_evaluation(tmp_path / "overlap")
    assert read.samples.equals(evaluation.samples)
    assert read.summary.equals(evaluation.summary)
    assert read.notes == evaluation.notes


def test_what_fails_half_way_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "stage"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:  # noqa: PT012 - fails inside
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with atomic_write(path) as temporary:
        assert not temporary.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("of before")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:  # noqa: PT012 - fails inside
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


# The manifest


def test_each_environment_a_run_was_continued_in_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("3.11.1", "3.11.1", "3.12.9"):
        monkeypatch.setattr("platform.python_version", lambda version=version: version)
        open_run(tmp_path, {"rounds": 1})
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert [e["python"] for e in manifest["environments"]] == ["3.11.1", "3.12.9"]


def test_a_number_that_is_none_equals_itself(tmp_path: Path) -> None:
    for _ in range(2):
        open_run(tmp_path, {"limit": math.nan, "deep": [{"limit": math.inf}]})


def test_labels_of_other_samples_are_refused(tmp_path: Path) -> None:
    label = np.zeros((2, 2), np.uint8)
    path = tmp_path / "labels.parquet"
    write([("a", {"label": label})], path)
    target = [Sample(name, "p", label[None]) for name in "ab"]
    with pytest.raises(DataError, match="labels of 1 samples, and the target has 2; delete it"):
        PseudoLabels(target, [0], [1.0], path)
