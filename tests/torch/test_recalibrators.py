from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from pladapt import FlipPredictor, InputError, Sample, SourceStatistics
from pladapt.errors import LabelledTargetError
from pladapt.functional.logits import shift_logits
from pladapt.runs import keep_fraction
from pladapt.testing import RecalibratorContract, RetrainerContract
from pladapt.torch import (
    BatchNormRecalibrator,
    ConsensusRecalibrator,
    FineTune,
    ScalePredictor,
    TorchPredictor,
    TrainingOptions,
    module_of,
    recalibrate_batch_norm,
)
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.types import LabelledSample, PseudoLabelled

pytestmark = pytest.mark.torch

COLUMNS = ["adjustment", "agreement", "kept", "shift", "agreed", "fraction", "groups"]
QUICK = TrainingOptions(epochs=1, batch_size=4, keep="last", device="cpu")


def bright(*, normalised: bool = True) -> nn.Module:
    """Make a network that takes an image's brightness for the lesion's logit.

    It smoothes, and not alike to both sides, so that mirror images differ in what is noise.
    """
    smooth = nn.Conv2d(1, 1, 3, padding=1)
    last = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        smooth.weight.copy_(torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 1, 0]])[None, None] / 4)
        last.weight.fill_(6.0)
        for layer, bias in ((smooth, 0.0), (last, -3.0)):
            assert layer.bias is not None
            layer.bias.fill_(bias)
    return nn.Sequential(smooth, *([nn.BatchNorm2d(1, affine=False)] if normalised else []), last)


def cpu(module: nn.Module) -> TorchPredictor:
    return TorchPredictor(module, device="cpu")


@pytest.fixture
def target(blobs: Callable[..., list[LabelledSample]]) -> list[Sample]:
    """Make unlabelled images, darker and noisier than the source's."""
    return [
        Sample(s.id, s.group, np.asarray(s.image * 0.7 - 0.2, np.float32))
        for s in blobs(6, "t", seed=1)
    ]


@pytest.fixture
def source(blobs: Callable[..., list[LabelledSample]]) -> SourceStatistics:
    return SourceStatistics.measure(blobs(6), region=None)


def consensus(**options: Any) -> ConsensusRecalibrator:
    return ConsensusRecalibrator(**{"region": None, "device": "cpu"} | options)


class TestBatchNorm(RecalibratorContract):
    @pytest.fixture
    def recalibrator(self) -> Any:
        return BatchNormRecalibrator(device="cpu", batch_size=4)

    @pytest.fixture
    def predictor(self, net: Callable[..., nn.Module]) -> Any:
        return FlipPredictor(cpu(net()))


class TestConsensus(RecalibratorContract):
    tolerance = 1e-6

    @pytest.fixture(params=["with the source", "without it", "of classes"])
    def recalibrator(self, request: pytest.FixtureRequest, source: SourceStatistics) -> Any:
        return consensus(source=source if request.param == "with the source" else None)

    @pytest.fixture
    def predictor(self, net: Callable[..., nn.Module], request: pytest.FixtureRequest) -> Any:
        return cpu(net(3 if "of classes" in request.node.name else 1))


class TestFractionKeepingFineTune(RetrainerContract):
    tolerance = 1e-6

    @pytest.fixture
    def retrainer(self) -> Any:
        return keep_fraction(FineTune(validation=None, options=QUICK))

    @pytest.fixture
    def predictor(self, net: Callable[..., nn.Module]) -> Any:
        return FlipPredictor(cpu(net()))


def test_batch_norm_s_statistics_and_how_many_layers_have_them(target: list[Sample]) -> None:
    predictor = cpu(bright())
    made = BatchNormRecalibrator(device="cpu", momentum=0.5).recalibrate(predictor, target)
    expected = recalibrate_batch_norm(predictor, target, momentum=0.5, device="cpu")
    assert state_sha256(module_of(made.student)) == state_sha256(expected.module)
    assert made.evidence.to_pylist() == [{"layers": 1, "samples": 6}]


def test_every_adjustment_has_its_row_of_evidence(
    target: list[Sample], source: SourceStatistics
) -> None:
    made = consensus(source=source).recalibrate(cpu(bright()), target)
    assert made.evidence.column_names == COLUMNS
    rows = made.evidence.to_pylist()
    named = [row["adjustment"] for row in rows]
    assert named == ["none", "batch norm", "aligned", "aligned, batch norm"]
    assert all(-1 <= row["agreement"] <= 1 for row in rows)
    assert any(row["kept"] for row in rows)
    best = max(rows, key=lambda row: row["agreement"])
    assert best["kept"]
    assert len({row["fraction"] for row in rows}) == len({row["agreed"] for row in rows}) == 1


@pytest.mark.parametrize(
    ("options", "normalised", "expected"),
    [
        ({}, True, ["none", "batch norm"]),
        ({}, False, ["none"]),
        ({"batch_norm": False}, True, ["none"]),
        ({"source": True}, False, ["none", "aligned"]),
        ({"source": True, "align": False}, True, ["none", "batch norm"]),
    ],
)
def test_what_cannot_be_adjusted_is_left_out(
    options: dict[str, Any],
    normalised: bool,  # noqa: FBT001 - a parameter of the test
    expected: list[str],
    target: list[Sample],
    source: SourceStatistics,
) -> None:
    given = options | ({"source": source} if "source" in options else {})
    made = consensus(**given).recalibrate(cpu(bright(normalised=normalised)), target)
    assert made.evidence["adjustment"].to_pylist() == expected


