from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st

import pladapt
from pladapt import Batch, EnsemblePredictor, FlipPredictor, InputError, Prediction, Sample
from pladapt.functional.arrays import to_numpy
from pladapt.predictors import LogitShiftPredictor
from pladapt.predictors.prediction import predict_batch, predictions
from pladapt.runs.manifest import describe
from pladapt.selection.pairwise_dice import PairwiseDiceSelector
from pladapt.testing import PredictorContract
from pladapt.typing import BatchPredictor, WrappingPredictor

if TYPE_CHECKING:
    from types import SimpleNamespace

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Slanted:
    """Predicts brighter to the end of each spatial axis, so that every mirror image differs."""

    slope: float = 0.3
    channels: int = 1

    def predict(self, images: Any, /) -> Any:
        """Return the first channel's values, times a slope, in each channel's fraction."""
        xp = array_namespace(images)
        plane = xp.clip(images[:, :1, ...], 0.0, 1.0)
        for axis in range(2, images.ndim):
            size = images.shape[axis]
            shape = [size if place == axis else 1 for place in range(images.ndim)]
            ramp = xp.astype(xp.arange(1, size + 1), images.dtype) / size
            plane = plane * (1 - self.slope * xp.reshape(ramp, tuple(shape)))
        return plane if self.channels == 1 else xp.concat([1 - plane, plane], axis=1)


def images(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape or (3, 1, 6, 5)).astype(np.float32)


def mirrored(axes: tuple[int, ...], batch: NDArray[Any]) -> NDArray[Any]:
    back = Slanted().predict(np.flip(batch, axes))
    return np.asarray(np.flip(back, axes))


def averages() -> dict[str, Any]:
    flips = FlipPredictor(Slanted(), axes=(-1, -2), combine=True)
    return {
        "flips": FlipPredictor(Slanted()),
        "all flips": flips,
        "ensemble": EnsemblePredictor([Slanted(0.1), Slanted(0.5)]),
        "nested": EnsemblePredictor([flips, Slanted(0.2)]),
        "flips of classes": FlipPredictor(Slanted(channels=2), axes=(-2,)),
        "flips of an ensemble": FlipPredictor(EnsemblePredictor([Slanted(0.1), Slanted()])),
    }


class TestContract(PredictorContract):
    @pytest.fixture(params=averages())
    def predictor(self, request: pytest.FixtureRequest) -> Any:
        return averages()[request.param]


def test_flips_are_the_image_and_each_mirror_image(xp: Any, members_of: Any) -> None:
    batch = images()
    members = members_of(FlipPredictor(Slanted(), axes=(-1, -2)), xp.asarray(batch))
    assert array_namespace(members) is array_namespace(xp.asarray(batch))
    expected = np.stack([mirrored(axes, batch) for axes in ((), (-1,), (-2,))])
    np.testing.assert_allclose(to_numpy(members), expected, rtol=1e-6)
    assert len(np.unique(expected[:, 0, 0, 0, 0])) == 3, "the mirror images do not differ"


def test_combined_flips_are_every_subset_of_the_axes(members_of: Any) -> None:
    batch = images(2, 1, 4, 5, 3)
    members = members_of(FlipPredictor(Slanted(), axes=(-1, -2, -3), combine=True), batch)
    subsets = [(), (-1,), (-2,), (-3,), (-1, -2), (-1, -3), (-2, -3), (-1, -2, -3)]
    expected = np.stack([mirrored(axes, batch) for axes in subsets])
    np.testing.assert_allclose(members, expected, rtol=1e-6)


@given(seed=st.integers(0, 99), axis=st.sampled_from([-1, -2]))
def test_a_mirrored_image_has_the_mirrored_average(seed: int, axis: int) -> None:
    predictor, batch = FlipPredictor(Slanted(), axes=(-1, -2), combine=True), images(seed=seed)
    there = predictor.predict(np.flip(batch, axis))
    np.testing.assert_allclose(np.flip(there, axis), predictor.predict(batch), atol=1e-6)


def test_a_predictor_that_sees_no_direction_is_left_as_it_is(
    toy: SimpleNamespace, members_of: Any
) -> None:
    batch = images()
    plain = toy.Predictor(0.1)
    members = members_of(FlipPredictor(plain, axes=(-1, -2)), batch)
    for member in members:
        np.testing.assert_array_equal(member, plain.predict(batch))


def test_an_ensemble_shows_all_members_of_its_predictors_in_order(members_of: Any) -> None:
    batch, flips = images(), FlipPredictor(Slanted())
    members = members_of(EnsemblePredictor([flips, Slanted(0.1), flips]), batch)
    own = members_of(flips, batch)
    expected = np.concatenate([own, Slanted(0.1).predict(batch)[None], own])
    np.testing.assert_array_equal(members, expected)


