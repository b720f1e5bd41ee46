from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

import pladapt
from pladapt import (
    Batch,
    InputError,
    LabelledTargetError,
    LogitShiftPredictor,
    Prediction,
    Sample,
    find_consensus,
)
from pladapt.functional.arrays import to_numpy
from pladapt.functional.logits import foreground_logit, shift_logits
from pladapt.predictors.consensus import FRACTIONS, drawn
from pladapt.predictors.prediction import predictions
from pladapt.testing import PredictorContract
from pladapt.testing.checks import Sigmoid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Channels:
    """Takes some of an image's channels for its members' logits, raised by a bias."""

    places: tuple[int, ...]
    bias: float = 0.0

    def predict(self, images: Any, /) -> Any:
        """Return the members' mean."""
        return self.predict_batch(Batch.unnamed(images)).probabilities

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return a member for each channel, and their mean."""
        each = [_sigmoid(batch.images[:, p : p + 1] + self.bias) for p in self.places]
        return Prediction(batch.ids, np.mean(each, axis=0), np.stack(each))


def _sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 / (1 + np.exp(-logits)))


PAIRS = (Channels((0, 1)), Channels((2, 3)), Channels((4, 5)))


def noise(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def discs(size: int = 16, *, radius: float = 4.0, count: int = 4) -> NDArray[np.bool_]:
    """Return masks of a disc each, which lies elsewhere in each."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack(
        [(rows - 6 - i % 3) ** 2 + (columns - 7) ** 2 < radius**2 for i in range(count)]
    )


def target_of(logits: NDArray[Any]) -> list[Sample]:
    """Make samples of six channels of logits ``(B, 6, H, W)``."""
    return [Sample(f"s{i}", f"p{i // 2}", image) for i, image in enumerate(logits)]


def seen(masks: NDArray[np.bool_], *, blind: tuple[int, ...] = (), seed: int = 0) -> list[Sample]:
    """Make samples whose channels show the masks, but for some that show nothing."""
    logits = noise(len(masks), 6, *masks.shape[1:], seed=seed)
    for channel in set(range(6)) - set(blind):
        logits[:, channel] += np.where(masks, 4, -4)
    return target_of(logits)


def found(target: Sequence[Sample], predictors: Any = PAIRS, **options: Any) -> pladapt.Consensus:
    return find_consensus(predictors, target, **{"region": None} | options)


def summary(consensus: pladapt.Consensus) -> tuple[Any, ...]:
    columns = (consensus.fraction, consensus.agreed, consensus.kept, consensus.shifts)
    return (*columns, consensus.agreement, consensus.groups, str(consensus.curve.to_pylist()))


# Logits


def test_log_odds_of_one_channel_and_of_a_softmax(xp: Any) -> None:
    one = np.asarray([0.5, 0.1, 0.9]).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(
        to_numpy(foreground_logit(xp.asarray(one)))[0, :, 0],
        [0, -math.log(9), math.log(9)],
        rtol=1e-6,
    )
    several = np.asarray([[0.5, 0.2], [0.25, 0.5], [0.25, 0.3]]).reshape(1, 3, 2, 1)
    np.testing.assert_allclose(
        to_numpy(foreground_logit(xp.asarray(several)))[0, :, 0],
        [0, math.log(4)],
        rtol=1e-6,
        atol=1e-9,
    )


def test_log_odds_of_what_has_saturated_are_finite(xp: Any) -> None:
    ends = xp.asarray(np.asarray([0.0, 1.0], np.float32).reshape(1, 1, 2, 1))
    expected = [-126 * math.log(2), 24 * math.log(2)]
    np.testing.assert_allclose(to_numpy(foreground_logit(ends))[0, :, 0], expected, rtol=1e-6)


def softmax(classes: int, seed: int) -> NDArray[np.float64]:
    if classes == 1:
        return np.random.default_rng(seed).uniform(0.01, 0.99, (2, 1, 4, 3))
    exponentials = np.exp(noise(2, classes, 4, 3, seed=seed))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@settings(max_examples=25)
@given(classes=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99), shift=st.floats(-5, 5))
def test_a_shift_adds_to_the_log_odds_and_can_be_undone(
    xp: Any, classes: int, seed: int, shift: float
) -> None:
    given_ = softmax(classes, seed)
    shifted = shift_logits(xp.asarray(given_), shift)
    assert array_namespace(shifted) is array_namespace(xp.asarray(given_))
    before, after = (to_numpy(foreground_logit(p)) for p in (xp.asarray(given_), shifted))
    np.testing.assert_allclose(after, before + shift, atol=1e-5)
    np.testing.assert_allclose(to_numpy(shift_logits(shifted, -shift)), given_, rtol=1e-6)
    if classes > 1:
        np.testing.assert_allclose(to_numpy(shifted).sum(axis=1), 1, rtol=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), shift=st.floats(-5, 5))