def test_the_student_is_the_network_with_the_target_s_statistics(target: list[Sample]) -> None:
    predictor = cpu(bright())
    made = consensus().recalibrate(predictor, target)
    expected = recalibrate_batch_norm(predictor, target, device="cpu")
    assert state_sha256(module_of(made.student)) == state_sha256(expected.module)
    plain = cpu(bright(normalised=False))
    alone = consensus().recalibrate(plain, target).student
    assert state_sha256(module_of(alone)) == state_sha256(plain.module)


def test_the_student_alone_predicts_at_several_scales(target: list[Sample]) -> None:
    predictor, images = cpu(bright()), np.stack([s.image for s in target])
    plain, scaling = (
        consensus(tta_scales=scales).recalibrate(predictor, target) for scales in ((), (1.5,))
    )
    torch.testing.assert_close(scaling.teacher.predict(images), plain.teacher.predict(images))
    expected = ScalePredictor(plain.student, (1.5,)).predict(images)
    torch.testing.assert_close(scaling.student.predict(images), expected)
    assert not torch.equal(expected, torch.as_tensor(plain.student.predict(images)))


def test_a_prediction_of_the_teacher_shifts_each_part_once_and_their_mean(
    target: list[Sample], source: SourceStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = consensus(source=source).recalibrate(cpu(bright()), target)
    calls: list[tuple[int, ...]] = []

    def counted(probabilities: Any, shift: Any) -> Any:
        calls.append(tuple(probabilities.shape))
        return shift_logits(probabilities, shift)

    monkeypatch.setattr("pladapt.predictors.shift.shift_logits", counted)
    made.teacher.predict(np.stack([s.image for s in target]))
    parts = sum(made.evidence["kept"].to_pylist())
    assert len(calls) == parts + 1


@pytest.mark.parametrize("cutoff", [0.2, 0.5, 0.8])
def test_what_the_teacher_marks_lies_above_the_source_s_cut_off(
    cutoff: float, target: list[Sample], blobs: Callable[..., list[LabelledSample]]
) -> None:
    made = consensus(cutoff=cutoff).recalibrate(cpu(bright()), target)
    truth = np.stack([s.mask for s in blobs(6, "t", seed=1)]) > 0
    images = np.stack([s.image for s in target])
    marked = np.asarray(made.teacher.predict(images))[:, 0] > cutoff
    fraction = made.evidence["fraction"][0].as_py()
    assert marked.mean() == pytest.approx(fraction, rel=0.3)
    assert 2 * np.sum(marked & truth) / (marked.sum() + truth.sum()) > 0.5


def test_without_a_fraction_the_source_s_cut_off_stays(
    target: list[Sample], members_of: Any
) -> None:
    predictor = cpu(bright(normalised=False))
    made = consensus(cutoff=0.3, fraction=False).recalibrate(predictor, target)
    assert made.evidence["shift"].to_pylist() == pytest.approx([-math.log(0.3 / 0.7)])
    images = np.stack([s.image for s in target])
    given = math.log(0.3 / 0.7)
    members = members_of(FlipPredictor(predictor), images)
    moved = torch.stack([shift_logits(member, -given) for member in members])
    np.testing.assert_allclose(
        made.teacher.predict(images), shift_logits(moved.mean(0), given), rtol=1e-5
    )


def test_where_nothing_is_agreed_on_every_adjustment_is_kept_at_the_mean_of_what_they_mark(
    net: Callable[..., nn.Module],
) -> None:
    images = np.random.default_rng(0).normal(size=(6, 1, 16, 16)).astype(np.float32)
    noise = [Sample(f"s{i}", "p", image) for i, image in enumerate(images)]
    predictor = cpu(net())
    made = consensus(cutoff=0.4).recalibrate(predictor, noise)
    assert set(made.evidence["agreed"].to_pylist()) == {None}
    assert all(made.evidence["kept"].to_pylist())
    marked = np.asarray(made.teacher.predict(images)) > 0.4
    assert marked.mean() == pytest.approx(made.evidence["fraction"][0].as_py(), rel=0.2)


def test_at_most_so_many_samples_are_compared_and_all_are_measured(target: list[Sample]) -> None:
    calls: list[tuple[str, int, int]] = []
    predictor = cpu(bright())
    made = consensus(max_samples=4, progress=lambda *call: calls.append(call)).recalibrate(
        predictor, target
    )
    assert calls[-1] == ("consensus", 4, 4)
    expected = recalibrate_batch_norm(predictor, target, device="cpu")
    assert state_sha256(module_of(made.student)) == state_sha256(expected.module)
    assert consensus(max_samples=4).describe() != consensus(max_samples=5).describe()


def test_the_manifest_tells_of_what_decides_and_not_of_the_machine(
    source: SourceStatistics,
) -> None:
    one = consensus(batch_size=1, device="cpu", progress=lambda *_: None)
    assert one.describe() == consensus(batch_size=8, device="auto").describe()
    for change in ({"cutoff": 0.4}, {"source": source}, {"axes": (-2,)}, {"align": False}):
        assert consensus(**change).describe() != consensus().describe()


def test_labelled_samples_are_refused(blobs: Callable[..., Any]) -> None:
    for recalibrator in (consensus(), BatchNormRecalibrator(device="cpu")):
        with pytest.raises(LabelledTargetError, match="has a mask"):
            recalibrator.recalibrate(cpu(bright()), blobs(3))


def test_a_predictor_without_a_module_is_refused(target: list[Sample]) -> None:
    class Constant:
        def predict(self, images: Any, /) -> Any:
            return np.full((len(images), 1, *images.shape[2:]), 0.5)

    with pytest.raises(InputError, match="Constant has no module"):
        consensus().recalibrate(Constant(), target)


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
