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
    FourierAmplitude,
    HistogramMatching,
    InputError,
    LabelledSample,
    LabelledTargetError,
    MemberPredictor,
    QuantileMatching,
    Sample,
    SourceStatistics,
    WrappingPredictor,
)
from pladapt.functional.arrays import to_numpy
from pladapt.runs.manifest import describe
from pladapt.testing import PredictorContract
from pladapt.testing.checks import some_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KINDS: list[Any] = [QuantileMatching, HistogramMatching, FourierAmplitude]


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 9), (5, 6, 7)])
def test_every_library_s_arrays_come_back_as_they_went(
    xp: Any, kind: Any, shape: tuple[int, ...]
) -> None:
    options = {"shape": shape, "channels": 2}
    target = organ(**options, seed=3)
    source = SourceStatistics.measure(organ(**options))
    alignment = kind.fit(target, source)
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


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_stay_on_their_device(kind: Any) -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    alignment = kind.fit(organ(RISING[0]), SOURCE)
    elsewhere = strict.Device("device1")  # which refuses to mix with arrays of another
    images = strict.asarray(images_of(organ(RISING[0])), device=elsewhere)
    aligned = alignment(images)
    assert aligned.device == elsewhere
    at_home = strict.asarray(aligned, device=strict.Device("CPU_DEVICE"))
    expected = alignment(images_of(organ(RISING[0])))
    np.testing.assert_allclose(np.asarray(at_home), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@given(order=st.permutations(range(6)), size=st.integers(1, 6))
def test_neither_the_order_nor_the_batch_changes_anything(
    kind: Any, order: list[int], size: int
) -> None:
    target = organ(RISING[0])
    options = {"batch_size": size} if kind is QuantileMatching else {}
    alignment = kind.fit(target, SOURCE)
    other = kind.fit([target[index] for index in order], SOURCE, **options)
    assert describe(alignment) == describe(other)
    together = alignment(images_of(target))
    for start in range(0, 6, size):
        part = other(images_of(target)[start : start + size])
        np.testing.assert_allclose(part, together[start : start + size], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [QuantileMatching, HistogramMatching])
@pytest.mark.parametrize("change", RISING)
def test_a_monotone_change_of_the_intensities_changes_nothing(kind: Any, change: Any) -> None:
    plain, changed = organ(seed=4), organ(change, seed=4)
    expected = kind.fit(plain, SOURCE)(images_of(plain))
    found = kind.fit(changed, SOURCE)(images_of(changed))
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
    histogram = HistogramMatching.fit(target, source)(images)
    assert histogram[:, 0, 0, :5].tolist() == [[-3] * 5] * 2  # the lower median of -1 and -3
    # where one of the two has none, backgrounds stay
    plain = SourceStatistics.measure([Sample("s", "p", line(0, 1, 2, 3))])
    for kind in KINDS[:2]:
        assert kind.fit(target, plain)(images)[:, 0, 0, 0].tolist() == [50, 40]
    bare = QuantileMatching.fit([Sample("u", "p", line(60, 61, 62, 63))], source)
    assert bare(images)[:, 0, 0, 0].tolist() == [50, 40]


def left(images: Any) -> Any:
    xp = array_namespace(images)
    place = xp.arange(images.shape[-1])
    return xp.broadcast_to(place < images.shape[-1] // 2, (images.shape[0], *images.shape[2:]))


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_region_of_one_s_own(kind: Any) -> None:
    source = SourceStatistics.measure(organ(seed=1), region=left)
    target = organ(RISING[0])
    aligned, images = kind.fit(target, source, region=left)(images_of(target)), images_of(target)
    np.testing.assert_array_equal(aligned[..., 4:], images[..., 4:])
    assert not np.array_equal(aligned[..., :4], images[..., :4])
    for wrong, given_source in ((None, source), (np.isnan, source), (left, SOURCE)):
        with pytest.raises(InputError, match="measured over the region"):
            kind.fit(target, given_source, region=wrong)
    everything = SourceStatistics.measure(organ(seed=1), region=None)
    mapped = kind.fit(target, everything)(images)
    assert (mapped[:, 0, 0, 0] != images[:, 0, 0, 0]).all()  # the corners are background


def naive_histogram(values: NDArray[Any], quantiles: NDArray[Any]) -> list[float]:
    below = [sum(other < value for other in values) for value in values]
    equal = [sum(other == value for other in values) for value in values]
    fractions = [(b + e / 2) / len(values) for b, e in zip(below, equal, strict=True)]
    return np.interp(fractions, np.linspace(0, 1, len(quantiles)), quantiles).tolist()


def test_histogram_matching_gives_each_image_the_source_s_distribution() -> None:
    target = organ(RISING[1], seed=7)
    images = images_of(target)
    aligned = HistogramMatching.fit(target, SOURCE)(images)
    for before, after in zip(images, aligned, strict=True):
        expected = naive_histogram(before[0, 1:-1, 1:-1].ravel(), SOURCE.quantiles[0])
        np.testing.assert_allclose(after[0, 1:-1, 1:-1].ravel(), expected, rtol=1e-5, atol=1e-5)
    brighter = images.copy()
    brighter[0, :, 1:-1, 1:-1] += 3  # one image alone: its own map takes that away
    again = HistogramMatching.fit(target, SOURCE)(brighter)
    np.testing.assert_allclose(again, aligned, rtol=1e-5, atol=1e-5)


def test_a_flat_image_stays_finite() -> None:
    flat = np.full((1, 1, 8, 9), 3, np.float32)
    for kind in KINDS:
        assert np.isfinite(kind.fit(organ(), SOURCE)(flat)).all()


def naive_fda(image: NDArray[Any], amplitude: NDArray[Any]) -> NDArray[Any]:
    """Replace the amplitude as the paper's authors describe it, by the fast transform."""
    axes = tuple(range(image.ndim))
    spectrum = np.fft.fftshift(np.fft.fftn(image, axes=axes, norm="forward"))
    half = amplitude.shape[0] // 2
    window = tuple(slice(n // 2 - half, n // 2 + half + 1) for n in image.shape)
    modulus, phase = np.abs(spectrum), np.angle(spectrum)
    modulus[window] = amplitude
    result = np.fft.ifftn(np.fft.ifftshift(modulus * np.exp(1j * phase)), norm="forward")
    np.testing.assert_allclose(result.imag, 0, atol=1e-12)
    return result.real


@pytest.mark.parametrize(("fraction", "window"), [(0.0, 1), (0.05, 3), (0.1, 5)])
@pytest.mark.parametrize("shape", [(20, 23), (20, 21, 22)])
def test_the_amplitude_agrees_with_the_fast_transform(
    fraction: float, window: int, shape: tuple[int, ...]
) -> None:
    source = SourceStatistics.measure(organ(shape=shape, channels=2, count=3))
    target = organ(RISING[2], shape=shape, channels=2, count=2, seed=8)
    alignment = FourierAmplitude.fit(target, source, fraction=fraction)
    assert alignment.amplitude.shape == (2, *(window,) * len(shape))
    aligned = alignment(images_of(target).astype(np.float64))
    for before, after in zip(images_of(target), aligned, strict=True):
        for channel in range(2):
            expected = naive_fda(before[channel].astype(np.float64), alignment.amplitude[channel])
            np.testing.assert_allclose(after[channel], expected, atol=1e-5)


def test_brightness_and_contrast_of_low_frequencies_go() -> None:
    x = np.arange(32) / 32 * 2 * np.pi
    wave = np.sin(x)[None, :] * np.ones((32, 1))
    detail = np.sin(8 * x)[:, None] * np.ones((1, 32))
    source = SourceStatistics.measure([Sample("s", "p", (wave + detail + 5)[None])])
    target = Sample("t", "p", (3 * wave + detail + 9)[None])
    aligned = FourierAmplitude.fit([target], source, fraction=0.05)(target.image[None])
    np.testing.assert_allclose(aligned[0, 0], wave + detail + 5, atol=1e-5)
    larger = np.kron(target.image, np.ones((1, 2, 2)))[None]
    doubled = FourierAmplitude.fit([target], source, fraction=0.0)(larger)
    assert doubled.mean() == pytest.approx(5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_aligned_is_refused(kind: Any) -> None:
    target = organ()
    labelled: list[Any] = [LabelledSample(s.id, "p", s.image, s.image[0] > 0) for s in target]
    with pytest.raises(LabelledTargetError, match="'s0' has a mask"):
        kind.fit(labelled, SOURCE)
    with pytest.raises(InputError, match="target is empty"):
        kind.fit([], SOURCE)
    with pytest.raises(InputError, match="3 channels and the source's have 1"):
        kind.fit(organ(channels=3), SOURCE)
    alignment = kind.fit(target, SOURCE)
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


def test_what_the_amplitude_cannot_do_is_said() -> None:
    target = organ()
    with pytest.raises(InputError, match=r"fraction is 0\.2"):
        FourierAmplitude.fit(target, SOURCE, fraction=0.2)
    several = SourceStatistics.measure([*organ(), *organ(shape=(7, 7))])
    with pytest.raises(InputError, match="several shapes"):
        FourierAmplitude.fit(target, several)
    with pytest.raises(InputError, match="as many axes"):
        FourierAmplitude.fit(organ(shape=(5, 6, 7)), SOURCE)
    large = SourceStatistics.measure(organ(shape=(40, 40)))
    with pytest.raises(InputError, match="at least 9 pixels"):
        FourierAmplitude.fit(target, large, fraction=0.1)(images_of(target))


@pytest.mark.parametrize("kind", KINDS)
def test_the_view_is_lazy_and_keeps_all_but_the_image(kind: Any) -> None:
    target = organ(RISING[0])
    alignment = kind.fit(target, SOURCE)
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


class Sigmoid:
    def predict(self, images: Any, /) -> Any:
        """Take the values for logits."""
        return 1 / (1 + array_namespace(images).exp(-images))


class Twice(Sigmoid):
    def predict_members(self, images: Any, /) -> Any:
        """Predict the images and brighter ones."""
        return array_namespace(images).stack([Sigmoid.predict(self, images + i) for i in range(2)])

    def predict(self, images: Any, /) -> Any:
        """Return the mean."""
        return array_namespace(images).mean(self.predict_members(images), axis=0)


class TestAlignedPredictor(PredictorContract):
    @pytest.fixture(params=[Sigmoid, Twice])
    def inner(self, request: pytest.FixtureRequest) -> Any:
        return request.param()

    @pytest.fixture(params=KINDS)
    def predictor(self, request: pytest.FixtureRequest, inner: Any) -> Any:
        target = sampled(some_images((3, 1, 32, 32)))
        return AlignedPredictor(inner, request.param.fit(target, SOURCE))

    def test_it_has_members_where_the_inner_one_does(self, predictor: Any, inner: Any) -> None:
        assert isinstance(predictor, MemberPredictor) == isinstance(inner, Twice)
        assert not isinstance(predictor, WrappingPredictor)
        images = some_images((2, 1, 32, 32))
        aligned = predictor.alignment(images)
        np.testing.assert_array_equal(predictor.predict(images), inner.predict(aligned))

    def test_it_can_be_copied(self, predictor: Any) -> None:
        images = some_images((2, 1, 32, 32))
        for other in (copy.copy(predictor), pickle.loads(pickle.dumps(predictor))):  # noqa: S301 - our own
            assert type(other) is type(predictor)
            np.testing.assert_array_equal(other.predict(images), predictor.predict(images))


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_tells_alignments_apart(kind: Any) -> None:
    target = organ()
    other = SourceStatistics.measure(organ(RISING[0]))
    told = [json.dumps(describe(kind.fit(target, source))) for source in (SOURCE, SOURCE, other)]
    assert told[0] == told[1] != told[2]
    predictor = AlignedPredictor(Sigmoid(), kind.fit(target, SOURCE))
    assert json.loads(told[0]) == describe(predictor)["alignment"]
    assert dataclasses.is_dataclass(predictor)
