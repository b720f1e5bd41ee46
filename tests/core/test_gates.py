from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import pladapt
from pladapt import DoNoHarm, InputError, Judgement, LabelledSample, Sample, Verdict
from pladapt.errors import MissingDataError, RunChangedError
from pladapt.evidence.comparison import compare, judge_fall, sure_fall
from pladapt.evidence.gates import (
    Churn,
    FlipAgreement,
    ForegroundFraction,
    GivenFraction,
    InDomain,
)
from pladapt.plugins import PluginManager
from pladapt.testing import GateContract
from pladapt.types import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUIET = PluginManager()


def by(function: Callable[[Any], Any]) -> Any:
    """Make a predictor of a function."""
    return SimpleNamespace(predict=function)


SAME = by(lambda images: images)
NOTHING = by(lambda images: images * 0)


def one_hot(labels: Any, classes: int) -> Any:
    """Turn masks (B, *S) into certain probabilities (B, classes + 1, *S)."""
    return np.stack([labels == class_ for class_ in range(classes + 1)], axis=1).astype(float)


def samples(masks: list[Any], groups: str = "") -> list[Sample]:
    """Make samples whose images are masks, of a group each or of those given."""
    names = groups or "abcdefghij"
    return [
        Sample(f"s{i}", names[i], np.asarray(mask, float)[None]) for i, mask in enumerate(masks)
    ]


def rows(judgement: Judgement, measure: str) -> list[dict[str, Any]]:
    return [row for row in judgement.evidence.to_pylist() if row["measure"] == measure]


# The contract


class TestDoNoHarm(GateContract):
    @pytest.fixture
    def gate(self) -> Any:
        return DoNoHarm()


class TestEveryMeasure(GateContract):
    @pytest.fixture
    def gate(self, toy: SimpleNamespace) -> Any:
        source = toy.lesions(shape=(32, 32))
        measures = (
            ForegroundFraction(reference=[0.2]),
            Churn(),
            FlipAgreement(axis=-2),
            InDomain(samples=[dataclasses.replace(s, id=f"source {s.id}") for s in source]),
        )
        return DoNoHarm(cutoff=0.4, measures=measures, batch_size=3)


