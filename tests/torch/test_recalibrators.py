from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import FlipPredictor, InputError, LabelledSample, SourceStatistics
from pladapt.errors import LabelledTargetError
from pladapt.predictors import Views, measure_agreement
from pladapt.runs import keep_fraction
from pladapt.source import measure_likeness
from pladapt.testing import RecalibratorContract, RetrainerContract
from pladapt.torch import (
    AgreementRecalibrator,
    FineTune,
    TorchPredictor,
    TrainingOptions,
    module_of,
    recalibrate_batch_norm,
)
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pladapt import Sample
    from pladapt.types import PseudoLabelled

pytestmark = pytest.mark.torch

QUICK = TrainingOptions(epochs=1, batch_size=4, keep="last", device="cpu")


def cpu(module: nn.Module) -> TorchPredictor:
    return TorchPredictor(module, device="cpu")


def recalibrator(**options: Any) -> AgreementRecalibrator:
    return AgreementRecalibrator(**{"device": "cpu"} | options)


CASES = ["trained", "not trained", "left as it is", "unfit", "of classes"]


class TestAgreement(RecalibratorContract):
    tolerance = 1e-6

    @pytest.fixture(params=CASES)
    def recalibrator(self, request: pytest.FixtureRequest, source: SourceStatistics) -> Any:
        return recalibrator(source=source if request.param in ("trained", "unfit") else None)

    @pytest.fixture
    def predictor(
        self,
        net: Callable[..., nn.Module],
        trained: TorchPredictor,
        request: pytest.FixtureRequest,
    ) -> Any:
        return cpu(net(3)) if "of classes" in request.node.name else FlipPredictor(trained, (-2,))

    @pytest.fixture
    def target(
        self,
        request: pytest.FixtureRequest,
        lesions: Callable[..., list[Sample]],
        shifted: Callable[..., list[Sample]],
    ) -> Any:
        kind = request.node.callspec.params["recalibrator"]
        if kind == "unfit":
            return [replace(s, image=1 - s.image) for s in lesions("t")]
        return lesions("t") if kind == "left as it is" else shifted(8)


class TestFractionKeepingFineTune(RetrainerContract):
    tolerance = 1e-6

    @pytest.fixture
    def retrainer(self) -> Any:
        return keep_fraction(FineTune(validation=None, options=QUICK))

    @pytest.fixture
    def predictor(self, net: Callable[..., nn.Module]) -> Any:
        return FlipPredictor(cpu(net()))


# What is found on images of a target


def test_where_the_target_s_statistics_help_they_are_taken(
    trained: TorchPredictor, shifted: Callable[..., list[Sample]]
) -> None:
    target = shifted()
    before = state_sha256(trained.module)
    made = recalibrator(factor=9).recalibrate(trained, target)
    expected = recalibrate_batch_norm(trained, target, device="cpu")
    assert made.teacher is made.student
    assert state_sha256(module_of(made.teacher)) == state_sha256(expected.module)
    assert state_sha256(trained.module) == before
    assert made.verdict is not None  # without the source nothing is trained
    assert made.verdict.outcome == "adapted"
    assert "batch normalisation's statistics" in made.verdict.reason
    images = np.stack([sample.image for sample in target])
    cores, whole = (np.asarray(p.predict(images)) > 0.5 for p in (trained, made.teacher))
    # a pixel further to the right than the core of 4 x 4 and the whole lesion
    np.testing.assert_array_equal(cores, np.roll(images == np.float32(0.6), 1, -1))
    np.testing.assert_array_equal(whole, np.roll(images > 0, 1, -1))