def test_a_shift_keeps_the_order_of_pixels_and_of_foreground_classes(
    seed: int, shift: float
) -> None:
    given_ = softmax(4, seed)
    shifted = shift_logits(given_, shift)
    np.testing.assert_array_equal(
        np.argsort(given_[:, 1:], axis=1), np.argsort(shifted[:, 1:], axis=1)
    )
    one, moved = softmax(1, seed), shift_logits(softmax(1, seed), shift)
    np.testing.assert_array_equal(np.argsort(one, axis=None), np.argsort(moved, axis=None))


def test_no_shift_changes_nothing_and_single_precision_is_the_least() -> None:
    for classes in (1, 3):
        given_ = softmax(classes, 0)
        np.testing.assert_allclose(shift_logits(given_, 0), given_, rtol=1e-12)
    assert shift_logits(softmax(1, 0).astype(np.float16), 1).dtype == np.float32


def test_what_has_saturated_can_be_brought_back() -> None:
    ones = np.ones((1, 1, 1, 1), np.float32)
    assert float(shift_logits(ones, -24 * math.log(2))[0, 0, 0, 0]) == pytest.approx(0.5, rel=1e-6)
    certain = np.asarray([0.0, 1.0], np.float32).reshape(1, 2, 1, 1)
    assert float(shift_logits(certain, -24 * math.log(2))[0, 1, 0, 0]) == pytest.approx(
        0.5, rel=1e-6
    )


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_what_is_no_probability_cannot_be_shifted(value: float) -> None:
    with pytest.raises(InputError, match="probabilities"):
        shift_logits(np.full((1, 1, 2, 2), value), 1)


# Shifted predictors


class TestLogitShift(PredictorContract):
    @pytest.fixture(params=["plain", "members", "classes"])
    def inner(self, request: pytest.FixtureRequest, toy: SimpleNamespace) -> Any:
        return {
            "plain": Sigmoid(),
            "members": Channels((0, 1, 2)),
            "classes": toy.Predictor(),
        }[request.param]

    @pytest.fixture(params=[{}, {"0": 2.0, "": 0.5}], ids=["all alike", "by group"])
    def predictor(self, request: pytest.FixtureRequest, inner: Any) -> Any:
        return LogitShiftPredictor(inner, -1.5, request.param)

    @pytest.fixture
    def images(self) -> Any:
        return noise(3, 3, 8, 8).astype(np.float32)


@given(shift=st.floats(-4, 4), seed=st.integers(0, 20))
def test_the_average_is_the_shifted_mean_of_the_inner_members(shift: float, seed: int) -> None:
    inner, images = Channels((0, 1, 2)), noise(2, 3, 5, 4, seed=seed)
    predictor = LogitShiftPredictor(inner, shift)
    expected = shift_logits(inner.predict(images), shift)
    np.testing.assert_allclose(predictor.predict(images), expected, rtol=1e-9)
    ((_, prediction),) = predictions(predictor, target_of(images))
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-9)
    assert prediction.members is not None
    np.testing.assert_allclose(
        prediction.members[1], shift_logits(Channels((1,)).predict(images), shift), rtol=1e-9
    )


def test_shifted_probabilities_are_not_the_mean_of_shifted_members(members_of: Any) -> None:
    images = np.asarray([-6.0, 6.0]).reshape(1, 2, 1, 1)
    predictor = LogitShiftPredictor(Channels((0, 1)), 4.0)
    assert float(predictor.predict(images)[0, 0, 0, 0]) == pytest.approx(_sigmoid(np.array(4.0)))
    mean = members_of(predictor, images).mean()
    assert abs(mean - _sigmoid(np.array(4.0))) > 0.4


def test_an_alignment_before_it_predicts_what_it_predicts() -> None:
    images = noise(2, 3, 5, 4)
    inner = LogitShiftPredictor(Channels((0, 1, 2)), 2.0)
    behind = pladapt.AlignedPredictor(inner, lambda given_: given_ / 2)
    ((_, prediction),) = predictions(behind, target_of(images))
    np.testing.assert_array_equal(prediction.probabilities, behind.predict(images))
    np.testing.assert_array_equal(prediction.probabilities, inner.predict(images / 2))


