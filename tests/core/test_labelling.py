from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import IGNORE, InputError, Prediction, SoftLabels, compose, hard_labels
from pladapt.functional.arrays import to_numpy
from pladapt.selection import Labelling, SoftLabelling
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.labelling import pseudo_labels
from pladapt.testing import SelectorContract

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAPS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=4, max_dims=5, min_side=1, max_side=5),
    elements=st.floats(0, 1),
)


class TestLabelling(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        labelling = Labelling(cutoff=0.6, background_cutoff=0.3, boundary=1)
        return compose(CertaintyIndexSelector(min_pixels=5, top_k=3), label=labelling)


class TestSoftLabelling(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        soft = SoftLabelling(labeller=Labelling(boundary=1), weight=True)
        return compose(CertaintyIndexSelector(min_pixels=5, top_k=3), label=soft)


def label(labelling: Labelling, maps: Any) -> Any:
    return labelling(Prediction(tuple(map(str, range(maps.shape[0]))), maps))


@given(maps=MAPS, cutoffs=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_what_is_between_the_cutoffs_is_ignored(
    xp: Any, maps: NDArray[Any], cutoffs: tuple[float, float]
) -> None:
    low, high = sorted(cutoffs)
    found = label(Labelling(cutoff=high, background_cutoff=low), xp.asarray(maps))
    assert found.dtype == xp.uint8
    highest = maps[:, 0] if maps.shape[1] == 1 else maps[:, 1:].max(axis=1)
    expected = np.where(highest > low, IGNORE, 0)
    expected = np.where(highest > high, hard_labels(maps, high), expected)
    np.testing.assert_array_equal(to_numpy(found), expected)


@given(MAPS, st.floats(0.01, 0.99))
def test_without_options_labels_are_hard(maps: NDArray[Any], cutoff: float) -> None:
    np.testing.assert_array_equal(label(Labelling(cutoff=cutoff), maps), hard_labels(maps, cutoff))


@given(maps=MAPS, band=st.integers(1, 2))
def test_a_kept_label_is_the_hard_one_and_its_neighbourhood_is_alike(
    xp: Any, maps: NDArray[Any], band: int
) -> None:
    found = to_numpy(label(Labelling(boundary=band), xp.asarray(maps)))
    hard = hard_labels(maps)
    for place in np.ndindex(found.shape):
        box = tuple(slice(max(0, i - band), i + band + 1) for i in place[1:])
        alike = len(np.unique(hard[place[0]][box])) == 1
        assert found[place] == (hard[place] if alike else IGNORE)


def test_a_doubtful_rim_and_a_boundary_are_ignored() -> None:
    row = np.array([0.0, 0.1, 0.4, 0.9, 0.9, 0.9, 0.9, 0.1]).reshape(1, 1, 1, 8)
    assert label(Labelling(cutoff=0.6, background_cutoff=0.3), row).tolist() == [
        [[0, 0, IGNORE, 1, 1, 1, 1, 0]]
    ]
    both = Labelling(cutoff=0.6, background_cutoff=0.3, boundary=(0, 1))
    assert label(both, row).tolist() == [[[0, 0, IGNORE, IGNORE, 1, 1, IGNORE, IGNORE]]]


def test_each_class_may_have_its_cutoffs() -> None:
    maps = np.array([[0.3, 0.7, 0.0], [0.4, 0.0, 0.6], [0.8, 0.2, 0.0]]).reshape(3, 3, 1, 1)
    found = label(Labelling(cutoff=(0.8, 0.5), background_cutoff=0.3), maps)
    assert found.ravel().tolist() == [IGNORE, 2, 0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutoff": 0.4, "background_cutoff": 0.5}, "must not be the higher"),
        ({"cutoff": (0.4, 0.6), "background_cutoff": 0.5}, "must not be the higher"),
        ({"background_cutoff": math.nan}, "cut-off is nan"),
        ({"cutoff": 1.0}, "cut-off is 1.0"),
        ({"boundary": -1}, "band is -1 pixels wide"),
        ({"cutoff": (0.4, 0.6), "background_cutoff": (0.1, 0.1, 0.1)}, "2 cut-offs for 3 classes"),
    ],
)
def test_parameters_outside_their_range_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Labelling(**parameters)


def prediction_of(maps: Any) -> Prediction:
    return Prediction(tuple(map(str, range(maps.shape[0]))), maps)


def test_a_pixel_counts_by_its_certainty(xp: Any) -> None:
    maps = xp.asarray(np.array([[[[0.0, 1.0, 0.5, 0.9]]]]))
    soft = SoftLabelling(weight=True)(prediction_of(maps))
    np.testing.assert_array_equal(to_numpy(soft.probabilities), to_numpy(maps))
    bits = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    np.testing.assert_allclose(to_numpy(soft.weight), [[[1, 1, 0, 1 - bits]]], atol=1e-6)


@given(maps=MAPS)
def test_the_labels_beside_the_soft_ones_are_the_labeller_s(maps: NDArray[Any]) -> None:
    labeller = Labelling(cutoff=0.7, background_cutoff=0.2)
    soft = SoftLabelling(labeller=labeller, probabilities=False, weight=True)
    selector = CertaintyIndexSelector()
    rows = dict(pseudo_labels(compose(selector, label=soft), prediction_of(maps)))
    expected = dict(pseudo_labels(compose(selector, label=labeller), prediction_of(maps)))
    for id_, arrays in rows.items():
        assert arrays.keys() == {"label", "weight"}
        assert expected[id_].keys() == {"label"}
        np.testing.assert_array_equal(arrays["label"], expected[id_]["label"])


def test_a_composed_selector_labels_softly_where_its_labeller_does() -> None:
    prediction, selector = prediction_of(np.full((2, 1, 3, 3), 0.7)), CertaintyIndexSelector()
    np.testing.assert_array_equal(compose(selector).label(prediction), np.ones((2, 3, 3)))
    soft = compose(selector, label=SoftLabelling()).label(prediction)
    assert isinstance(soft, SoftLabels)
    np.testing.assert_array_equal(soft.label, np.ones((2, 3, 3)))
    np.testing.assert_array_equal(soft.probabilities, prediction.probabilities)
    assert soft.weight is None


def test_soft_labelling_asks_for_something() -> None:
    with pytest.raises(InputError, match="both False"):
        SoftLabelling(probabilities=False)


@pytest.mark.parametrize(
    ("soft", "told"),
    [
        ({"probabilities": np.ones((2, 3, 3))}, r"probabilities of float64 and shape \(2, 3, 3\)"),
        ({"weight": np.ones((2, 3, 3), np.uint8)}, "weight of uint8"),
        ({"weight": np.full((2, 3, 3), 1.5)}, r"weight outside \[0, 1\]"),
        ({"weight": np.full((2, 3, 3), math.nan)}, "weight outside .* or NaN"),
        ({"label": np.ones((2, 3, 3))}, r"float64 of shape \(2, 3, 3\); expected uint8"),
    ],
)
def test_what_is_no_soft_label_is_refused(soft: dict[str, Any], told: str) -> None:
    class Odd(CertaintyIndexSelector):
        def label(self, prediction: Prediction, /) -> SoftLabels:
            return SoftLabels(**({"label": super().label(prediction)} | soft))

    with pytest.raises(InputError, match=f"Odd.label returned {told}"):
        list(pseudo_labels(Odd(), prediction_of(np.full((2, 1, 3, 3), 0.7))))