def test_statistics_that_make_it_mark_much_more_than_before_and_on_the_source_are_not(
    trained: TorchPredictor, source: SourceStatistics, shifted: Callable[..., list[Sample]]
) -> None:
    """Larger objects agree better, right or wrong: 144 pixels are marked in the place of 16."""
    target = shifted()
    less = replace(source, foreground_fraction=np.array([95 / 1024]))
    for known, factor, outcome in (
        (None, 8.9, "unchanged"),
        (None, 9, "adapted"),
        (less, 1.5, "unchanged"),
        (replace(less, foreground_fraction=np.array([96 / 1024])), 1.5, "adapted"),
    ):
        made = recalibrator(source=known, factor=factor, shift=1e9).recalibrate(trained, target)
        assert made.verdict is not None
        assert made.verdict.outcome == outcome
        assert (made.teacher is trained) == (outcome == "unchanged")


def test_the_evidence_has_a_row_for_each_network_and_one_for_the_source(
    trained: TorchPredictor, source: SourceStatistics, shifted: Callable[..., list[Sample]]
) -> None:
    target = shifted()
    made = recalibrator(source=source).recalibrate(trained, target)
    as_it_is, normalised, known = made.evidence.to_pylist()
    for row, network in ((as_it_is, trained), (normalised, made.teacher)):
        measured = measure_agreement(network, target)
        assert row["agreement"] == measured.pooled
        assert row["per_image"] == measured.per_image
        assert row["fraction"] == measured.fraction[0]
    assert as_it_is["agreement"] + 0.1 < normalised["agreement"]
    assert [as_it_is["fraction"], normalised["fraction"]] == [16 / 1024, 144 / 1024]
    assert (as_it_is["adjustment"], as_it_is["taken"]) == ("none", False)
    assert (normalised["adjustment"], normalised["taken"]) == ("batch norm", True)
    assert known == {
        "adjustment": "source",
        "agreement": source.agreement,
        "per_image": None,
        "fraction": 144 / 1024,
        "taken": None,
    }
    alone = recalibrator(factor=9).recalibrate(trained, target).evidence
    assert alone.to_pylist() == [as_it_is, normalised]


def test_what_won_is_trained_where_there_is_a_shift_and_its_masks_are_worth_learning(
    trained: TorchPredictor,
    source: SourceStatistics,
    lesions: Callable[..., list[Sample]],
    shifted: Callable[..., list[Sample]],
) -> None:
    made = recalibrator(source=source).recalibrate(trained, shifted())
    assert made.verdict is None
    assert made.teacher is made.student
    assert made.teacher is not trained
    agreement, marked = (made.evidence[name][1].as_py() for name in ("agreement", "fraction"))
    away = measure_likeness(shifted(), source).shift
    few = [replace(sample, group=f"g{index % 4}") for index, sample in enumerate(shifted())]
    unmeasured = SourceStatistics.measure(lesions("s"), region=None)
    for options, target, outcome in (
        ({"min_agreement": agreement - 0.05}, shifted(), None),
        ({"min_agreement": agreement + 0.01}, shifted(), "adapted"),
        ({"shift": away}, shifted(), None),
        ({"shift": away + 0.01}, shifted(), "adapted"),
        ({"source": replace(source, foreground_fraction=np.array([2.9 * marked]))}, None, None),
        (
            {"source": replace(source, foreground_fraction=np.array([3.1 * marked]))},
            None,
            "adapted",
        ),
        ({"source": replace(source, features=None)}, shifted(), "adapted"),
        ({"source": unmeasured, "factor": 9}, shifted(), "adapted"),
        ({}, few, "unchanged"),  # of four groups nothing is sure
    ):
        verdict = (
            recalibrator(**{"source": source} | options).recalibrate(trained, target or shifted())
        ).verdict
        assert (verdict and verdict.outcome) == outcome


def test_a_network_that_marks_far_more_than_on_the_source_is_not_trained(
    trained: TorchPredictor, source: SourceStatistics, lesions: Callable[..., list[Sample]]
) -> None:
    brighter = lesions("t", edge=2.0, core=2.0)
    made = recalibrator(source=source, margin=0.9).recalibrate(trained, brighter)
    assert made.verdict is None
    less = replace(source, foreground_fraction=np.array([47 / 1024]))  # 144 pixels are marked
    made = recalibrator(source=less, margin=0.9).recalibrate(trained, brighter)
    assert made.verdict is not None
    assert "marks 14.06% of all pixels here and 4.59% on the source" in made.verdict.reason


