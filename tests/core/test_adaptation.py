from __future__ import annotations

import dataclasses
import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pladapt
from pladapt import CertaintyIndexSelector, InputError, Rules, Sample, Verdict
from pladapt.errors import LabelledTargetError, MissingDataError, RunChangedError
from pladapt.plugins import PluginManager
from pladapt.types import Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import SimpleNamespace

QUIET = PluginManager()


def test_the_surest_samples_teach_the_predictor(toy: SimpleNamespace, tmp_path: Path) -> None:
    given_ = toy.Predictor()
    result = pladapt.adapt(given_, toy.target(), **toy.parts(), workdir=tmp_path / "run")
    (done,) = result.rounds
    assert done.selection.kept == ("s0", "s1", "s2")
    assert done.selection.counts == {"kept": 3, "top_k": 3, "limit": 1}
    assert done.selection.dropped["s6"] == "limit"
    assert given_.shift == 0 < result.predictor.shift  # type: ignore[attr-defined]  # the toy's
    assert result.after["overlap"].value("dsc") > result.before["overlap"].value("dsc")
    assert result.stopped is None
    assert result.verdict == Verdict("adapted", "trained in 1 round")
    assert result.workdir == tmp_path / "run"


def test_the_scores_have_a_row_per_sample_in_the_target_s_order(toy: SimpleNamespace) -> None:
    target = toy.target()
    scores = pladapt.adapt(toy.Predictor(), target, **toy.parts(), batch_size=3).rounds[0].scores
    assert scores.column_names == ["id", "group", "sha256", "score", "pixels"]
    assert scores["id"].to_pylist() == [sample.id for sample in target]
    assert scores["group"].to_pylist() == [sample.group for sample in target]
    expected = [sample.image[sample.image > 0.5].mean() for sample in target]
    np.testing.assert_allclose(scores["score"].to_numpy(), expected)