@given(order=st.permutations(range(4)))
def test_the_order_of_an_ensemble_does_not_matter(order: list[int]) -> None:
    slopes = (0.0, 0.1, 0.3, 0.6)
    one, other = (
        EnsemblePredictor([Slanted(slopes[i]) for i in places]).predict(images())
        for places in (range(4), order)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


@given(
    name=st.sampled_from(sorted(averages())),
    order=st.permutations(range(5)),
    size=st.integers(1, 5),
)
def test_a_sample_is_scored_the_same_in_every_batch(name: str, order: list[int], size: int) -> None:
    selector = PairwiseDiceSelector(cutoff=0.4)
    samples = [Sample(f"s{i}", "p", image) for i, image in enumerate(images(5, 1, 6, 5))]

    def scores(samples: list[Sample], size: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for _, prediction in predictions(averages()[name], samples, batch_size=size):
            assert prediction.members is not None
            assert len(prediction.members) > 1
            column = to_numpy(selector.score(prediction)["score"])
            found |= dict(zip(prediction.ids, column, strict=True))
        return found

    expected = scores(samples, 5)
    assert scores([samples[i] for i in order], size) == pytest.approx(expected, nan_ok=True)
    assert not all(value == 1 for value in expected.values())


def test_a_predictor_may_say_what_it_makes_of_its_members(xp: Any) -> None:
    class Greatest(FlipPredictor):
        """Predicts the greatest of its members."""

        def predict_batch(self, batch: Batch, /) -> Prediction:
            members = super().predict_batch(batch).views
            return Prediction(batch.ids, array_namespace(members).max(members, axis=0), members)

    batch, plain = Batch.unnamed(xp.asarray(images())), FlipPredictor(Slanted())
    members = to_numpy(plain.predict_batch(batch).members)
    samples = [Sample(f"s{i}", "p", batch.images[i, ...]) for i in range(3)]
    for predictor, expected in ((plain, members.mean(0)), (Greatest(Slanted()), members.max(0))):
        ((_, prediction),) = predictions(predictor, samples)
        shifted = LogitShiftPredictor(predictor).predict_batch(batch)  # which asks what is inside
        for made in (predictor.predict(batch.images), *map(_probabilities, (prediction, shifted))):
            np.testing.assert_allclose(to_numpy(made), expected, rtol=1e-6)
        np.testing.assert_allclose(to_numpy(prediction.members), members, rtol=1e-6)
    assert not np.allclose(members.mean(0), members.max(0))


def _probabilities(prediction: Prediction) -> Any:
    return prediction.probabilities


def test_a_predictor_without_members_is_its_own_only_one() -> None:
    prediction = predict_batch(Slanted(), Batch.unnamed(images()))
    assert prediction.members is None
    np.testing.assert_array_equal(prediction.views, Slanted().predict(images())[None])


def test_flips_wrap_and_an_ensemble_does_not() -> None:
    flips = FlipPredictor(Slanted(), axes=(-2,))
    assert isinstance(flips, WrappingPredictor)
    other = flips.with_predictor(Slanted(0.1))
    assert (other.predictor, other.axes) == (Slanted(0.1), (-2,))
    ensemble = EnsemblePredictor([Slanted()])
    assert isinstance(ensemble, BatchPredictor)
    assert not isinstance(ensemble, WrappingPredictor)


def test_the_description_changes_with_what_changes_the_probabilities() -> None:
    said = [json.dumps(describe(predictor)) for predictor in averages().values()]
    assert len(set(said)) == len(said)
    assert describe(FlipPredictor(Slanted(0.1))) != describe(FlipPredictor(Slanted(0.2)))


def test_adaptation_scores_and_labels_with_the_average(toy: SimpleNamespace) -> None:
    class Around:
        """A retrainer of what is inside."""

        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            return predictor.with_predictor(toy.Retrainer().retrain(predictor.predictor, labels))

    selector = PairwiseDiceSelector(min_pixels=3, top_k=3)
    parts = toy.parts() | {"selector": selector, "retrainer": Around()}
    result = pladapt.adapt(FlipPredictor(toy.Predictor()), toy.target(), **parts)
    assert len(result.rounds[0].selection.kept) == 3
    assert isinstance(result.predictor, FlipPredictor)
    inner: Any = result.predictor.predictor
    assert inner.shift != 0


@pytest.mark.parametrize("axes", [(), (0,), (2,), (-1, -1), (-4,)])
def test_axes_that_are_not_spatial_ones_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="from the end"):
        FlipPredictor(Slanted(), axes=axes)


def test_an_axis_that_the_images_lack_is_refused() -> None:
    with pytest.raises(InputError, match="no spatial axis -3"):
        FlipPredictor(Slanted(), axes=(-1, -3)).predict(images())


def test_an_ensemble_of_nothing_and_of_other_channels_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        EnsemblePredictor([])
    with pytest.raises(InputError, match="same channels"):
        EnsemblePredictor([Slanted(), Slanted(channels=2)]).predict(images())