@pytest.mark.parametrize("known", [True, False], ids=["with the source", "without it"])
def test_without_a_shift_the_network_stays_as_it_is(
    trained: TorchPredictor,
    source: SourceStatistics,
    lesions: Callable[..., list[Sample]],
    *,
    known: bool,
) -> None:
    made = recalibrator(source=source if known else None).recalibrate(trained, lesions("t"))
    assert made.teacher is made.student is trained
    assert made.verdict is not None
    assert made.verdict.outcome == "unchanged"
    said = (
        "there is no shift: the images are like the source's"
        if known
        else "no change makes the model surely agree better with itself, and nothing is trained"
    )
    assert said in made.verdict.reason
    tried = ["none"] if known else ["none", "batch norm"]
    assert [row["adjustment"] for row in made.evidence.to_pylist()][: len(tried)] == tried
    assert made.evidence["taken"].to_pylist()[0]


def test_without_a_shift_no_statistics_are_tried_that_agree_better(
    trained: TorchPredictor, source: SourceStatistics, shifted: Callable[..., list[Sample]]
) -> None:
    away = measure_likeness(shifted(), source).shift
    for limit, changed in ((away - 0.1, True), (away + 0.1, False)):
        made = recalibrator(source=source, recalibration_shift=limit, shift=1e9).recalibrate(
            trained, shifted()
        )
        assert (made.teacher is not trained) == changed
        assert made.verdict is not None
        assert made.verdict.outcome == ("adapted" if changed else "unchanged")


def test_a_gain_within_the_margin_is_none(
    trained: TorchPredictor, shifted: Callable[..., list[Sample]]
) -> None:
    taken, left = (
        recalibrator(margin=margin, factor=9).recalibrate(trained, shifted())
        for margin in (0.1, 0.2)
    )
    assert taken.teacher is not trained
    assert left.teacher is trained


def test_images_without_foreground_do_not_fool_it(
    trained: TorchPredictor, lesions: Callable[..., list[Sample]]
) -> None:
    # one small lesion; in the other images something large and faint, which is none
    target = [lesions("t", edge=0.6, core=0.6, size=4)[0], *lesions("t", edge=0.12, core=0.12)[1:]]
    made = recalibrator().recalibrate(trained, target)
    as_it_is, normalised = made.evidence.to_pylist()
    assert normalised["fraction"] > 5 * as_it_is["fraction"]  # it marks what is faint
    assert normalised["agreement"] > as_it_is["agreement"] + 0.1
    assert normalised["per_image"] < as_it_is["per_image"]
    assert made.teacher is trained
    assert made.verdict is not None
    assert made.verdict.outcome == "unchanged"


def test_a_network_that_finds_nothing_stays_as_it_is(
    trained: TorchPredictor, lesions: Callable[..., list[Sample]]
) -> None:
    blank = [replace(sample, image=0 * sample.image) for sample in lesions("t")]
    made = recalibrator().recalibrate(trained, blank)
    assert made.teacher is trained
    assert made.verdict is not None
    assert made.verdict.outcome == "unchanged"
    assert "no foreground" in made.verdict.reason
    assert made.evidence["adjustment"].to_pylist() == ["none"]


def test_a_network_that_marks_everything_is_not_fit(
    lesions: Callable[..., list[Sample]], displacing: Callable[..., nn.Module]
) -> None:
    everything = cpu(displacing(bias=99.0))
    made = recalibrator().recalibrate(everything, lesions("t"))
    assert made.teacher is everything
    assert made.verdict is not None
    assert made.verdict.outcome == "unfit"
    assert "marks 100% of all pixels as foreground; label a few images" in made.verdict.reason