class TestVolumesOfClasses(GateContract):
    @pytest.fixture
    def gate(self) -> Any:
        return DoNoHarm(
            cutoff=(0.4, 0.5), measures=(ForegroundFraction(), Churn(), FlipAgreement(axis=-3))
        )

    @pytest.fixture
    def before(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()

    @pytest.fixture
    def after(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor(-0.1)

    @pytest.fixture
    def target(self, toy: SimpleNamespace) -> Any:
        return toy.target(shape=(5, 6, 7), classes=2)


class Telling:
    """A gate that says what it is told to, of a predictor that differs."""

    def __init__(self, *verdicts: Judgement) -> None:
        self._verdicts, self._config = verdicts, 0

    def judge(self, _before: Any, _after: Any, target: Any, /) -> Judgement:
        """Say the next thing."""
        self._config += 1
        assert isinstance(target[0], Sample)
        return self._verdicts[(self._config - 1) % len(self._verdicts)]

    def describe(self) -> str:
        """Tell the same each time."""
        return "telling"


def judgement(*, accepted: bool, value: float = 1.0, passed: bool | None = None) -> Judgement:
    row = dict.fromkeys(EVIDENCE.names) | {
        "measure": "mood",
        "after": value,
        "limit": "good",
        "passed": accepted if passed is None else passed,
    }
    table = pa.Table.from_pylist([row], schema=EVIDENCE)
    return Judgement(accepted, () if accepted else ("the mood is bad",), table)


@pytest.mark.parametrize(
    ("test", "verdicts", "message"),
    [
        ("test_it_returns_a_judgement_with_evidence", [True], "returned a bool"),
        (
            "test_it_returns_a_judgement_with_evidence",
            [Judgement(True, (), EVIDENCE.empty_table())],  # noqa: FBT003 - as it is stored
            "no row",
        ),
        (
            "test_it_returns_a_judgement_with_evidence",
            [judgement(accepted=True, passed=False)],
            r"accepted is True, and the evidence says \[False\]",
        ),
        ("test_what_changed_nothing_is_accepted", [judgement(accepted=False)], "mood is bad"),
        (
            "test_it_judges_the_same_again_and_in_any_order",
            [judgement(accepted=True), judgement(accepted=True, value=2)],
            "otherwise again",
        ),
        (
            "test_it_judges_the_same_again_and_in_any_order",
            [judgement(accepted=True)] * 2 + [judgement(accepted=True, value=2)],
            "another order",
        ),
    ],
)
def test_a_broken_gate_fails(test: str, verdicts: list[Any], message: str) -> None:
    arguments: dict[str, Any] = {"before": SAME, "target": samples([[[1]], [[0]]])}
    if test != "test_what_changed_nothing_is_accepted":
        arguments["after"] = SAME
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        getattr(GateContract(), test)(Telling(*verdicts), **arguments)


def test_a_judgement_that_contradicts_itself_or_lacks_a_column_is_refused() -> None:
    good = judgement(accepted=False)
    for accepted, reasons in ((True, ("why",)), (False, ())):
        with pytest.raises(InputError, match="give reasons for a refusal, and for nothing else"):
            Judgement(accepted, reasons, good.evidence)
    with pytest.raises(InputError, match=r"expected .*'passed'"):
        Judgement(False, ("why",), good.evidence.drop_columns("passed"))  # noqa: FBT003 - the same


# What is measured, by hand


def test_the_share_of_a_class_is_that_of_its_pixels_in_all_pixels() -> None:
    target = samples([[[1, 1, 0, 0]], [[1, 1, 1, 1, 0, 0, 0, 0]]])  # 6 of 12
    keep = by(lambda x: x * (np.arange(x.shape[-1]) < 1))  # the first pixel alone: 2 of 12
    gate = DoNoHarm(measures=[ForegroundFraction(factor=4)])
    (row,) = rows(gate.judge(SAME, keep, target), "foreground fraction")
    assert (row["class"], row["before"], row["after"]) == (1, 0.5, 2 / 12)
    assert row["limit"] == "0.125 to 0.8"  # a quarter; and odds of 1 become 4
    assert row["passed"]
    refused = DoNoHarm(measures=[ForegroundFraction(factor=2)]).judge(SAME, keep, target)
    assert refused.reasons == ("foreground fraction of class 1 fell from 0.5 to 0.167, below 0.25",)


@pytest.mark.parametrize(
    ("factor", "reference", "accepted"),
    [(4, None, False), (4, [0.5], True), (4, [0.01], False)],
)
def test_what_lies_between_the_share_before_and_the_source_s_is_allowed(
    factor: float, reference: list[float] | None, *, accepted: bool
) -> None:
    target = samples([np.arange(100).reshape(10, 10) < 2])
    much = by(lambda x: np.broadcast_to(np.arange(100).reshape(10, 10) < 30, x.shape) * 1.0)
    gate = DoNoHarm(measures=[ForegroundFraction(factor=factor, reference=reference)])
    said = gate.judge(SAME, much, target)
    assert said.accepted == accepted
    assert rows(said, "foreground fraction")[0]["reference"] == (reference and reference[0])


@pytest.mark.parametrize(("low", "high", "accepted"), [(0.2, 0.4, True), (0.0, 0.2, False)])
def test_a_fraction_that_someone_gave_is_all_that_counts(
    low: float, high: float, *, accepted: bool
) -> None:
    target = samples([np.arange(100).reshape(10, 10) < 2])
    much = by(lambda x: np.broadcast_to(np.arange(100).reshape(10, 10) < 30, x.shape) * 1.0)
    said = DoNoHarm(measures=[GivenFraction(low, high)]).judge(SAME, much, target)
    assert said.accepted == accepted
    assert accepted or "0.3 of all pixels would be foreground, and given was 0 to 0.2" in str(
        said.reasons
    )
    with pytest.raises(InputError, match="the lower first"):
        GivenFraction(high, low)


def test_a_handful_of_pixels_may_come_and_go() -> None:
    mask = np.zeros((1000, 1000))
    mask[0, :10] = 1
    gate = DoNoHarm(measures=[ForegroundFraction()])
    assert gate.judge(SAME, NOTHING, samples([mask])).accepted
    mask[0, :100] = 1
    assert not gate.judge(SAME, NOTHING, samples([mask])).accepted


def test_churn_is_one_minus_the_pooled_dice() -> None:
    target = samples([[[1, 1, 1, 0]], [[1, 0, 0, 0]]])
    moved = by(lambda x: np.roll(x, 1, axis=-1))  # keeps 2 of 4 pixels
    said = DoNoHarm(measures=[Churn(limit=0.6)]).judge(SAME, moved, target)
    (row,) = rows(said, "churn")
    assert (row["before"], row["after"], row["passed"]) == (None, 0.5, True)
    refused = DoNoHarm(measures=[Churn(limit=0.4)]).judge(SAME, moved, target)
    assert refused.reasons == ("churn of class 1 is 0.5, above 0.4",)


def test_agreement_is_that_of_an_image_and_its_mirror_image_where_both_show_the_class() -> None:
    target = samples([[[1, 1, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 0, 0]]])
    blind = by(lambda x: x * (np.arange(x.shape[-1]) < 1))  # sees but the first pixel

    measures = [FlipAgreement(slack=0.5)]
    said = DoNoHarm(measures=measures).judge(SAME, blind, target)
    # blind: s0 has [1,0,0,0] and mirrored nothing: 0; it never sees s1, which does not count
    assert [(r["before"], r["after"]) for r in rows(said, "agreement under flips")] == [(1.0, 0.0)]
    assert said.reasons == (
        "agreement under flips of class 1 fell from 1 to 0 in 1 group, surely by 1, above 0.5",
    )
    undefined = DoNoHarm(measures=measures).judge(SAME, NOTHING, target)
    (row,) = rows(undefined, "agreement under flips")
    assert (row["before"], row["after"], row["passed"]) == (None, None, True)


def test_groups_count_the_same_however_many_samples_they_have() -> None:
    left, middle = [[1, 1, 0]], [[0, 1, 0]]
    blind = by(lambda x: x * (np.arange(x.shape[-1]) < 2))  # [0, 1, 1] loses its last pixel
    said = DoNoHarm(measures=[FlipAgreement()]).judge(
        SAME, blind, samples([left, left, left, middle], "aaab")
    )
    (row,) = rows(said, "agreement under flips")
    assert (row["before"], row["after"]) == (1.0, pytest.approx((2 / 3 + 1) / 2))


def test_the_slack_must_be_exceeded_beyond_the_noise_of_the_groups() -> None:
    before = np.full(4, 0.9)
    sure = judge_fall("agreement", 1, before, before - [0.19, 0.2, 0.2, 0.21], 0.1)
    assert sure.refusal is not None
    unsure = judge_fall("agreement", 1, before, before - [0.8, 0.0, 0.0, 0.0], 0.1)
    assert unsure.refusal is None
    assert unsure.before == pytest.approx(0.9)
    assert unsure.after == pytest.approx(0.7)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=20))
