"""Traps of the real downloads that no other test shows, and the page that lists them all."""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.preprocessing import Preprocessing
from pladapt_covid_ct.slices import Intensity, Slice

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "reference" / "covid_ct_traps.md"

KAGGLE = (
    *(f"coronacases_org_{number:03}" for number in (1, 2, 3, 4, 5, 6, 8)),
    "coronacases_org_case007",
    "case009",
    "coronacases_org_case010",
)


def test_all_ten_names_that_kaggle_gives_are_those_of_ten_patients(
    tmp_path, ct, lesion, write_nifti
):
    for number, name in enumerate(sorted(KAGGLE, key=lambda name: name[-3:]), 1):
        write_nifti(tmp_path / "ct_scans" / f"{name}.nii", ct)
        write_nifti(tmp_path / "infection_mask" / f"coronacases_{number:03}.nii", lesion)
    for name in ("radiopaedia_org_covid-19-pneumonia-10_85902_1-dcm", "radiopaedia_10_85902_1"):
        (tmp_path / "ct_scans" / f"{name}.nii").write_bytes(b"never opened")
    dataset = DATASETS["A"].load(tmp_path, strict=True)
    assert dataset.counts == (10, 20, 10)
    assert dataset.slices.groups[::2] == tuple(f"coronacases_{n:03}" for n in range(1, 11))


def test_the_other_folders_that_kaggle_has(tmp_path, ct, lesion, write_nifti):
    name = "coronacases_001.nii.gz"
    lung = np.ones_like(lesion)
    for folder, array in (
        ("20_ncov_scan", ct),
        ("lung_mask", lung),
        ("infection", lesion),
        ("lung_infection", np.where(lesion, 3, lung).astype(np.uint8)),
    ):
        write_nifti(tmp_path / folder / name, array)
    dataset = DATASETS["A"].load(tmp_path, strict=True)
    np.testing.assert_array_equal(dataset.slices[1].lesion, lesion[1])
    assert dataset.slices[1].lung.all()


def test_630_pixels_become_512_and_masks_stay_on_their_image():
    y, x = np.mgrid[:630, :630]
    disc = (y - 200) ** 2 + (x - 400) ** 2 < 90**2
    lung = np.ones((630, 630), np.bool_)
    slice_ = Slice(
        "s", "p", np.where(disc, 100, -900).astype("i2"), disc.view("u1"), lung, Intensity.HU
    )
    image, mask = Preprocessing(size=512)(slice_)
    assert image.shape == (1, 512, 512)
    assert mask.shape == (512, 512)
    bright = image[0] > (image.max() + image.min()) / 2
    boundary = 2 * np.pi * 90 * 512 / 630
    assert (bright != (mask == 1)).sum() < 0.5 * boundary
    for axis, centre in ((0, 200), (1, 400)):
        found = np.argwhere(mask)[:, axis].mean()
        assert found == pytest.approx((centre + 0.5) * 512 / 630 - 0.5, abs=0.2)


@pytest.fixture(scope="module")
def table():
    """The page's rows: the trap, where it is handled, and the tests."""
    rows = re.findall(r"^\| (.+) \| (`.+) \| (`.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return [
        (trap, re.findall(r"`(.+?)`", code), re.findall(r"`(.+?)`", t)) for trap, code, t in rows
    ]


def test_every_trap_of_the_page_is_handled_where_it_says(table):
    assert len(table) > 20
    for _, handlers, _ in table:
        for handler in handlers:
            module, _, name = handler.partition(":")
            assert hasattr(importlib.import_module(f"pladapt_covid_ct.{module}"), name), handler


def test_every_trap_of_the_page_has_its_test(table):
    for _, _, tests in table:
        for test in tests:
            file, _, name = test.partition("::")
            tree = ast.parse((HERE / f"{file}.py").read_text("utf-8"))
            functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
            assert name in functions, test
