from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

from pladapt import (
    Aligned,
    AlignedPredictor,
    Batch,
    InputError,
    LabelledSample,
    LabelledTargetError,
    LogitShiftPredictor,
    Prediction,
    QuantileMatching,
    Sample,
    SourceStatistics,
    WrappingPredictor,
)
from pladapt.functional.arrays import to_numpy
from pladapt.runs.manifest import describe
from pladapt.testing import PredictorContract
from pladapt.testing.checks import Sigmoid, some_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def images_of(samples: list[Sample]) -> NDArray[Any]:
    return np.stack([to_numpy(sample.image) for sample in samples])


def organ(
    change: Callable[[Any], Any] = lambda values: values,
    *,
    count: int = 6,
    shape: tuple[int, ...] = (8, 9),
    channels: int = 1,
    seed: int = 0,
) -> list[Sample]:
    """Make images of whole numbers before a background that differs from image to image."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        image = np.full((channels, *shape), -20 - index % 3, np.float32)
        inner = (slice(None), *(slice(1, -1) for _ in shape))
        image[inner] = generator.normal(scale=4, size=image[inner].shape).round()
        made.append(Sample(f"s{index}", f"p{index % 2}", change(image).astype(np.float32)))
    return made


def sampled(images: NDArray[Any]) -> list[Sample]:
    return [Sample(f"s{index}", "p", image) for index, image in enumerate(images)]


SOURCE = SourceStatistics.measure(organ(seed=1))
RISING: list[Callable[[Any], Any]] = [
    lambda values: 2 * values + 16,
    lambda values: (values / 4) ** 3,
    lambda values: np.where(values < 0, values, 8 * values),
]


@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 7)])
def test_every_library_s_arrays_come_back_as_they_went(xp: Any, shape: tuple[int, ...]) -> None:
    options = {"shape": shape, "channels": 2}
    target = organ(**options, seed=3)
    source = SourceStatistics.measure(organ(**options))
    alignment = QuantileMatching.fit(target, source)
    plain = images_of(target)
    expected = alignment(plain)
    assert not np.array_equal(expected, plain)
    for dtype, tolerance in ((xp.float32, 1e-5), (xp.float64, 1e-5)):
        images = xp.asarray(plain, dtype=dtype)
        aligned = alignment(images)
        assert (type(aligned), aligned.dtype) == (type(images), dtype)
        np.testing.assert_allclose(to_numpy(aligned), expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(to_numpy(images), plain)
    half = alignment(plain.astype(np.float16))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected, rtol=5e-3, atol=5e-2)


def test_arrays_stay_on_their_device() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    alignment = QuantileMatching.fit(organ(RISING[0]), SOURCE)
    elsewhere = strict.Device("device1")  # which refuses to mix with arrays of another
    images = strict.asarray(images_of(organ(RISING[0])), device=elsewhere)
    aligned = alignment(images)
    assert aligned.device == elsewhere
    at_home = strict.asarray(aligned, device=strict.Device("CPU_DEVICE"))
    expected = alignment(images_of(organ(RISING[0])))
    np.testing.assert_allclose(np.asarray(at_home), expected, rtol=1e-5, atol=1e-5)


@given(order=st.permutations(range(6)), size=st.integers(1, 6))
def test_neither_the_order_nor_the_batch_changes_anything(order: list[int], size: int) -> None:
    target = organ(RISING[0])
    alignment = QuantileMatching.fit(target, SOURCE)
    other = QuantileMatching.fit([target[index] for index in order], SOURCE, batch_size=size)
    assert describe(alignment) == describe(other)
    together = alignment(images_of(target))
    for start in range(0, 6, size):
        part = other(images_of(target)[start : start + size])
        np.testing.assert_allclose(part, together[start : start + size], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", RISING)
def test_a_monotone_change_of_the_intensities_changes_nothing(change: Any) -> None:
    plain, changed = organ(seed=4), organ(change, seed=4)
    expected = QuantileMatching.fit(plain, SOURCE)(images_of(plain))
    found = QuantileMatching.fit(changed, SOURCE)(images_of(changed))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@settings(max_examples=15)  # each fits twice
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_a_rescaled_intensity_changes_nothing(factor: float, shift: float) -> None:
    generator = np.random.default_rng(0)
    plain = generator.normal(size=(3, 1, 40, 40)).astype(np.float32)  # more pixels than quantiles
    changed = (plain.astype(np.float64) * factor + shift).astype(np.float32)
    source = SourceStatistics.measure(sampled(generator.random((3, 1, 40, 40))))
    expected, found = (
        QuantileMatching.fit(sampled(images), source)(images) for images in (plain, changed)
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_target_like_the_source_stays_as_it_is() -> None:
    target = organ(seed=1)
    aligned = QuantileMatching.fit(target, SOURCE)(images_of(target))
    np.testing.assert_allclose(aligned, images_of(target), rtol=1e-6)


def test_matched_quantiles_are_the_source_s() -> None:
    target = [
        Sample(str(index), "p", np.exp(values).astype(np.float32))
        for index, values in enumerate(np.random.default_rng(0).normal(size=(4, 1, 60, 60)))
    ]
    goal = np.random.default_rng(1).normal(10, 3, size=(4, 1, 60, 60)).astype(np.float32)
    source = SourceStatistics.measure([Sample(str(i), "p", image) for i, image in enumerate(goal)])
    aligned = QuantileMatching.fit(target, source)(images_of(target))
    levels = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(np.quantile(aligned, levels), np.quantile(goal, levels), rtol=2e-3)
    assert (aligned.min(), aligned.max()) == (goal.min(), goal.max())


def line(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 1, -1)


def test_a_map_worked_by_hand() -> None:
    source = SourceStatistics.measure([Sample("s", "p", line(10, 20, 40))], levels=3)
    alignment = QuantileMatching.fit([Sample("t", "p", line(0, 1, 3))], source)
    assert source.quantiles.tolist() == [[10, 20, 40]]  # of 3 pixels at 0, 1/2 and 1
    found = alignment(line(-5, 0, 0.5, 1, 2, 3, 9)[None])
    assert found.ravel().tolist() == [10, 10, 15, 20, 30, 40, 40]


def test_backgrounds_go_to_the_source_s_backgrounds() -> None:
    def image(constant: float, *values: float) -> NDArray[np.float32]:
        return line(*[constant] * 5, *values)

    source = SourceStatistics.measure(
        [Sample("s", "p", image(-1, 0, 1)), Sample("t", "p", image(-3, 2, 3))]
    )
    target = [Sample("u", "p", image(50, 60, 61)), Sample("v", "p", image(40, 62, 63))]
    images = images_of(target)
    matched = QuantileMatching.fit(target, source)(images)
    assert matched[:, 0, 0].tolist() == [
        image(-1, 0, 1)[0, 0].tolist(),
        image(-3, 2, 3)[0, 0].tolist(),
    ]
    # where one of the two has none, backgrounds stay
    plain = SourceStatistics.measure([Sample("s", "p", line(0, 1, 2, 3))])
    assert QuantileMatching.fit(target, plain)(images)[:, 0, 0, 0].tolist() == [50, 40]
    bare = QuantileMatching.fit([Sample("u", "p", line(60, 61, 62, 63))], source)
    assert bare(images)[:, 0, 0, 0].tolist() == [50, 40]


def left(images: Any) -> Any:
    xp = array_namespace(images)
    place = xp.arange(images.shape[-1])
    return xp.broadcast_to(place < images.shape[-1] // 2, (images.shape[0], *images.shape[2:]))


def test_a_region_of_one_s_own() -> None:
    source = SourceStatistics.measure(organ(seed=1), region=left)
    target = organ(RISING[0])
    aligned, images = (
        QuantileMatching.fit(target, source, region=left)(images_of(target)),
        images_of(target),
    )
    np.testing.assert_array_equal(aligned[..., 4:], images[..., 4:])
    assert not np.array_equal(aligned[..., :4], images[..., :4])
    for wrong, given_source in ((None, source), (np.isnan, source), (left, SOURCE)):
        with pytest.raises(InputError, match="measured over the region"):
            QuantileMatching.fit(target, given_source, region=wrong)
    everything = SourceStatistics.measure(organ(seed=1), region=None)
    mapped = QuantileMatching.fit(target, everything)(images)
    assert (mapped[:, 0, 0, 0] != images[:, 0, 0, 0]).all()  # the corners are background


def test_a_flat_image_stays_finite() -> None:
    flat = np.full((1, 1, 8, 9), 3, np.float32)
    assert np.isfinite(QuantileMatching.fit(organ(), SOURCE)(flat)).all()


def test_what_cannot_be_aligned_is_refused() -> None:
    target = organ()
    labelled: list[Any] = [LabelledSample(s.id, "p", s.image, s.image[0] > 0) for s in target]
    with pytest.raises(LabelledTargetError, match="'s0' has a mask"):
        QuantileMatching.fit(labelled, SOURCE)
    with pytest.raises(InputError, match="target is empty"):
        QuantileMatching.fit([], SOURCE)
    with pytest.raises(InputError, match="3 channels and the source's have 1"):
        QuantileMatching.fit(organ(channels=3), SOURCE)
    alignment = QuantileMatching.fit(target, SOURCE)
    with pytest.raises(InputError, match="2 channels"):
        alignment(np.zeros((1, 2, 8, 9)))
    with pytest.raises(InputError, match="floating"):
        alignment(np.zeros((1, 1, 8, 9), int))


def test_an_image_that_cannot_be_fitted_to_is_named() -> None:
    target = organ()
    target[2].image[0, 4, 4] = np.nan
    with pytest.raises(InputError, match="'s2' holds NaN"):
        QuantileMatching.fit(target, SOURCE)
    mixed: list[Any] = organ()
    mixed[4] = LabelledSample("s4", "p", mixed[4].image, mixed[4].image[0] > 0)
    with pytest.raises(LabelledTargetError, match="'s4' has a mask"):
        QuantileMatching.fit(mixed, SOURCE)


def test_the_view_is_lazy_and_keeps_all_but_the_image() -> None:
    target = organ(RISING[0])
    alignment = QuantileMatching.fit(target, SOURCE)
    view = Aligned(target, alignment)
    assert (len(view), view[1].id, view[1].group) == (6, "s1", "p1")
    together = alignment(images_of(target))
    np.testing.assert_allclose(view[-1].image, together[-1], rtol=1e-5, atol=1e-5)
    assert view[0].image.shape == (1, 8, 9)
    mask = np.ones((8, 9), int)
    labelled = [LabelledSample(s.id, s.group, s.image, mask) for s in target]
    assert Aligned(labelled, alignment)[2].mask is mask

    def never(_images: Any) -> Any:
        raise AssertionError("an image was aligned before it was asked for")

    assert len(Aligned(target, never)) == 6


class Twice(Sigmoid):
    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Predict the images and brighter ones, and their mean."""
        members = np.stack([Sigmoid(by).predict(batch.images) for by in (0.0, 1.0)])
        return Prediction(batch.ids, members.mean(axis=0), members)

    def predict(self, images: Any, /) -> Any:
        """Return the mean."""
        return self.predict_batch(Batch.unnamed(images)).probabilities