def test_a_sure_fall_is_the_limit_of_student_s_interval(pairs: list[tuple[float, float]]) -> None:
    before, after = np.array(pairs).T
    if np.ptp(before - after) < 1e-6:
        assert sure_fall(before, after) == pytest.approx(np.mean(before - after), abs=1e-5)
        return
    expected = stats.ttest_rel(before, after, alternative="greater").confidence_interval(0.95).low
    assert sure_fall(before, after) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("groups", "fall", "rate"), [(2, 0.2, 0.27), (5, 0.2, 0.86), (5, 0.05, 0.05), (2, 0.0, 0.015)]
)
def test_falls_are_refused_as_often_as_the_page_says(groups: int, fall: float, rate: float) -> None:
    changes = np.random.default_rng(0).normal(-fall, 0.1, (3000, groups))
    before = np.full(groups, 0.8)
    refused = [sure_fall(before, before + change) > 0.05 for change in changes]
    assert np.mean(refused) == pytest.approx(rate, abs=0.015)


def test_a_single_group_s_fall_counts_as_it_is() -> None:
    assert sure_fall([0.9], [0.5]) == pytest.approx(0.4)


def test_what_is_unlearnt_of_the_source_is_refused(toy: SimpleNamespace) -> None:
    source = [
        LabelledSample(f"source {s.id}", f"source {s.group}", s.image, s.mask)
        for s in toy.lesions()
    ]
    gate = DoNoHarm(measures=[InDomain(samples=source)])
    said = gate.judge(toy.Predictor(), toy.Predictor(-0.5), toy.target())
    (row,) = rows(said, "in-domain DSC")
    overlap = pladapt.evaluator("overlap", samples=source)
    for name, predictor in (("before", toy.Predictor()), ("after", toy.Predictor(-0.5))):
        expected = overlap.evaluate(predictor).value("dsc", aggregation="group")
        assert row[name] == pytest.approx(expected)
    assert said.reasons[0].startswith("in-domain DSC of class 1 fell from ")
    assert gate.judge(toy.Predictor(), toy.Predictor(0.01), toy.target()).accepted


