from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import Sample
from pladapt.data.views import checked, draw_places, subsample
from pladapt.errors import LabelledTargetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from pladapt.typing import Samples


def samples(ids: Sequence[str]) -> list[Sample]:
    return [Sample(id_, "p", np.zeros((1, 2, 2))) for id_ in ids]


def ids(view: Samples[Sample]) -> list[str]:
    return [view[index].id for index in range(len(view))]


@given(
    names=st.lists(st.text(max_size=4), unique=True, max_size=12), max_samples=st.integers(1, 14)
)
def test_at_most_so_many_are_left_those_of_the_lowest_digests_in_their_order(
    names: list[str], max_samples: int
) -> None:
    digests = sorted(hashlib.sha256(name.encode()).hexdigest() for name in names)[:max_samples]
    expected = [name for name in names if hashlib.sha256(name.encode()).hexdigest() in digests]
    assert ids(subsample(samples(names), max_samples)) == expected
    assert sorted(ids(subsample(samples(names[::-1]), max_samples))) == sorted(expected)


def test_where_there_are_no_more_nothing_is_read() -> None:
    def never(_index: int) -> Any:
        pytest.fail("a sample was read")

    lazy: Any = type("Lazy", (), {"__len__": lambda self: 3, "__getitem__": never})()
    assert subsample(lazy, 3) is lazy


def test_a_sample_with_a_mask_is_refused_when_it_is_asked_for(toy: SimpleNamespace) -> None:
    view = checked([*toy.target(count=2), *toy.lesions(count=3)[2:]])
    assert [view[0].id, view[1].id, len(view)] == ["s0", "s1", 3]
    with pytest.raises(LabelledTargetError, match="'s2' has a mask"):
        view[2]


@given(st.text(max_size=4), st.lists(st.booleans(), max_size=30), st.integers(1, 20))
def test_places_are_drawn_by_the_name_from_those_that_are_true(
    name: str, inside: list[bool], count: int
) -> None:
    places = draw_places(name, np.array(inside, bool), count)
    true = [place for place, is_true in enumerate(inside) if is_true]
    assert len(places) == min(count, len(true))
    assert set(places.tolist()) <= set(true)
    assert places.tolist() == sorted(set(places.tolist()))
    np.testing.assert_array_equal(draw_places(name, np.array(inside, bool), count), places)


def test_another_name_draws_other_places() -> None:
    drawn = {tuple(draw_places(name, np.ones(1000, bool), 20)) for name in "abc"}
    assert len(drawn) == 3