class TestAlignedPredictor(PredictorContract):
    @pytest.fixture(params=[Sigmoid, Twice])
    def inner(self, request: pytest.FixtureRequest) -> Any:
        return request.param()

    @pytest.fixture
    def predictor(self, inner: Any) -> Any:
        target = sampled(some_images((3, 1, 32, 32)))
        return AlignedPredictor(inner, QuantileMatching.fit(target, SOURCE))

    def test_it_has_members_where_the_inner_one_does(self, predictor: Any, inner: Any) -> None:
        assert not isinstance(predictor, WrappingPredictor)
        images = some_images((2, 1, 32, 32))
        aligned = predictor.alignment(images)
        np.testing.assert_array_equal(predictor.predict(images), inner.predict(aligned))
        batch = Batch(("a", "b"), ("p", "q"), images)
        found = predictor.predict_batch(batch)
        assert found.ids == ("a", "b")
        assert (found.members is None) == (type(inner) is Sigmoid)
        if found.members is not None:
            expected = inner.predict_batch(batch.with_images(aligned))
            np.testing.assert_array_equal(found.members, expected.members)

    def test_the_inner_one_learns_whose_images_they_are(self, predictor: Any, inner: Any) -> None:
        batch = Batch(("a", "b"), ("p", "q"), some_images((2, 1, 32, 32)))
        grouped = AlignedPredictor(
            LogitShiftPredictor(inner, groups={"q": 2.0}), predictor.alignment
        )
        found, plain = (each.predict_batch(batch).probabilities for each in (grouped, predictor))
        np.testing.assert_allclose(found[0], plain[0], rtol=1e-5)
        assert np.all(found[1] > plain[1])

    def test_it_can_be_copied(self, predictor: Any) -> None:
        images = some_images((2, 1, 32, 32))
        for other in (copy.copy(predictor), pickle.loads(pickle.dumps(predictor))):  # noqa: S301 - our own
            assert type(other) is type(predictor)
            np.testing.assert_array_equal(other.predict(images), predictor.predict(images))


def test_a_manifest_tells_alignments_apart() -> None:
    target = organ()
    other = SourceStatistics.measure(organ(RISING[0]))
    described = [
        json.dumps(describe(QuantileMatching.fit(target, source)))
        for source in (SOURCE, SOURCE, other)
    ]
    assert described[0] == described[1] != described[2]
    predictor = AlignedPredictor(Sigmoid(), QuantileMatching.fit(target, SOURCE))
    assert json.loads(described[0]) == describe(predictor)["alignment"]
    assert dataclasses.is_dataclass(predictor)