@pytest.mark.parametrize("kind", ["id", "group"])
def test_in_domain_samples_of_the_target_are_refused(toy: SimpleNamespace, kind: str) -> None:
    apart = {"id": "source", "group": "source"}
    del apart[kind]
    source = [dataclasses.replace(toy.lesions()[0], **apart)]
    gate = DoNoHarm(measures=[InDomain(samples=source)])
    with pytest.raises(InputError, match=f"1 target samples' {kind}s are also in 'in-domain"):
        gate.judge(toy.Predictor(), toy.Predictor(), toy.target())


# Several classes


def test_a_collapse_to_one_class_is_refused_and_names_the_classes() -> None:
    masks = np.zeros((3, 8, 8), int)
    masks[:, 1:4, 1:4], masks[:, 5:7, 5:7] = 1, 2
    target = samples(list(masks))
    right = by(lambda x: one_hot(x[:, 0], 2))
    first = by(lambda x: one_hot((x[:, 0] > 0) * 1, 2))
    said = DoNoHarm().judge(right, first, target)
    assert not said.accepted
    assert said.reasons[:2] == (
        "foreground fraction of class 2 fell from 0.0625 to 0, below 0.0156",
        "churn of class 2 is 1, above 0.9",
    )
    assert [(r["class"], r["passed"]) for r in rows(said, "foreground fraction")] == [
        (1, True),
        (2, False),
    ]


def test_a_predictor_that_forgot_a_channel_is_refused() -> None:
    masks = np.zeros((2, 8, 8), int)
    masks[:, 1:4, 1:4], masks[:, 5:7, 5:7] = 1, 2
    one = by(lambda x: one_hot(np.minimum(x[:, 0], 1), 1))
    two = by(lambda x: one_hot(x[:, 0], 2))
    assert not DoNoHarm().judge(two, one, samples(list(masks))).accepted


# What must not matter


@given(
    st.permutations(range(7)),
    st.integers(1, 9),
    st.sampled_from([1, 3]),
    st.floats(-0.3, 0.3),
)
def test_neither_the_order_nor_the_batch_size_matters(
    toy: SimpleNamespace, order: list[int], size: int, classes: int, shift: float
) -> None:
    target = toy.target(classes=classes)
    predictors = toy.Predictor(), toy.Predictor(shift)
    one = DoNoHarm().judge(*predictors, target)
    other = DoNoHarm(batch_size=size).judge(*predictors, [target[i] for i in order])
    assert one.reasons == other.reasons
    assert one.evidence.equals(other.evidence)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=24), st.floats(1.01, 9))
def test_what_changed_nothing_is_never_refused(values: list[int], factor: float) -> None:
    target = samples([np.array(values)[None]])
    predictor = by(lambda x: one_hot(x[:, 0], 3))
    measures = (ForegroundFraction(factor=factor), Churn(), FlipAgreement())
    assert DoNoHarm(measures=measures).judge(predictor, predictor, target).accepted


