from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import IGNORE, InputError, Prediction, compose
from pladapt.functional.arrays import to_numpy
from pladapt.selection import Labelling
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.components import WithoutSmallComponents
from pladapt.testing import SelectorContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class TestWithoutSmallComponents(SelectorContract):
    @pytest.fixture(params=[0, IGNORE])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        labelling = WithoutSmallComponents(
            labeller=Labelling(background_cutoff=0.4), min_pixels=4, becomes=request.param
        )
        return compose(CertaintyIndexSelector(min_pixels=5, top_k=3), label=labelling)


def cleaned(labels: Any, **options: Any) -> Any:
    probabilities = np.zeros((labels.shape[0], 1, *labels.shape[1:]))
    prediction = Prediction(tuple(map(str, range(labels.shape[0]))), probabilities)
    return WithoutSmallComponents(labeller=lambda _: labels, **options)(prediction).label


def components(label: NDArray[Any]) -> Iterator[set[tuple[int, ...]]]:
    left = {place for place in np.ndindex(label.shape) if label[place] not in (0, IGNORE)}
    while left:
        found = component(label, next(iter(left)))
        left -= found
        yield found


def component(label: NDArray[Any], start: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Collect the pixels of a class that can be walked to from a pixel, diagonally as well."""
    found, open_ = {start}, [start]
    while open_:
        for place in around(open_.pop(), label.shape):
            if place not in found and label[place] == label[start]:
                found.add(place)
                open_.append(place)
    return found


def around(place: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for step in np.ndindex((3,) * len(shape)):
        moved = tuple(p + s - 1 for p, s in zip(place, step, strict=True))
        if all(0 <= m < size for m, size in zip(moved, shape, strict=True)):
            yield moved


@given(
    labels=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=5),
        elements=st.sampled_from([0, 0, 1, 2, IGNORE]),
    ),
    min_pixels=st.integers(1, 8),
    becomes=st.sampled_from([0, IGNORE]),
)
def test_components_are_removed_by_the_pixels_one_can_walk_to(
    xp: Any, labels: NDArray[Any], min_pixels: int, becomes: int
) -> None:
    expected = labels.copy()
    for label, kept in zip(labels, expected, strict=True):
        for places in components(label):
            if len(places) < min_pixels:
                kept[tuple(np.transpose(list(places)))] = becomes
    found = cleaned(xp.asarray(labels), min_pixels=min_pixels, becomes=becomes)
    assert array_namespace(found) is array_namespace(xp.asarray(labels))
    assert np.array_equal(to_numpy(found), expected)


def test_the_given_labels_are_left_as_they_are() -> None:
    labels = np.eye(4, dtype=np.uint8)[None]
    assert cleaned(labels, min_pixels=5).sum() == 0
    assert cleaned(labels, min_pixels=4).sum() == labels.sum() == 4


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"min_pixels": 0}, "min_pixels is 0"), ({"becomes": 7}, "becomes is 7")],
)
def test_parameters_outside_their_range_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        WithoutSmallComponents(labeller=Labelling(), **parameters)
