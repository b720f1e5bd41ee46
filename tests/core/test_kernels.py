"""The short cuts that the kernels take: blocks and pixels that no cut-off reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError, certainty_index
from pladapt.evaluation.calibration import count_above

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 65536


def mostly_dark(size: int, fraction: float, dtype: str, seed: int) -> NDArray[np.floating]:
    """Return values of which about that share is anything but nearly 0."""
    generator = np.random.default_rng(seed)
    values = generator.random(size) * np.where(generator.random(size) < fraction, 1, 1e-3)
    return values.astype(dtype)


@given(
    st.sampled_from([0.0, 0.01, 0.2, 0.3, 1.0]),
    st.sampled_from(["f2", "f4", "f8"]),
    st.integers(0, 3 * BLOCK),
    st.integers(0, 99),
)
def test_counting_above_is_the_loop_whatever_is_left_out(
    fraction: float, dtype: str, size: int, seed: int
) -> None:
    values = mostly_dark(size, fraction, dtype, seed)
    truth = np.random.default_rng(seed).random(size) < 0.3
    cutoffs = np.linspace(0.05, 0.95, 7).tolist()
    found = count_above(values, truth, cutoffs)
    for index, cutoff in enumerate([-1.0, *cutoffs]):
        above = values > values.dtype.type(cutoff)
        assert found[1, index] == np.count_nonzero(above & truth)
        assert found[0, index] == np.count_nonzero(above & ~truth)


@pytest.mark.parametrize("cutoffs", [[0.5], [0.25, 0.250001], [0.5, np.nextafter(0.5, 1)]])
def test_cutoffs_as_near_as_can_be_are_told_apart(cutoffs: list[float]) -> None:
    generator = np.random.default_rng(0)
    near = np.nextafter(np.array(cutoffs), [[0.0], [1.0]]).reshape(-1)
    values = generator.choice([*cutoffs, *near, 0.0, 1.0], 1000)
    truth = generator.random(1000) < 0.5
    found = count_above(values, truth, cutoffs)
    expected = [np.count_nonzero(values[truth] > cutoff) for cutoff in cutoffs]
    assert found[1, 1:].tolist() == expected


@given(st.lists(st.booleans(), min_size=1, max_size=4), st.integers(1, BLOCK))
def test_the_index_is_the_mean_whichever_blocks_are_dark(lit: list[bool], last: int) -> None:
    parts = [
        mostly_dark(BLOCK, 0.1 if block else 0.0, "f4", number) for number, block in enumerate(lit)
    ]
    plane = np.concatenate([*parts, np.full(last, 0.75, np.float32)])
    ci, pixels = certainty_index(plane[None, None, None], 0.5)
    above = plane[plane > 0.5].astype(np.float64)
    assert pixels.item() == above.size
    assert ci.item() == pytest.approx(above.mean(), rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.0001, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 4])
def test_a_value_that_is_no_probability_is_found_in_any_block(value: float, place: int) -> None:
    maps = np.zeros((2, 1, 1, 2 * BLOCK + 5), np.float32)
    maps[1, 0, 0, place] = value
    with pytest.raises(InputError, match="sample 1 of the batch"):
        certainty_index(maps)
    with pytest.raises(InputError, match=r"NaN or values outside \[0, 1\]"):
        count_above(maps[1], np.zeros(maps[1].shape, np.bool_), [0.5])


def test_a_negative_zero_is_a_probability() -> None:
    maps = np.full((1, 1, 2, 2), -0.0, np.float32)
    maps[0, 0, 0, 0] = 0.9
    ci, pixels = certainty_index(maps)
    assert (pixels.item(), ci.item()) == (1, pytest.approx(0.9))
    assert count_above(maps, maps > 0.5, [0.5]).tolist() == [[3, 0], [1, 1]]