def test_every_library_gives_the_same(toy: SimpleNamespace, xp: Any) -> None:
    target = [Sample(s.id, s.group, xp.asarray(s.image)) for s in toy.target()]
    predictors = toy.Predictor(), toy.Predictor(-0.1)
    expected = DoNoHarm().judge(*predictors, toy.target())
    assert DoNoHarm().judge(*predictors, target).evidence.equals(expected.evidence)


def test_each_image_is_read_once_and_predicted_twice_by_both() -> None:
    class Counting(list[Sample]):
        """Counts how often a sample is read."""

        read = 0

        def __getitem__(self, index: Any) -> Any:
            type(self).read += 1
            return super().__getitem__(index)

    predicted: list[int] = []

    def predict(images: Any) -> Any:
        predicted.append(len(images))
        return images

    predictor = by(predict)
    DoNoHarm(batch_size=2).judge(predictor, predictor, Counting(samples([[[1, 0]]] * 3)))
    assert Counting.read == 3
    assert sum(predicted) == 4 * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForegroundFraction(factor=1), "factor is 1"),
        (lambda: ForegroundFraction(floor=0), "floor 0"),
        (lambda: Churn(limit=1), "limit is 1"),
        (lambda: FlipAgreement(slack=1), "slack is 1"),
        (lambda: FlipAgreement(axis=2), "axis is 2"),
        (lambda: InDomain(samples=[]), "no in-domain samples"),
        (lambda: InDomain(samples=[], slack=-1), "slack is -1"),
        (lambda: DoNoHarm(measures=()), "0 measures"),
        (
            lambda: DoNoHarm(measures=[FlipAgreement(), FlipAgreement(axis=-2)]),
            "2 of them Agreement",
        ),
        (lambda: DoNoHarm().judge(SAME, SAME, []), "target is empty"),
        (
            lambda: DoNoHarm(measures=[ForegroundFraction(reference=[0.1, 0.2])]).judge(
                SAME, SAME, samples([[[1]]])
            ),
            "2 reference fractions for 1 classes",
        ),
        (
            lambda: list(FlipAgreement().findings(compare(SAME, SAME, samples([[[1]]])))),
            "no flipped images",
        ),
    ],
)
def test_what_cannot_be_measured_says_so(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# In a run


class Fading:
    """A retrainer whose second predictor finds nothing any more."""

    def __init__(self, toy: SimpleNamespace) -> None:
        self._toy, self.retrained = toy, 0

    def retrain(self, predictor: Any, _labels: Any, /) -> Any:
        """Brighten once, then fade."""
        self.retrained += 1
        return self._toy.Predictor(-0.9 if predictor.shift else 0.05)

    def save(self, predictor: Any, folder: Path, /) -> None:
        """Write the shift."""
        (folder / "shift.json").write_text(json.dumps(predictor.shift))

    def load(self, _predictor: Any, folder: Path, /) -> Any:
        """Read the shift."""
        return self._toy.Predictor(json.loads((folder / "shift.json").read_text()))

    def describe(self) -> str:
        """Tell the same each time."""
        return "fading"


def run(toy: SimpleNamespace, retrainer: Any, **changes: Any) -> pladapt.AdaptationResult:
    parts = toy.parts() | {"retrainer": retrainer, "gates": [DoNoHarm()], "plugins": QUIET}
    options: dict[str, Any] = parts | {"rounds": 4} | changes
    return pladapt.adapt(toy.Predictor(), toy.target(), **options)


def test_a_collapse_ends_the_run_with_the_predictor_before_it(toy: SimpleNamespace) -> None:
    result = run(toy, Fading(toy))
    first, second = result.rounds
    assert first.stands
    assert first.judgement is not None
    assert first.judgement.accepted
    assert not second.stands
    assert second.evaluations == {}
    assert result.predictor == toy.Predictor(0.05)
    assert result.after is first.evaluations
    assert result.stopped == (
        "round 2 refused: foreground fraction of class 1 fell from 0.25 to 0, below 0.0625; "
        "churn of class 1 is 1, above 0.9"
    )
    assert result.verdict == Verdict("adapted", f"trained in 1 round; {result.stopped}")
    assert run(toy, Fading(toy), gates=()).predictor == toy.Predictor(-0.9)


def test_a_refused_run_is_stored_resumed_and_read(toy: SimpleNamespace, tmp_path: Path) -> None:
    result = run(toy, Fading(toy), workdir=tmp_path)
    stored = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in (tmp_path / "round-2").iterdir()} == {
        "digests.json",
        "scores.parquet",
        "selection.parquet",
        "labels",
        "predictor",
        "judgement",
    }
    again = Fading(toy)
    resumed = run(toy, again, workdir=tmp_path)
    assert again.retrained == 0
    record = pladapt.read_run(tmp_path)
    for other in (resumed, record):
        assert other.stopped == result.stopped
        for one, two in zip(other.rounds, result.rounds, strict=True):
            assert one.judgement is not None
            assert two.judgement is not None
            assert one.judgement.evidence.equals(two.judgement.evidence)
    assert resumed.predictor == result.predictor
    assert stored == {path: path.read_bytes() for path in stored}


