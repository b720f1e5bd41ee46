from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize

from pladapt import IGNORE, EnsemblePredictor, InputError, LabelledSample
from pladapt.evaluation import calibrate_temperature
from pladapt.evaluation.temperature import DEFAULT_TEMPERATURES
from pladapt.functional.arrays import to_numpy
from pladapt.functional.logits import scale_temperature
from pladapt.predictors import TemperaturePredictor
from pladapt.runs.manifest import describe
from pladapt.testing import PredictorContract
from pladapt.typing import WrappingPredictor

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Logits:
    """Takes images for logits, and is overconfident by a factor."""

    factor: float = 1.0

    def predict(self, images: Any, /) -> Any:
        """Return the sigmoid or softmax of the images times the factor."""
        xp = array_namespace(images)
        logits = images * self.factor
        if images.shape[1] == 1:
            return 1 / (1 + xp.exp(-logits))
        weights = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
        return weights / xp.sum(weights, axis=1, keepdims=True)


@st.composite
def logits(draw: DrawFn) -> NDArray[Any]:
    shape = draw(hnp.array_shapes(min_dims=4, max_dims=5, min_side=1, max_side=4))
    return draw(hnp.arrays(np.float64, shape, elements=st.floats(-12, 12)))


TEMPERATURES = st.floats(0.5, 8)


class TestContract(PredictorContract):
    @pytest.fixture(params=["plain", "members"])
    def predictor(self, request: pytest.FixtureRequest) -> Any:
        members = EnsemblePredictor([Logits(), Logits(3)])
        return TemperaturePredictor(Logits() if request.param == "plain" else members, 1.7)


class TestContractOfClasses(PredictorContract):
    @pytest.fixture
    def predictor(self) -> Any:
        return TemperaturePredictor(Logits(3), 2)

    @pytest.fixture
    def images(self) -> Any:
        return np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)


@given(logits(), TEMPERATURES)
def test_it_divides_the_logits(values: NDArray[Any], temperature: float) -> None:
    scaled = scale_temperature(Logits().predict(values), temperature)
    np.testing.assert_allclose(scaled, Logits(1 / temperature).predict(values), rtol=1e-6)


def test_it_is_the_same_in_every_array_library(xp: Any) -> None:
    for channels in (1, 3):
        values = np.random.default_rng(0).normal(size=(2, channels, 4, 5))
        scaled = TemperaturePredictor(Logits(2), 3.0).predict(xp.asarray(values))
        assert array_namespace(scaled) is array_namespace(xp.asarray(values))
        np.testing.assert_allclose(to_numpy(scaled), Logits(2 / 3).predict(values), atol=1e-6)


@given(logits())
def test_a_temperature_of_one_changes_nothing(values: NDArray[Any]) -> None:
    given_, scaled = Logits().predict(values), TemperaturePredictor(Logits(), 1).predict(values)
    np.testing.assert_array_equal(scaled, given_)
    nearly = scale_temperature(given_, 1 + 1e-9)  # nor does it jump beside
    np.testing.assert_allclose(nearly, given_, atol=1e-6)


@given(logits(), TEMPERATURES)
def test_the_likeliest_class_and_the_order_of_pixels_stay(
    values: NDArray[Any], temperature: float
) -> None:
    before = Logits().predict(values)
    after = scale_temperature(before, temperature)
    if values.shape[1] > 1:
        likeliest = before.argmax(1)[:, None]
        np.testing.assert_allclose(np.take_along_axis(after, likeliest, 1), after.max(1)[:, None])
        assert np.allclose(after.sum(1), 1)
    else:
        assert np.all(np.diff(after.reshape(-1)[np.argsort(before.reshape(-1))]) >= -1e-12)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_what_has_saturated_is_scaled_too(temperature: float) -> None:
    certain = np.array([1, 0.5, 2**-30], np.float32).reshape(1, 1, 1, 3)
    odds = np.array([2**-24, 1, 2**30]) ** (1 / temperature)
    scaled = scale_temperature(certain, temperature).reshape(-1)
    np.testing.assert_allclose(scaled, 1 / (1 + odds), rtol=1e-5)


def test_the_members_are_scaled_one_by_one(members_of: Any) -> None:
    values = np.random.default_rng(0).normal(size=(2, 1, 3, 3))
    scaled = TemperaturePredictor(EnsemblePredictor([Logits(2), Logits(4)]), 2.0)
    expected = np.stack([Logits(1).predict(values), Logits(2).predict(values)])
    np.testing.assert_allclose(members_of(scaled, values), expected, atol=1e-7)
    np.testing.assert_allclose(scaled.predict(values), expected.mean(0), atol=1e-7)


def test_it_wraps_and_describes_itself() -> None:
    predictor = TemperaturePredictor(Logits(), 2.0)
    assert isinstance(predictor, WrappingPredictor)
    assert predictor.with_predictor(Logits(3)).temperature == 2.0
    said = describe(predictor)
    assert json.loads(json.dumps(said)) == said
    assert said["temperature"] == 2.0
    assert said != describe(TemperaturePredictor(Logits(), 2.5))


# Calibrating


def truths(values: NDArray[Any], rng: np.random.Generator) -> Any:
    """Draw classes with the probabilities that the logits tell."""
    probabilities = Logits().predict(values)
    if values.shape[1] == 1:
        return (rng.random(values[:, 0].shape) < probabilities[:, 0]).astype(np.uint8)
    below = rng.random(values[:, :1].shape) > probabilities.cumsum(1)
    return below.sum(1).clip(0, values.shape[1] - 1).astype(np.uint8)