def test_images_unlike_the_source_s_are_not_fit_for_the_network(
    trained: TorchPredictor, source: SourceStatistics, lesions: Callable[..., list[Sample]]
) -> None:
    inverted = [replace(sample, image=1 - sample.image) for sample in lesions("t")]
    far = [replace(sample, image=sample.image + 5) for sample in lesions("t")]
    for target, said in ((inverted, "the other way round"), (far, "standard deviations from")):
        made = recalibrator(source=source, max_fraction=1.0).recalibrate(trained, target)
        assert made.teacher is trained
        assert made.verdict is not None
        assert made.verdict.outcome == "unfit"
        assert said in made.verdict.reason
        assert made.verdict.reason.endswith("; label a few images")


def test_a_network_without_batch_normalisation_has_nothing_to_measure_anew(
    source: SourceStatistics,
    shifted: Callable[..., list[Sample]],
    displacing: Callable[..., nn.Module],
) -> None:
    plain = cpu(displacing(normalised=False, bias=-4.5))
    made = recalibrator().recalibrate(plain, shifted())
    assert made.teacher is plain
    assert made.verdict is not None
    assert made.verdict.outcome == "unchanged"
    assert made.evidence["adjustment"].to_pylist() == ["none"]
    less = replace(source, foreground_fraction=np.array([48 / 1024]))
    room = recalibrator(source=less, min_agreement=0.1).recalibrate(plain, shifted())
    assert room.teacher is room.student is plain  # to be trained as it is
    assert room.verdict is None
    little = recalibrator(source=source).recalibrate(plain, shifted())  # 16 pixels of 144
    assert little.verdict is not None
    assert little.verdict.outcome == "unchanged"
    assert little.verdict.reason.endswith("too far off to learn from")


# Its parameters


def test_at_most_so_many_samples_are_compared_and_statistics_are_of_all(
    trained: TorchPredictor, shifted: Callable[..., list[Sample]]
) -> None:
    calls: list[tuple[str, int, int]] = []
    made = recalibrator(
        factor=9, max_samples=5, progress=lambda *call: calls.append(call)
    ).recalibrate(trained, shifted())
    assert [call for call in calls if call[1] == call[2]] == [
        ("agreement", 5, 5),
        ("recalibrate", 6, 6),
        ("agreement", 5, 5),
    ]
    expected = recalibrate_batch_norm(trained, shifted(), device="cpu")
    assert state_sha256(module_of(made.teacher)) == state_sha256(expected.module)


def test_masks_are_those_at_the_source_s_cut_off_on_the_views_that_are_given(
    trained: TorchPredictor,
    lesions: Callable[..., list[Sample]],
    shifted: Callable[..., list[Sample]],
) -> None:
    views = Views(axes=(-2,), scales=())
    made = recalibrator(views=views).recalibrate(trained, shifted())
    assert made.evidence["agreement"][0].as_py() == 1  # nothing is displaced along this axis
    assert made.teacher is trained
    # of the source's lesions, the logits are 9 * (2.46 - 1) in them and 9 * (-0.41 - 1) outside
    low = recalibrator(cutoff=1e-6).recalibrate(trained, lesions("t"))
    assert low.verdict is not None
    assert low.verdict.outcome == "unfit"
    assert low.evidence["fraction"][0].as_py() > 0.9


def test_the_manifest_tells_of_what_decides_and_not_of_the_machine(
    source: SourceStatistics,
) -> None:
    one = recalibrator(batch_size=1, device="cpu", progress=lambda *_: None)
    assert one.describe() == recalibrator(batch_size=8, device="auto").describe()
    for change in (
        {"cutoff": 0.4},
        {"source": source},
        {"views": Views(axes=(-2,))},
        {"margin": 0.1},
        {"shift": 0.1},
        {"min_agreement": 0.1},
        {"max_fraction": 0.5},
        {"max_samples": 5},
        {"statistics_batch_size": 4},
    ):
        assert recalibrator(**change).describe() != recalibrator().describe(), change


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cutoff": 1.0}, "cutoff is 1.0"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"factor": 0.9}, "factor is 0.9"),
        ({"shift": -1.0}, "shift is -1.0"),
        ({"min_agreement": 1.1}, "min_agreement is 1.1"),
        ({"max_fraction": 0.0}, "max_fraction is 0.0"),
        ({"max_samples": 0}, "max_samples is 0"),
    ],
    ids=str,
)
def test_parameters_outside_their_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        recalibrator(**options)