class Recorder:
    """A retrainer that only looks at what it is given."""

    def __init__(self) -> None:
        self.seen: Any = None

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Keep what came, and give the same predictor back."""
        self.seen = (predictor, [labels[index] for index in range(len(labels))])
        with pytest.raises(IndexError):
            labels[len(labels)]
        assert labels[-1].id == self.seen[1][-1].id
        return predictor


def test_the_retrainer_is_given_the_kept_samples_the_surest_first(toy: SimpleNamespace) -> None:
    target, recorder, predictor = toy.target(), Recorder(), toy.Predictor()
    parts = toy.parts() | {"retrainer": recorder}
    scores = pladapt.adapt(predictor, target, **parts).rounds[0].scores["score"].to_pylist()
    seen, labels = recorder.seen
    assert seen is predictor
    assert [item.id for item in labels] == ["s0", "s1", "s2"]
    for item, sample, score in zip(labels, target, scores, strict=False):
        assert (item.group, item.score) == (sample.group, score)
        assert item.image is sample.image
        assert item.label.dtype == np.uint8
        np.testing.assert_array_equal(item.label, sample.image[0] > 0.5)


def test_scores_are_read_from_the_run_folder_and_held_where_there_is_none(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    held = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts()).rounds[0]
    assert held.scores is held.scores
    (stored,) = pladapt.adapt(
        toy.Predictor(), toy.target(), **toy.parts(), workdir=tmp_path / "run"
    ).rounds
    assert stored.scores.equals(held.scores)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(MissingDataError, match=r"scores\.parquet"):
        _ = stored.scores


def test_what_selects_by_rules_is_given_only_what_they_read(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []

    def select(rules: Rules, scores: Any, /) -> Any:
        given.append(scores.column_names)
        return plain(rules, scores)

    plain = Rules.select
    monkeypatch.setattr(Rules, "select", select)
    rules = CertaintyIndexSelector(min_pixels=1, top_k=3)
    pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts() | {"selector": rules})

    class OfItsOwn(CertaintyIndexSelector):
        def select(self, scores: Any, /) -> Any:
            return super().select(scores)

    own = OfItsOwn(min_pixels=1, top_k=3)
    pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts() | {"selector": own})
    assert given[0] == ["id", "score", "pixels"]
    assert given[1] == ["id", "group", "sha256", "score", "pixels"]


@pytest.mark.parametrize(
    ("shape", "classes"), [((6, 6), 1), ((6, 6), 3), ((5, 6, 7), 1), ((5, 6, 7), 2)]
)
def test_planes_and_volumes_of_one_class_and_of_several(
    toy: SimpleNamespace, shape: tuple[int, ...], classes: int
) -> None:
    recorder = Recorder()
    parts = toy.parts(ci_limit=None) | {"retrainer": recorder, "evaluators": ()}
    target = toy.target(shape=shape, classes=classes, count=5)
    result = pladapt.adapt(toy.Predictor(), target, **parts, batch_size=2)
    assert len(result.rounds[0].selection.kept) == 3
    for item in recorder.seen[1]:
        assert item.label.shape == shape
        assert item.label.max() == 1 + int(item.id[1:]) % classes


def test_images_of_any_library_give_the_same_selection(toy: SimpleNamespace, xp: Any) -> None:
    target = [Sample(s.id, s.group, xp.asarray(s.image)) for s in toy.target()]
    result = pladapt.adapt(toy.Predictor(), target, **toy.parts(), rounds=2)
    expected = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), rounds=2)
    for one, other in zip(result.rounds, expected.rounds, strict=True):
        assert one.selection.table.equals(other.selection.table)
        assert one.scores["sha256"].equals(other.scores["sha256"])


def test_images_of_different_sizes(toy: SimpleNamespace) -> None:
    target = toy.target(count=3) + [
        dataclasses.replace(s, id=f"wide {s.id}") for s in toy.target(count=3, shape=(6, 9))
    ]
    result = pladapt.adapt(toy.Predictor(), target, **toy.parts(top_k=None), batch_size=4)
    assert len(result.rounds[0].selection.kept) == 6


def test_each_round_scores_with_the_last_round_s_predictor(toy: SimpleNamespace) -> None:
    result = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), rounds=3)
    assert [done.number for done in result.rounds] == [1, 2, 3]
    means = [done.scores["score"].to_numpy().mean() for done in result.rounds]
    assert means == sorted(means)
    assert len(set(means)) == 3
    step = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts())
    for _ in range(2):
        step = pladapt.adapt(step.predictor, toy.target(), **toy.parts())
    assert step.predictor == result.predictor


def test_soft_labels_reach_the_retrainer_and_come_back_from_the_folder(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    soft = pladapt.selection.SoftLabelling(
        labeller=pladapt.selection.Labelling(boundary=1), weight=True
    )
    selector = pladapt.compose(toy.parts()["selector"], label=soft)
    for _ in range(2):  # the second time the labels are read from the folder
        recorder = Recorder()
        parts = toy.parts() | {"selector": selector, "retrainer": recorder}
        pladapt.adapt(toy.Predictor(), toy.target(), **parts, workdir=tmp_path)
        for item in recorder.seen[1]:
            np.testing.assert_allclose(item.probabilities, item.image, atol=1 / 510 + 1e-6)
            assert item.weight.shape == item.label.shape
            assert set(np.unique(item.label)) == {0, 1, pladapt.IGNORE}


def test_each_round_may_have_a_selector_of_its_own(toy: SimpleNamespace, tmp_path: Path) -> None:
    selectors = [toy.parts(top_k=count)["selector"] for count in (1, 2, 4)]
    options = toy.parts() | {"selector": selectors, "rounds": 3, "workdir": tmp_path}
    result = pladapt.adapt(toy.Predictor(), toy.target(), **options)
    assert [len(done.selection.kept) for done in result.rounds] == [1, 2, 4]
    config = json.loads((tmp_path / "run.json").read_text())["config"]["selector"]
    assert [said["top_k"] for said in config] == [1, 2, 4]
    with pytest.raises(RunChangedError, match="selector"):
        pladapt.adapt(toy.Predictor(), toy.target(), **options | {"selector": selectors[::-1]})


def test_the_same_selector_in_each_round_is_that_selector(toy: SimpleNamespace) -> None:
    alone = toy.parts()
    each = toy.parts() | {"selector": [toy.parts()["selector"]] * 2}
    tables = [
        pladapt.adapt(toy.Predictor(), toy.target(), **options, rounds=2).rounds[1].scores
        for options in (alone, each)
    ]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_are_as_many_selectors_as_rounds(toy: SimpleNamespace, count: int) -> None:
    options = toy.parts() | {"selector": [toy.parts()["selector"]] * count, "rounds": 2}
    with pytest.raises(InputError, match=f"There are {count} selectors and rounds is 2"):
        pladapt.adapt(toy.Predictor(), toy.target(), **options)


def test_without_a_folder_nothing_is_left_on_the_disk(
    toy: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts(), rounds=2)
    assert result.workdir is None
    assert list(tmp_path.iterdir()) == []
    kept = pladapt.adapt(
        toy.Predictor(), toy.target(), **toy.parts(), rounds=2, workdir=tmp_path / "run"
    )
    assert kept.predictor == result.predictor


@settings(max_examples=25)
@given(st.permutations(range(7)), st.integers(1, 9), st.integers(1, 7))
def test_neither_the_order_of_the_target_nor_the_batches_matter(
    toy: SimpleNamespace, order: list[int], batch_size: int, top_k: int
) -> None:
    target, parts = toy.target(), toy.parts(top_k=top_k, ci_limit=None) | {"evaluators": ()}
    expected = pladapt.adapt(toy.Predictor(), target, **parts, plugins=QUIET)
    shuffled = [target[index] for index in order]
    result = pladapt.adapt(toy.Predictor(), shuffled, **parts, batch_size=batch_size, plugins=QUIET)
    assert result.rounds[0].selection.kept == expected.rounds[0].selection.kept
    assert result.rounds[0].selection.dropped == expected.rounds[0].selection.dropped
    assert result.predictor == expected.predictor


# What is refused


def test_a_labelled_sample_in_the_target_is_a_type_error(toy: SimpleNamespace) -> None:
    labelled = toy.lesions()
    for target in (labelled, [*toy.target(count=5), *labelled[5:]]):
        with pytest.raises(TypeError, match=r"target sample 's.' has a mask") as caught:
            pladapt.adapt(toy.Predictor(), target, **toy.parts(), batch_size=2)
        assert caught.type is LabelledTargetError


def test_anything_with_a_mask_is_a_labelled_sample(toy: SimpleNamespace) -> None:
    @dataclasses.dataclass
    class Own:
        id: str
        group: str
        image: Any
        mask: Any

    sample = toy.lesions(count=1)[0]
    target: Any = [Own("a", "p", sample.image, sample.mask)]
    with pytest.raises(LabelledTargetError, match=r"Give pladapt\.unlabelled"):
        pladapt.adapt(toy.Predictor(), target, **toy.parts())


def test_labelled_samples_without_their_masks_may_be_adapted_to(toy: SimpleNamespace) -> None:
    target = pladapt.unlabelled(toy.lesions())
    result = pladapt.adapt(toy.Predictor(), target, **toy.parts())
    assert result.predictor == pladapt.adapt(toy.Predictor(), toy.target(), **toy.parts()).predictor


def test_an_empty_target_is_refused(toy: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="target is empty"):
        pladapt.adapt(toy.Predictor(), [], **toy.parts())


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_id_that_stands_twice_is_refused(toy: SimpleNamespace, batch_size: int) -> None:
    target = [*toy.target(), toy.target()[2]]
    with pytest.raises(InputError, match="id 's2' stands twice"):
        pladapt.adapt(toy.Predictor(), target, **toy.parts(), batch_size=batch_size)


@pytest.mark.parametrize("name", ["rounds", "batch_size"])
def test_there_is_at_least_one_round_and_one_sample_in_a_batch(
    toy: SimpleNamespace, name: str, tmp_path: Path
) -> None:
    options = toy.parts() | {"workdir": tmp_path, name: 0}
    with pytest.raises(InputError, match=f"{name} is 0; it must be at least 1"):
        pladapt.adapt(toy.Predictor(), toy.target(), **options)
    assert list(tmp_path.iterdir()) == []  # a slip does not spoil the folder


@pytest.mark.parametrize("name", ["", "..", "../up", "/x", "a/b"])
def test_an_evaluator_s_name_stays_in_the_folder(toy: SimpleNamespace, name: str) -> None:
    parts = toy.parts()
    parts["evaluators"] = {name: parts["evaluators"]["overlap"]}
    with pytest.raises(InputError, match="a folder of the run bears its name"):
        pladapt.adapt(toy.Predictor(), toy.target(), **parts)


class Selector:
    """A selector of which a test replaces some methods."""

    def __init__(self, base: Any, **methods: Callable[..., Any]) -> None:
        for name in ("score", "select", "label"):
            setattr(self, name, methods.get(name, getattr(base, name)))


@pytest.mark.parametrize(
    ("method", "function", "message"),
    [
        ("score", lambda p: {"score": np.ones(len(p.ids) + 1)}, r"'score' of shape \(9,\) for 8 s"),
        ("score", lambda p: {"score": p.probabilities}, r"'score' of shape .* expected \(8,\)"),
        ("score", lambda p: {"ci": np.ones(len(p.ids))}, r"\['ci'\]; expected 'score'"),
        (
            "score",
            lambda p: {"score": np.ones(len(p.ids)), "id": np.zeros(len(p.ids))},
            "expected 'score', and not 'id'",
        ),
        ("label", lambda p: p.probabilities[:, 0], r"float64 of shape .*; expected uint8"),
        ("label", lambda p: np.zeros(p.probabilities.shape, np.uint8), r"shape \(8, 1, 6, 6\); ex"),
        (
            "select",
            lambda s: pladapt.Rules().select(s.slice(1)),
            "for each of the 8 samples, in their order",
        ),
        (
            "select",
            lambda s: pladapt.Rules().select(s.take([1, 0, *range(2, 8)])),
            "in their order",
        ),
    ],
)
def test_a_selector_that_returns_another_shape_is_named(
    toy: SimpleNamespace, method: str, function: Any, message: str
) -> None:
    parts = toy.parts()
    parts["selector"] = Selector(parts["selector"], **{method: function})
    with pytest.raises(InputError, match=f"Selector.{method} returned.*{message}"):
        pladapt.adapt(toy.Predictor(), toy.target(count=8), **parts)


class Predictor:
    """A predictor that computes what a test says."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def predict(self, images: Any, /) -> Any:
        """Return what the test says."""
        return self._function(images)


