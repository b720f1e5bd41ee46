"""Phantoms: the layouts of the real data sets, the same bytes, and a shift between scanners."""

import hashlib

import nibabel as nib
import numpy as np
import pydicom
import pytest

from pladapt.errors import InputError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing
from pladapt_covid_ct.slices import Intensity


def checksums(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


SMALL = {"patients": {"A": 1, "B": 2, "C": 1}, "slices": 3, "size": 32}


def test_one_seed_gives_the_same_bytes_and_another_gives_others(tmp_path):
    for name, seed in (("first", 7), ("again", 7), ("other", 8)):
        write_phantoms(tmp_path / name, seed, **SMALL)
    first, again, other = (checksums(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    images = {name for name in first if "/im" in name or "COVID-19" in name or "rp_im" in name}
    assert all(first[name] != other.get(name) for name in images)


def test_a_data_set_does_not_depend_on_which_others_are_written(tmp_path):
    write_phantoms(tmp_path / "all", 7, **SMALL)
    write_phantoms(tmp_path / "c", 7, **(SMALL | {"patients": {"C": 1}}))
    both = checksums(tmp_path / "all")
    assert checksums(tmp_path / "c") == {
        name: sum_ for name, sum_ in both.items() if name.startswith("C/")
    }


def test_a_is_in_the_layout_of_the_real_one(phantoms):
    names = [f"coronacases_{number:03}.nii.gz" for number in (1, 2)]
    values = {
        "COVID-19-CT-Seg_20cases": None,
        "Lung_Mask": {0, 1, 2},
        "Infection_Mask": {0, 1},
        "Lung_and_Infection_Mask": {0, 1, 2, 3},
    }
    assert {path.name for path in (phantoms / "A").iterdir()} == set(values)
    for kind, expected in values.items():
        folder = phantoms / "A" / kind
        assert sorted(path.name for path in folder.iterdir()) == names
        image = nib.load(folder / names[0])
        assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
        assert image.shape == (64, 64, 6)
        stored = np.asarray(image.dataobj)
        if expected is None:
            assert stored.dtype == np.int16
            assert stored.min() < -950
            assert 300 < stored.max() < 3072
        else:
            assert set(np.unique(stored)) == expected


def test_the_left_lung_lies_on_the_patients_left(phantoms):
    image = nib.load(phantoms / "A" / "Lung_Mask" / "coronacases_001.nii.gz")
    stored = np.asarray(image.dataobj)
    left, right = (np.argwhere(stored == label).mean(axis=0)[0] for label in (1, 2))
    assert left > right  # x rises to the left


def test_b_is_in_the_layout_of_the_public_code(phantoms):
    images = sorted((phantoms / "B").glob("*.dcm"))
    assert [path.name for path in images] == [f"im{n:03}.dcm" for n in range(1, len(images) + 1)]
    studies = set()
    for path in images:
        header = pydicom.dcmread(path)
        assert "PatientID" not in header
        assert "PatientName" not in header
        assert (header.RescaleSlope, header.RescaleIntercept) == (1, -1024)
        studies.add(header.StudyInstanceUID)
        assert (phantoms / "B" / "masks" / f"{path.stem}.png").is_file()
    assert len(studies) == 3
    assert 3 * 3 <= len(images) <= 3 * 5
    order = [pydicom.dcmread(path).StudyInstanceUID for path in images]
    assert order != sorted(order, key=order.index)  # the numbers do not tell the patient


def test_c_is_in_the_layout_of_the_real_one(phantoms):
    assert {path.name for path in (phantoms / "C").iterdir()} == {"rp_im", "rp_msk", "rp_lung_msk"}
    masks = [nib.load(phantoms / "C" / "rp_msk" / f"{number}.nii.gz") for number in (1, 2)]
    for mask in masks:
        assert nib.aff2axcodes(mask.affine) == ("L", "P", "S")
        assert mask.shape == (80, 80, 6)
    assert set(np.unique([np.asarray(mask.dataobj) for mask in masks])) == {0, 1, 2}


def test_the_loaders_read_them_without_a_problem(phantoms):
    for letter, patients in (("A", 2), ("B", 3), ("C", 2)):
        dataset = DATASETS[letter].load(phantoms, strict=True)
        assert dataset.problems == ()
        assert dataset.counts.patients == patients
        for index in range(len(dataset.slices)):
            found = dataset.slices[index]
            assert found.intensity is Intensity.HU
            if found.lung is not None:
                assert found.lung.any()
                assert not (found.lesion > 0)[~found.lung].any()


def test_some_slices_of_a_volume_have_no_lesion(tmp_path):
    write_phantoms(tmp_path, 0, patients={"A": 4, "C": 4}, slices=12, size=48)
    for letter in "AC":
        patients, slices, infected = DATASETS[letter].load(tmp_path).counts
        assert patients == 4
        assert 0.5 * slices < infected < 0.95 * slices


def test_scanners_differ_in_what_a_network_sees(tmp_path):
    """After normalisation the lesions of the three still differ in brightness."""
    write_phantoms(tmp_path, 0, patients={"A": 4, "B": 6, "C": 4}, slices=8, size=64)
    means = {}
    for letter in "ABC":
        slices = DATASETS[letter].load(tmp_path).slices
        infected = slices.where(lambda row: row.lesion_pixels > 20)
        samples = PreparedSlices(infected, Preprocessing(size=64)).labelled()
        values = [sample.image[0][sample.mask > 0].mean() for sample in samples]
        means[letter] = np.mean(values)
    assert means["B"] < means["A"] - 0.3


@pytest.mark.parametrize(
    "options",
    [
        {"patients": {"D": 1}},
        {"patients": {"A": 0}},
        {"slices": 0},
        {"size": 16},
        {"seed": -1},
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, options):
    with pytest.raises(InputError, match=r"only of A, B and C|expected a seed of 0 or more"):
        write_phantoms(tmp_path, **({"seed": 0} | options))
    assert not list(tmp_path.iterdir())
