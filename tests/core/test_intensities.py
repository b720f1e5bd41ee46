from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.intensities import PooledQuantiles, background, split

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)
FEW = st.sampled_from([-2.0, 0.0, 0.5, 3.0])
IMAGES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=4, max_dims=5, min_side=1, max_side=7), elements=FEW
)


def pooled(values: NDArray[np.float32], levels: int, parts: int = 1) -> NDArray[np.float32]:
    made = PooledQuantiles(levels)
    for step in (made.count, made.refine):
        for part in np.array_split(values, parts):
            step(part)
    return made.result()


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=FLOATS | FEW),
    st.integers(2, 40),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_pooled_quantiles_are_order_statistics(
    values: NDArray[np.float32], levels: int, parts: int, random: Any
) -> None:
    rising = sorted(values.tolist())
    count, steps = len(rising), levels - 1
    # the smallest value that at least i/steps of the values do not exceed
    expected = [rising[max(-(-i * count // steps), 1) - 1] for i in range(levels)]
    shuffled = np.array(random.sample(values.tolist(), count), np.float32)
    assert pooled(shuffled, levels, parts).tolist() == expected


def test_pooled_quantiles_agree_with_numpy() -> None:
    values = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    expected = np.quantile(values, np.linspace(0, 1, 129), method="inverted_cdf")
    np.testing.assert_array_equal(pooled(values, 129, 7), expected)


@given(images=IMAGES)
def test_the_background_is_the_dominant_value(xp: Any, images: NDArray[Any]) -> None:
    found = to_numpy(background(xp.asarray(images)))
    for image, constant in zip(images, found, strict=True):
        expected, dominant = [], True
        for channel in image:
            values, counts = np.unique(channel, return_counts=True)
            first, *others = sorted(counts, reverse=True)
            expected.append(values[np.argmax(counts)])
            dominant &= not others or first >= 2 * others[0]
        same = np.all([c == v for c, v in zip(image, expected, strict=True)], axis=0)
        if dominant and same.sum() >= max(2, np.ceil(0.05 * same.size)):
            assert constant.tolist() == expected
        else:
            assert np.isnan(constant).all()


def test_the_commonest_grey_level_is_no_background() -> None:
    generator = np.random.default_rng(0)
    grey = generator.normal(128, 6, size=(1, 1, 64, 64)).round().astype(np.float32)
    assert np.unique(grey, return_counts=True)[1].max() > 0.06 * grey.size
    assert np.isnan(background(grey)).all()
    grey[:, :, :20] = 128
    assert background(grey).tolist() == [[128]]


def test_a_value_that_few_pixels_have_is_no_background() -> None:
    image = np.arange(400, dtype=np.float32).reshape(1, 1, 20, 20)
    image[0, 0, 0, :19] = 7
    assert np.isnan(background(image)).all()  # 19 of 400, and the 7 itself is among them
    image[0, 0, 1, 0] = 7
    assert background(image).tolist() == [[7]]
    inside, _ = split(image, "informative")
    assert (~inside).sum() == 20


@given(images=IMAGES)
def test_regions(xp: Any, images: NDArray[Any]) -> None:
    given_images = xp.asarray(images)
    everything, constant = split(given_images, None)
    assert bool(xp.all(everything))
    assert bool(xp.all(xp.isnan(constant)))
    bright, _ = split(given_images, lambda array: array[:, 0, ...] > 0)
    np.testing.assert_array_equal(to_numpy(bright), images[:, 0] > 0)


@pytest.mark.parametrize(
    ("images", "region", "message"),
    [
        (np.zeros((1, 1, 2, 2), int), None, "floating"),
        (np.zeros((1, 2, 2)), None, "two or three spatial"),
        (np.zeros((1, 1, 2, 2)), "lung", "No region 'lung'"),
        (np.zeros((1, 1, 2, 2)), lambda images: images > 0, r"expected bool of shape \(1, 2, 2\)"),
    ],
)
def test_what_is_no_image_or_region_is_refused(images: Any, region: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(images, region)