@pytest.mark.parametrize("shift", [math.nan, math.inf, -math.inf])
def test_a_shift_must_be_finite(shift: float) -> None:
    with pytest.raises(InputError, match="shift is"):
        LogitShiftPredictor(Channels((0,)), shift)


# Groups


@given(
    shifts=st.lists(st.floats(-4, 4), min_size=3, max_size=3), classes=st.sampled_from([1, 2, 4])
)
def test_each_sample_may_have_its_own_shift(xp: Any, shifts: list[float], classes: int) -> None:
    given_ = np.concatenate([softmax(classes, seed)[:1] for seed in range(3)])
    found_ = to_numpy(shift_logits(xp.asarray(given_), shifts))
    for index, shift in enumerate(shifts):
        alone = shift_logits(given_[index : index + 1], shift)
        np.testing.assert_allclose(found_[index : index + 1], alone, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
@pytest.mark.parametrize("around", ["alone", "ensemble", "aligned", "shifted", "flips"])
def test_a_group_s_samples_are_shifted_wherever_samples_are_predicted(
    around: str, batch_size: int, members_of: Any
) -> None:
    shifts = {"p0": 2.0, "p1": -1.0}
    target = target_of(noise(6, 6, 5, 4))  # two samples each of p0, p1, and p2, which has no shift
    inner = Channels((0, 1))
    grouped = LogitShiftPredictor(inner, groups=shifts)
    predictor, expected = {
        "alone": (grouped, lambda p: p),
        "ensemble": (pladapt.EnsemblePredictor([grouped]), lambda p: p),
        "aligned": (pladapt.AlignedPredictor(grouped, lambda images: images), lambda p: p),
        "shifted": (LogitShiftPredictor(grouped, 0.5), lambda p: shift_logits(p, 0.5)),
        "flips": (pladapt.FlipPredictor(grouped), lambda p: p),
    }[around]
    made = {
        sample.id: probabilities
        for batch, prediction in predictions(predictor, target, batch_size=batch_size)
        for sample, probabilities in zip(batch, prediction.probabilities, strict=True)
    }
    for sample in target:
        plain = inner.predict(sample.image[None])
        if around in ("ensemble", "flips"):  # whose average is that of the shifted members
            members = members_of(inner, sample.image[None])
            plain = np.mean([shift_logits(m, shifts.get(sample.group, 0)) for m in members], axis=0)
        else:
            plain = shift_logits(plain, shifts.get(sample.group, 0))
        np.testing.assert_allclose(made[sample.id], expected(plain)[0], rtol=1e-9)


def test_a_group_s_shift_is_added_to_that_of_all_samples() -> None:
    batch = Batch(("a", "b", "c"), ("p", "q", "r"), noise(3, 3, 5, 4))
    inner = Channels((0, 1, 2))
    shifted = LogitShiftPredictor(inner, 0.5, {"p": 2.0, "q": -1.0}).predict_batch(batch)
    plain, shifts = inner.predict_batch(batch), (2.5, -0.5, 0.5)
    np.testing.assert_allclose(
        shifted.probabilities, shift_logits(plain.probabilities, shifts), rtol=1e-9
    )
    for one, other in zip(shifted.views, plain.views, strict=True):
        np.testing.assert_allclose(one, shift_logits(other, shifts), rtol=1e-9)


def test_images_without_groups_are_predicted_as_they_were() -> None:
    images, inner = noise(2, 3, 5, 4), Channels((0, 1, 2))
    grouped = LogitShiftPredictor(inner, groups={"p": 3.0})
    np.testing.assert_allclose(grouped.predict(images), inner.predict(images), rtol=1e-12)


@pytest.mark.parametrize("shift", [math.nan, math.inf])
def test_every_group_s_shift_must_be_finite(shift: float) -> None:
    with pytest.raises(InputError, match="shift is"):
        LogitShiftPredictor(Channels((0,)), groups={"p": 0.0, "q": shift})


# Agreement against a plain loop


def kappa(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return Cohen's kappa of two raters, counted pixel by pixel."""
    counts = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        counts[a, b] += 1
    total = len(one)
    observed = (counts[True, True] + counts[False, False]) / total
    first = (counts[True, True] + counts[True, False]) / total
    second = (counts[True, True] + counts[False, True]) / total
    expected = first * second + (1 - first) * (1 - second)
    return 0.0 if expected == 1 else (observed - expected) / (1 - expected)


def surest(logits: NDArray[Any], fraction: float) -> NDArray[np.bool_]:
    """Mark as many of the surest pixels as lie above the quantile, by sorting."""
    count = len(logits) - 1 - math.floor((len(logits) - 1) * (1 - fraction) + 1e-9)
    marked = np.zeros(len(logits), bool)
    marked[np.argsort(-logits)[:count]] = True
    return marked


def agreement_by_hand(
    channels: dict[int, NDArray[Any]], own: list[int], others: list[int], fraction: float
) -> float:
    """Return a half of the agreement among own views, and a half of that with others' views."""
    marked = {c: surest(logits, fraction) for c, logits in channels.items()}
    inside: list[float] = []
    across: list[float] = []
    for predictor in own:
        for place in (2 * predictor, 2 * predictor + 1):
            for channel, other in marked.items():
                if channel == place or channel // 2 not in {predictor, *others}:
                    continue
                kind = inside if channel // 2 == predictor else across
                kind.append(kappa(marked[place], other))
    return sum(sum(kind) / len(kind) for kind in (inside, across)) / 2


def test_the_curves_are_cohen_s_kappa_of_the_surest_pixels() -> None:
    target = seen(discs(8, radius=2.5, count=3), blind=(4, 5))
    consensus = found(target)
    flat = np.stack([sample.image for sample in target]).astype(np.float32)
    channels = {c: flat[:, c].reshape(-1) for c in range(6)}
    everyone = [0, 1, 2]
    rows = consensus.curve.to_pylist()
    for predictor in (*everyone, None):
        own = list(consensus.kept) if predictor is None else [predictor]
        others = list(consensus.kept) if predictor is None else everyone
        curve = [row for row in rows if row["predictor"] == predictor]
        assert [row["fraction"] for row in curve] == list(FRACTIONS)
        for row in curve:
            expected = agreement_by_hand(channels, own, others, row["fraction"])
            assert row["agreement"] == pytest.approx(expected, abs=1e-9)
    assert len(rows) == 4 * len(FRACTIONS)


def test_each_shift_puts_the_fraction_above_a_half(members_of: Any) -> None:
    target = seen(discs())
    consensus = found(target)
    images = np.stack([sample.image for sample in target])
    for predictor, shift in zip(PAIRS, consensus.shifts, strict=True):
        logits = [foreground_logit(member) for member in members_of(predictor, images)]
        assert np.mean(np.mean(logits, axis=0) + shift > 0) == pytest.approx(
            consensus.fraction, abs=2e-3
        )


# What is found


def bright_and_dim(per_group: int) -> tuple[NDArray[np.bool_], list[Sample]]:
    """Return two groups of discs, the second of which every predictor sees too dark."""
    masks = np.concatenate([discs(count=per_group)] * 2)
    logits = noise(len(masks), 6, *masks.shape[1:]) + np.where(masks, 2, -2)[:, None]
    logits[per_group:] -= 1.5
    groups = [("bright", "dim")[i >= per_group] for i in range(len(masks))]
    return masks, [
        Sample(f"s{i}", group, image)
        for i, (group, image) in enumerate(zip(groups, logits, strict=True))
    ]


def test_a_group_that_is_seen_darker_is_raised() -> None:
    masks, target = bright_and_dim(12)
    consensus = found(target)
    assert consensus.groups["dim"] > 0.1
    agreed = consensus.predictor(PAIRS)
    shifted = LogitShiftPredictor(agreed, groups=consensus.groups)
    plain, grouped = (
        np.concatenate([p.probabilities[:, 0] > 0.5 for _, p in predictions(each, target)])
        for each in (agreed, shifted)
    )
    dim = np.arange(len(masks)) >= 12
    assert np.mean(grouped[dim] != masks[dim]) < np.mean(plain[dim] != masks[dim])


def test_few_samples_move_a_group_less() -> None:
    few, many = (found(bright_and_dim(n)[1]).groups["dim"] for n in (3, 24))
    assert 0 < few < many


def test_where_a_group_agrees_on_nothing_it_is_left_alone() -> None:
    target = [*seen(discs(count=8)), *target_of(noise(4, 6, 16, 16, seed=3))]
    renamed = [Sample(f"{i}", "discs" if i < 8 else "noise", s.image) for i, s in enumerate(target)]
    consensus = found(renamed)
    assert "noise" not in consensus.groups


def test_one_that_is_noise_is_left_out_and_the_fraction_of_the_discs_is_found() -> None:
    masks = discs()
    consensus = found(seen(masks, blind=(4, 5)))
    assert consensus.kept == (0, 1)
    assert consensus.agreed is not None
    truth = masks.mean()
    step = abs(math.log(consensus.agreed / (1 - consensus.agreed)) - math.log(truth / (1 - truth)))
    assert step <= 0.3
    assert consensus.agreement[0] > consensus.agreement[2] + 0.3


def test_the_mean_of_the_kept_ones_marks_the_discs_whatever_their_scale() -> None:
    """The logits of one predictor lie far below, of the other far above the cut-off."""
    masks = discs()
    target = seen(masks, blind=(4, 5))
    moved = (Channels((0, 1), -4.5), Channels((2, 3), 3.0), PAIRS[2])
    consensus = found(target, moved)
    images = np.stack([sample.image for sample in target])
    marked = consensus.predictor(moved).predict(images)[:, 0] > 0.5
    overlap = 2 * np.sum(marked & masks) / (marked.sum() + masks.sum())
    assert overlap > 0.9
    unmoved = moved[0].predict(images)[:, 0] > 0.5
    assert 2 * np.sum(unmoved & masks) / (unmoved.sum() + masks.sum()) < 0.6


def test_the_fraction_lies_between_what_is_agreed_on_and_what_is_marked(members_of: Any) -> None:
    target = seen(discs())
    moved = [Channels(predictor.places, -3.0) for predictor in PAIRS]
    consensus = found(target, moved)
    images = np.stack([sample.image for sample in target])
    marked = [np.mean(members_of(predictor, images) > 0.5) for predictor in moved]
    assert consensus.agreed is not None
    assert max(marked) < consensus.fraction < consensus.agreed


def test_the_hearts_of_objects_are_not_taken_for_all_of_them(members_of: Any) -> None:
    """All agree on a heart of each disc best, and mark six times as much."""
    masks = discs()
    logits = noise(4, 6, 16, 16) + np.where(masks, 1.8, -1.8)[:, None]
    logits[:, :, 6:8, 5:9] += 20
    consensus = found(target_of(logits))
    marked = min(np.mean(members_of(predictor, logits) > 0.5) for predictor in PAIRS)
    heart = 8 / 256
    together = [row for row in consensus.curve.to_pylist() if row["predictor"] is None]
    best = max(together, key=lambda row: row["agreement"])
    assert best["fraction"] == pytest.approx(heart, rel=0.3)
    assert consensus.agreed is not None
    assert consensus.agreed > marked / 2


@settings(max_examples=15)
@given(shift=st.floats(-1, 1))
def test_a_shift_of_all_logits_does_not_change_what_is_agreed_on(shift: float) -> None:
    target = seen(discs(), blind=(4, 5))
    moved = [Channels(predictor.places, shift) for predictor in PAIRS]
    before, after = found(target), found(target, moved)
    assert before.agreed is not None
    assert (after.agreed, after.kept) == (before.agreed, before.kept)


@settings(max_examples=15)
@given(order=st.permutations(range(4)), size=st.integers(1, 4), pixels=st.sampled_from([80, 10**6]))
def test_order_and_batches_change_nothing(order: list[int], size: int, pixels: int) -> None:
    target = seen(discs())
    turned = [target[place] for place in order]
    assert summary(found(turned, batch_size=size, pixels=pixels)) == summary(
        found(target, batch_size=4, pixels=pixels)
    )


@settings(max_examples=10)
@given(order=st.permutations(range(3)))
def test_the_order_of_the_predictors_does_not_matter(order: list[int]) -> None:
    target = seen(discs(), blind=(4, 5))
    one, other = found(target), found(target, [PAIRS[place] for place in order])
    assert other.fraction == pytest.approx(one.fraction)
    assert other.agreed == one.agreed
    assert {order[place] for place in other.kept} == set(one.kept)
    assert other.shifts == pytest.approx([one.shifts[place] for place in order])


@pytest.mark.parametrize("cutoff", [0.3, 0.5, 0.9])
def test_where_nothing_is_agreed_on_all_are_kept_and_mark_as_their_members_do(
    cutoff: float, members_of: Any
) -> None:
    target = target_of(noise(4, 6, 16, 16))
    consensus = found(target, cutoff=cutoff)
    assert consensus.agreed is None
    assert consensus.kept == (0, 1, 2)
    assert not consensus.groups
    images = np.stack([sample.image for sample in target])
    marked = [np.mean(members_of(predictor, images) > cutoff) for predictor in PAIRS]
    middle = np.mean([math.log(fraction / (1 - fraction)) for fraction in marked])
    assert consensus.fraction == pytest.approx(1 / (1 + math.exp(-middle)), rel=1e-4)


def test_of_members_that_disagree_the_mean_marks_no_less_than_each(members_of: Any) -> None:
    target = target_of(noise(4, 6, 16, 16))
    images = np.stack([sample.image for sample in target])
    members = members_of(PAIRS[0], images)
    each = np.mean(members > 0.9)
    assert np.mean(members.mean(axis=0) > 0.9) < each / 2
    agreed = found(target, PAIRS[:1], cutoff=0.9).predictor(PAIRS[:1])
    assert np.mean(agreed.predict(images) > 0.5) == pytest.approx(each, rel=0.1)


def test_a_single_predictor_agrees_with_its_own_members() -> None:
    consensus = found(seen(discs()), PAIRS[:1])
    assert consensus.kept == (0,)
    assert consensus.agreed is not None


def test_pixels_outside_the_region_do_not_count() -> None:
    masks = discs()
    target = [
        Sample(s.id, s.group, np.concatenate([s.image, np.full((6, 8, 16), -7.0)], axis=1))
        for s in seen(masks)
    ]
    inside = found(target, region=lambda images: images[:, 0] != -7)
    assert inside.agreed == found(seen(masks)).agreed
    assert inside.agreed != found(target).agreed


def test_other_shifts_may_be_given(members_of: Any) -> None:
    target = seen(discs())
    images = np.stack([sample.image for sample in target])
    ensemble = found(target).predictor(PAIRS, (0.0, 0.0, 0.0))
    members = np.concatenate([members_of(predictor, images) for predictor in PAIRS])
    np.testing.assert_allclose(members_of(ensemble, images), members, rtol=1e-12)


def test_each_batch_is_reported() -> None:
    calls: list[tuple[str, int, int]] = []
    found(seen(discs()), batch_size=3, progress=lambda *call: calls.append(call))
    assert calls == [("consensus", 3, 4), ("consensus", 4, 4)]


@given(
    flags=st.lists(st.booleans(), max_size=40),
    count=st.integers(1, 40),
    id_=st.text(max_size=5),
)
def test_pixels_are_drawn_from_the_region_in_order_and_by_the_id(
    flags: list[bool], count: int, id_: str
) -> None:
    inside = np.asarray(flags, bool)
    places = drawn(id_, inside, count)
    assert len(places) == min(count, int(inside.sum()))
    assert inside[places].all()
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(places, drawn(id_, inside, count))


def test_other_ids_draw_other_pixels() -> None:
    inside = np.ones(1000, bool)
    assert drawn("a", inside, 10).tolist() != drawn("b", inside, 10).tolist()


# Errors


@pytest.mark.parametrize("cutoff", [0.0, 1.0, -1.0, math.nan])
def test_a_cutoff_lies_between_0_and_1(cutoff: float) -> None:
    with pytest.raises(InputError, match=r"cutoff is .*between 0 and 1"):
        found(seen(discs()), cutoff=cutoff)


@pytest.mark.parametrize(("predictors", "count"), [((), 4), (PAIRS, 0)])
def test_there_must_be_predictors_and_samples(predictors: Any, count: int) -> None:
    with pytest.raises(InputError, match=f"{len(predictors)} predictors and {count} unlabelled"):
        found(seen(discs())[:count], predictors)


def test_one_member_has_none_to_agree_with() -> None:
    with pytest.raises(InputError, match="single member"):
        found(seen(discs()), [Channels((0,))])
    with pytest.raises(InputError, match="single member"):
        found(seen(discs()), [pladapt.TemperaturePredictor(Channels((0,)), 2.0)])


def test_a_region_of_no_pixel_is_refused() -> None:
    with pytest.raises(InputError, match="No image has a pixel"):
        found(seen(discs()), region=lambda images: images[:, 0] > 100)


def test_a_mask_is_refused(toy: SimpleNamespace) -> None:
    labelled: Any = [*toy.target(count=2), *toy.lesions(count=3)[2:]]
    with pytest.raises(LabelledTargetError, match="'s2' has a mask"):
        found(labelled, [pladapt.FlipPredictor(toy.Predictor())])


def test_a_batch_size_below_1_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size is 0"):
        found(seen(discs()), batch_size=0)