# What it cannot use


def test_labelled_samples_are_refused(
    trained: TorchPredictor, lesions: Callable[..., list[Sample]]
) -> None:
    mask = np.zeros((32, 32), np.uint8)
    labelled: Any = [LabelledSample(s.id, s.group, s.image, mask) for s in lesions("t")]
    with pytest.raises(LabelledTargetError, match="has a mask"):
        recalibrator().recalibrate(trained, labelled)


def test_a_predictor_without_a_module_an_empty_target_and_other_channels_are_refused(
    trained: TorchPredictor, source: SourceStatistics, lesions: Callable[..., list[Sample]]
) -> None:
    class Constant:
        def predict(self, images: Any, /) -> Any:
            return 0.8 * images[:, :1]

    with pytest.raises(InputError, match="Constant has no module"):
        recalibrator().recalibrate(Constant(), lesions("t"))
    with pytest.raises(InputError, match="at least one unlabelled sample"):
        recalibrator().recalibrate(trained, [])
    two = [replace(s, image=np.concatenate([s.image] * 2)) for s in lesions("t")]
    with pytest.raises(InputError, match="have 2 channels"):
        recalibrator(source=source).recalibrate(Constant(), two)


def test_statistics_are_also_measured_on_images_with_as_much_foreground_as_the_source_s(
    trained: TorchPredictor,
    source: SourceStatistics,
    lesions: Callable[..., list[Sample]],
) -> None:
    some = [
        replace(s, id=f"{size}-{n}-{s.id}")
        for size, times in ((12, 3), (20, 1))
        for n in range(times)
        for s in lesions("t", size=size)
    ]
    made = recalibrator(source=source).recalibrate(trained, some)
    rows = {row["adjustment"]: row for row in made.evidence.to_pylist()}
    assert list(rows) == ["none", "batch norm", "matched batch norm", "source"]
    small = [s for s in some if s.id.startswith("12")]  # 144 pixels each, as on the source
    expected = measure_agreement(recalibrate_batch_norm(trained, small, device="cpu"), some)
    assert rows["matched batch norm"]["agreement"] == expected.pooled
    assert rows["matched batch norm"]["fraction"] == expected.fraction[0]
    few = recalibrator(source=source).recalibrate(trained, some[6:])  # 12 of 18 match
    assert few.evidence["adjustment"].to_pylist() == ["none", "batch norm", "source"]
    unknown = recalibrator().recalibrate(trained, some)
    assert unknown.evidence["adjustment"].to_pylist() == ["none", "batch norm"]


def test_a_fine_tuned_student_keeps_the_fraction(
    net: Callable[..., nn.Module], pseudo: Callable[..., list[PseudoLabelled]]
) -> None:
    labels = pseudo(6)
    fine_tune = FineTune(validation=None, options=QUICK)
    trained = keep_fraction(fine_tune).retrain(cpu(net()), labels)
    alone = fine_tune.retrain(cpu(net()), labels)
    assert state_sha256(module_of(trained)) == state_sha256(module_of(alone))
    images = np.stack([item.image for item in labels])
    marked = np.asarray(trained.predict(images))[:, 0] > 0.5
    taught = np.stack([item.label for item in labels]) > 0
    assert marked.mean() == pytest.approx(taught.mean(), abs=2 / marked.size)
    again = keep_fraction(fine_tune).retrain(trained, labels)
    assert np.mean(np.asarray(again.predict(images))[:, 0] > 0.5) == pytest.approx(
        taught.mean(), abs=2 / marked.size
    )
