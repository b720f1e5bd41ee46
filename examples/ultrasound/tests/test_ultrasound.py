"""The ultrasound example: its images are what it says, and it runs from end to end."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def ultrasound():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        return importlib.import_module("ultrasound")


def test_the_seed_decides_the_images(ultrasound):
    first, again, other = (
        ultrasound.scans("s", ultrasound.SOURCE, 2, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(
        [sample.image for sample in first], [sample.image for sample in again]
    )
    assert not np.array_equal(first[0].image, other[0].image)
    assert [sample.group for sample in first] == ["s-patient-00"] * 4 + ["s-patient-01"] * 4
    assert [sample.mask.any() for sample in first] == [True, True, True, False] * 2


def test_lesions_are_darker_and_the_target_shows_them_less(ultrasound):
    contrast = {}
    for name, scanner in (("source", ultrasound.SOURCE), ("target", ultrasound.TARGET)):
        samples = [s for s in ultrasound.scans(name, scanner, 8, seed=3) if s.mask.any()]
        images = np.stack([sample.image[0] for sample in samples])
        masks = np.stack([sample.mask for sample in samples])
        contrast[name] = images[masks == 0].mean() - images[masks == 1].mean()
    assert contrast["source"] > contrast["target"] > 0.3


@pytest.mark.parametrize("recipe", ["paper", "robust"])
def test_it_prints_before_and_after_for_both_domains(ultrasound, capsys, recipe):
    given = ["--epochs", "2", "--patients", "3", "--seed", "5", "--recipe", recipe]
    ultrasound.main(given)
    verdict, *lines = capsys.readouterr().out.splitlines()
    words = "adapted|left as it was|not fit for these images"
    assert (found := re.fullmatch(rf"cut-off 0\.\d+; ({words}): .+", verdict))
    selected = [line for line in lines if line.startswith("selected: ")]
    assert all(re.fullmatch(r"selected: \{.*'kept': \d+.*\}", line) for line in selected)
    assert len(selected) == 1 or recipe == "robust"
    assert found[1] == "adapted" or recipe == "robust"
    figures = {line[:26].strip(): re.findall(r"\d\.\d{3}", line) for line in lines}
    figures = {name: numbers for name, numbers in figures.items() if numbers}
    assert {"source, all", "target, all"} <= figures.keys()
    for numbers in figures.values():
        assert len(numbers) == 6
        assert all(0 <= float(number) <= 1 for number in numbers)
