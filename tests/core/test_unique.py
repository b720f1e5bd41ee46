"""Ids that stand twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pladapt.data import unique
from pladapt.data.unique import SeenIds, repeated

if TYPE_CHECKING:
    import pytest


@given(st.lists(st.lists(st.text(max_size=2), max_size=6), max_size=5))
def test_an_id_that_stands_twice_is_found_however_the_ids_come(parts: list[list[str]]) -> None:
    ids = [id_ for part in parts for id_ in part]
    twice = {id_ for id_ in ids if ids.count(id_) > 1}
    found = repeated(pa.chunked_array(parts, pa.string()))
    assert found in twice if twice else found is None
    seen = SeenIds()
    said = [seen.add(part) for part in parts]
    assert any(said) == bool(twice)


def test_two_ids_of_one_hash_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "hash", len, raising=False)
    ids = pa.chunked_array([["a", "b"], ["longer"]])
    assert SeenIds().add(["a", "b"])  # one may
    assert repeated(ids) is None  # and none does
    assert repeated(pa.chunked_array([["a", "b"], ["a"]])) == "a"