@pytest.mark.parametrize(
    "function",
    [
        lambda images: images[:, 0],
        lambda images: images[1:],
        lambda images: images[..., 1:],
        lambda images: images[..., None],
    ],
)
def test_a_predictor_that_returns_another_shape_is_named(
    toy: SimpleNamespace, function: Any
) -> None:
    with pytest.raises(InputError, match=r"Predictor predicted shape .*expected \(7, chan"):
        pladapt.adapt(Predictor(function), toy.target(), **(toy.parts() | {"evaluators": ()}))


def test_what_is_no_probability_is_refused_with_the_batch_s_ids(toy: SimpleNamespace) -> None:
    def broken(images: Any) -> Any:
        return np.where(np.arange(len(images))[:, None, None, None] == 1, math.nan, images)

    parts = toy.parts() | {"evaluators": ()}
    with pytest.raises(InputError, match="sample 1 of the batch hold NaN") as caught:
        pladapt.adapt(Predictor(broken), toy.target(), **parts, batch_size=3, on_error="raise")
    assert caught.value.__notes__ == ["The batch holds s0, s1, s2."]


# Nothing selected


def test_where_nothing_is_selected_the_predictor_stays_and_the_reason_is_given(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    predictor, parts = toy.Predictor(), toy.parts(min_pixels=10)
    target = toy.target()
    target[2] = dataclasses.replace(target[2], image=target[2].image * 0 + 0.55)
    for _ in range(2):  # anew, and continued
        result = pladapt.adapt(predictor, target, **parts, rounds=3, workdir=tmp_path)
        assert result.predictor is predictor
        assert result.stopped == "round 1 selected none of 7 samples: 6 by min_pixels, 1 by limit"
        assert result.verdict == Verdict("unchanged", result.stopped)
        (done,) = result.rounds
        assert done.selection.kept == ()
        assert done.selection.counts == {"kept": 0, "min_pixels": 6, "limit": 1}
        assert done.evaluations == {}
        assert result.after == result.before
    assert sorted(path.name for path in (tmp_path / "round-1").iterdir()) == [
        "digests.json",
        "labels",
        "scores.parquet",
        "selection.parquet",
    ]


def test_where_a_later_round_selects_nothing_the_last_predictor_is_returned(
    toy: SimpleNamespace,
) -> None:
    limits = iter([0.6, 1.0])

    def select(scores: Any) -> Any:
        return pladapt.Rules(limit=next(limits)).select(scores)

    parts = toy.parts()
    parts["selector"] = Selector(parts["selector"], select=select)
    result = pladapt.adapt(toy.Predictor(), toy.target(), **parts, rounds=4)
    assert [bool(done.selection.kept) for done in result.rounds] == [True, False]
    assert result.verdict == Verdict("adapted", f"trained in 1 round; {result.stopped}")
    assert result.stopped == "round 2 selected none of 7 samples: 7 by limit"
    assert result.predictor.shift > 0  # type: ignore[attr-defined]  # the toy's
    assert result.after is result.rounds[0].evaluations


# Evaluators only report


class Liar:
    """An evaluator whose figures are made up, and that asks for attention."""

    def __init__(self, base: Any, value: float) -> None:
        self._base, self._value = base, value

    def describe(self) -> str:
        """Describe it the same whatever it returns."""
        return "an evaluator"

    def evaluate(self, predictor: Any, /) -> Evaluation:
        """Return made-up figures in the place of the measured ones."""
        measured = self._base.evaluate(predictor)
        lie = measured.samples["dsc"].to_numpy() * 0 + self._value
        names = measured.samples.column_names
        samples = measured.samples.set_column(names.index("dsc"), "dsc", [lie])
        return Evaluation(samples, measured.summary, {"choose": "the last"})


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_what_an_evaluator_returns_changes_nothing(toy: SimpleNamespace, value: float) -> None:
    parts = toy.parts()
    honest = pladapt.adapt(toy.Predictor(), toy.target(), **parts, rounds=2)
    liar = {"liar": Liar(parts["evaluators"]["overlap"], value)}
    for evaluators in ((), liar, {"overlap": parts["evaluators"]["overlap"]} | liar):
        result = pladapt.adapt(
            toy.Predictor(), toy.target(), **(parts | {"evaluators": evaluators}), rounds=2
        )
        assert result.predictor == honest.predictor
        for one, other in zip(result.rounds, honest.rounds, strict=True):
            assert one.scores.equals(other.scores)
            assert one.selection.table.equals(other.selection.table)


def test_evaluators_in_a_sequence_are_named_after_their_classes(toy: SimpleNamespace) -> None:
    overlap = toy.parts()["evaluators"]["overlap"]
    parts = toy.parts() | {"evaluators": [overlap, Liar(overlap, 0), overlap]}
    result = pladapt.adapt(toy.Predictor(), toy.target(), **parts)
    assert (
        list(result.before)
        == list(result.after)
        == [
            "OverlapEvaluator",
            "Liar",
            "OverlapEvaluator-3",
        ]
    )


def test_without_evaluators_there_is_nothing_before_or_after(toy: SimpleNamespace) -> None:
    result = pladapt.adapt(toy.Predictor(), toy.target(), **(toy.parts() | {"evaluators": ()}))
    assert result.before == result.after == {}


def test_progress_is_told_until_everything_is_done(toy: SimpleNamespace) -> None:
    told: list[tuple[str, int, int]] = []
    pladapt.adapt(
        toy.Predictor(),
        toy.target(),
        **toy.parts(),
        batch_size=3,
        progress=lambda *step: told.append(step),
    )
    assert told == [
        ("evaluate", 1, 1),
        ("score", 3, 7),
        ("score", 6, 7),
        ("score", 7, 7),
        ("evaluate", 1, 1),
    ]


class Counting:
    """A target that counts how often each image is read."""

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples
        self.read = dict.fromkeys(range(len(samples)), 0)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int, /) -> Sample:
        self.read[index] += 1
        return self._samples[index]


def test_images_are_read_when_they_are_needed(toy: SimpleNamespace) -> None:
    target = Counting(toy.target())
    parts: Mapping[str, Any] = toy.parts() | {"evaluators": ()}
    pladapt.adapt(toy.Predictor(), target, **parts)
    first = 1  # looked at for a mask before anything else
    # scored with its label: every one; taught: the three that are kept, of which the retrained
    # predictor is tried on one
    assert target.read == {0: first + 3, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1}
