from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import LabelledTargetError, Sample
from pladapt.data.views import checked, subsample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from pladapt import Samples


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
    digests = sorted(hashlib.sha256(name.encode()).hexdigest() for name in names)[:most]
    expected = [name for name in names if hashlib.sha256(name.encode()).hexdigest() in digests]
    assert ids(subsample(samples(names), most)) == expected
    assert sorted(ids(subsample(samples(names[::-1]), most))) == sorted(expected)


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