def test_a_judgement_that_is_missing_is_made_again_with_the_same_bytes(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    run(toy, Fading(toy), workdir=tmp_path)
    kept = tmp_path / "kept"
    judged = tmp_path / "round-2" / "judgement"
    judged.rename(kept)
    with pytest.raises(MissingDataError, match="no judgement; continue the run"):
        pladapt.read_run(tmp_path)
    again = Fading(toy)
    run(toy, again, workdir=tmp_path)
    assert again.retrained == 0
    for name in ("judgement.json", "evidence.parquet"):
        assert (judged / name).read_bytes() == (kept / name).read_bytes()


def test_another_gate_is_another_run(toy: SimpleNamespace, tmp_path: Path) -> None:
    run(toy, Fading(toy), workdir=tmp_path)
    for gates in ((), [DoNoHarm(cutoff=0.4)]):
        with pytest.raises(RunChangedError, match="gates was"):
            run(toy, Fading(toy), workdir=tmp_path, gates=gates)


def test_every_gate_is_asked_and_any_refuses(toy: SimpleNamespace) -> None:
    told = []
    gates = [Telling(judgement(accepted=False)), DoNoHarm(), Telling(judgement(accepted=True))]
    result = run(toy, Fading(toy), gates=gates, progress=lambda *step: told.append(step))
    (only,) = result.rounds
    assert only.judgement is not None
    assert only.judgement.reasons == ("the mood is bad",)
    assert len(only.judgement.evidence) == 5
    assert result.stopped == "round 1 refused: the mood is bad"
    assert result.verdict == Verdict("unchanged", result.stopped)
    assert result.predictor == toy.Predictor()
    assert result.after is result.before
    assert [step for step in told if step[0] == "judge"] == [("judge", n, 3) for n in (1, 2, 3)]


def test_where_nothing_was_selected_nothing_is_judged(toy: SimpleNamespace, tmp_path: Path) -> None:
    parts = toy.parts(min_pixels=10_000)
    result = run(toy, Fading(toy), selector=parts["selector"], workdir=tmp_path)
    assert result.rounds[0].judgement is None
    assert pladapt.read_run(tmp_path).stopped == result.stopped
    assert not math.isnan(result.before["overlap"].value("dsc"))


# A sample of the target


def test_at_most_so_many_samples_are_compared_whatever_their_order() -> None:
    seen: list[int] = []

    def predict(images: Any) -> Any:
        seen.append(len(images))
        return images

    target = samples([np.full((4, 4), 0.7)] * 8)
    gate = DoNoHarm(measures=(Churn(),), max_samples=3, batch_size=8)
    judged = gate.judge(by(predict), NOTHING, target)
    assert seen == [3]
    assert not judged.accepted
    assert judged.evidence.equals(gate.judge(SAME, NOTHING, target[::-1]).evidence)
    seen.clear()
    DoNoHarm(measures=(Churn(),), batch_size=8).judge(by(predict), NOTHING, target)
    assert seen == [8]


def test_a_sample_of_none_is_refused() -> None:
    with pytest.raises(InputError, match="max_samples is 0; give at least 1"):
        DoNoHarm(max_samples=0)
