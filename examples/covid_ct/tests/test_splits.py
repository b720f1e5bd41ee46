from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError
from pladapt_covid_ct.splits import split_patients

patients = st.sets(st.text("abcdef0123456789", min_size=1), min_size=3, max_size=40)


@given(patients, st.integers(0, 2**32), st.integers(0, 4))
def test_every_patient_is_in_one_part_and_no_part_is_empty(names, seed, fold):
    split = split_patients(names, seed=seed, fold=fold)
    parts = (split.train, split.validation, split.test)
    assert sorted(sum(parts, ())) == sorted(names)
    assert all(parts)


@given(patients, st.integers(0, 2**32))
def test_every_patient_is_tested_in_one_or_two_of_five_folds(names, seed):
    tested = [
        name for fold in range(5) for name in split_patients(names, seed=seed, fold=fold).test
    ]
    if len(names) >= 5:
        assert set(tested) == names
        assert max(tested.count(name) for name in names) <= 2


def test_ten_patients_are_split_six_one_three():
    split = split_patients(f"p{i}" for i in range(10))
    assert (len(split.train), len(split.validation), len(split.test)) == (6, 1, 3)


def test_the_order_and_repetition_of_names_change_nothing():
    names = [f"p{i}" for i in range(9)]
    assert split_patients(names * 3, seed=3) == split_patients(names[::-1], seed=3)


@pytest.mark.parametrize(("names", "fold", "match"), [("ab", 0, "at least 3"), ("abc", 5, "fold")])
def test_too_few_patients_and_a_fold_too_many_are_refused(names, fold, match):
    with pytest.raises(InputError, match=match):
        split_patients(names, fold=fold)