def labelled(count: int = 4, channels: int = 1, seed: int = 0) -> list[LabelledSample]:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (count, channels, 24, 25))
    pairs = zip(values, truths(values, rng), strict=True)
    return [LabelledSample(f"s{i}", "p", image, mask) for i, (image, mask) in enumerate(pairs)]


def nll(predictor: Any, samples: list[LabelledSample]) -> float:
    """Take the mean over pixels of -ln of the true class's probability, pixel by pixel."""
    found = []
    for sample in samples:
        p = predictor.predict(sample.image[None])[0]
        p = np.concatenate([1 - p, p]) if len(p) == 1 else p
        found += [
            -math.log(p[(class_, *place)])
            for place, class_ in np.ndenumerate(sample.mask)
            if class_ != IGNORE
        ]
    return math.fsum(found) / len(found)


def ece(predictor: Any, samples: list[LabelledSample], bins: int = 15) -> float:
    """Part pixels by their confidence, and compare each part's with its accuracy."""
    confidence, right = [], []
    for sample in samples:
        p = predictor.predict(sample.image[None])[0]
        p = np.concatenate([1 - p, p]) if len(p) == 1 else p
        confidence.append(p.max(0).reshape(-1))
        right.append((p.argmax(0) == sample.mask).reshape(-1))
    sure, correct = np.concatenate(confidence), np.concatenate(right)
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in pairwise(edges):
        part = (sure > low) & (sure <= high)
        if part.any():
            total += part.mean() * abs(sure[part].mean() - correct[part].mean())
    return total


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.8, 1.0, 3.0])
def test_it_finds_by_how_much_a_predictor_is_overconfident(channels: int, factor: float) -> None:
    samples = labelled(8, channels)
    predictor = Logits(factor)
    found = calibrate_temperature(predictor, samples)
    best = optimize.minimize_scalar(
        lambda t: nll(Logits(factor / t), samples), bounds=(0.4, 9), method="bounded"
    )
    assert abs(math.log2(found.temperature / best.x)) <= 1 / 8, "not beside the optimum"
    assert found.nll_after == pytest.approx(best.fun, rel=1e-2)
    scaled = TemperaturePredictor(predictor, found.temperature)
    assert found.nll_before == pytest.approx(nll(predictor, samples), rel=1e-4)
    assert found.nll_after == pytest.approx(nll(scaled, samples), rel=1e-6)
    assert found.ece_before == pytest.approx(ece(predictor, samples), abs=1e-6)
    assert found.ece_after == pytest.approx(ece(scaled, samples), abs=1e-6)
    assert found.nll_after <= found.nll_before
    assert found.pixels == sum(sample.mask.size for sample in samples)
    if factor == 3:
        assert found.ece_after < found.ece_before / 3


def test_it_calibrates_the_mean_of_the_members() -> None:
    predictor, samples = EnsemblePredictor([Logits(2), Logits(6)]), labelled()
    found = calibrate_temperature(predictor, samples, temperatures=(2, 4))
    for temperature, value in zip((1, 2, 4), found.curve["nll"].to_pylist(), strict=True):
        scaled = TemperaturePredictor(predictor, temperature)
        assert value == pytest.approx(nll(scaled, samples), rel=1e-3)


@given(order=st.permutations(range(4)), size=st.integers(1, 4))
def test_neither_order_nor_batches_matter(order: list[int], size: int) -> None:
    samples, tried = labelled(), (1.5, 2.0, 3.0)
    expected = calibrate_temperature(Logits(2), samples, temperatures=tried)
    found = calibrate_temperature(
        Logits(2), [samples[i] for i in order], temperatures=tried[::-1], batch_size=size
    )
    assert found.temperature == expected.temperature
    for column in ("temperature", "nll", "ece"):
        np.testing.assert_allclose(found.curve[column], expected.curve[column], rtol=1e-9)


def test_ignored_pixels_do_not_count() -> None:
    samples = labelled()
    for sample in samples:
        sample.mask[:, :20] = IGNORE
    shown = [LabelledSample(s.id, "p", s.image[..., 20:], s.mask[:, 20:]) for s in samples]
    found, expected = (calibrate_temperature(Logits(2), part) for part in (samples, shown))
    assert found.pixels == expected.pixels == 4 * 24 * 5
    np.testing.assert_allclose(found.curve["nll"], expected.curve["nll"])


def test_one_is_among_the_temperatures_that_are_tried() -> None:
    assert 1 in DEFAULT_TEMPERATURES
    found = calibrate_temperature(Logits(), labelled(), temperatures=(8,))
    assert found.curve["temperature"].to_pylist() == [1, 8]
    assert found.temperature == 1


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(InputError, match="positive"):
        TemperaturePredictor(Logits(), temperature)
    with pytest.raises(InputError, match="positive"):
        calibrate_temperature(Logits(), labelled(), temperatures=(temperature,))


def test_logits_are_not_taken_for_probabilities() -> None:
    class Raw:
        def predict(self, images: Any, /) -> Any:
            return images

    with pytest.raises(InputError, match="sigmoid"):
        TemperaturePredictor(Raw(), 2).predict(np.full((1, 1, 2, 2), 3.0))
    with pytest.raises(InputError, match="sigmoid"):
        calibrate_temperature(Raw(), labelled())


def test_samples_that_tell_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        calibrate_temperature(Logits(), [])
    blank = [LabelledSample("a", "p", np.zeros((1, 2, 2)), np.full((2, 2), IGNORE))]
    with pytest.raises(InputError, match="ignored"):
        calibrate_temperature(Logits(), blank)
    other = [LabelledSample("a", "p", np.zeros((1, 2, 2)), np.full((2, 2), 2))]
    with pytest.raises(InputError, match=r"'a' has the classes \[2\]; the predictor has 0 to 1"):
        calibrate_temperature(Logits(), other)
