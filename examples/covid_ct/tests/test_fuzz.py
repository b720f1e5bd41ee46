"""Whatever is done to the files, a loader leaves them out or says what is wrong with them."""

import shutil
import struct
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pladapt.errors import PladaptError
from pladapt_covid_ct.datasets import DATASETS, load_series
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing

DATATYPE, DIM, PIXDIM, VOX_OFFSET, SCALE, FORMS, MAGIC = 70, 40, 76, 108, 112, 252, 344
"""Offsets of the fields of a NIfTI-1 header."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A good folder of every data set, its NIfTI files not compressed, so that bytes matter."""
    folder = tmp_path_factory.mktemp("originals")
    write_phantoms(folder, 0, patients={"A": 2, "B": 2, "C": 2}, slices=2, size=32)
    for path in list(folder.rglob("*.nii.gz")):
        nib.save(nib.load(path), path.with_suffix(""))
        path.unlink()
    for letter, image, mask in (
        ("D", "study_030{}.nii", "study_030{}_mask.nii"),
        ("E", "volume-covid19-A-030{}_ct.nii", "volume-covid19-A-030{}_seg.nii"),
    ):
        (folder / letter).mkdir()
        for number in (1, 2):
            name = f"coronacases_{number:03}.nii"
            for kind, target in (("COVID-19-CT-Seg_20cases", image), ("Infection_Mask", mask)):
                shutil.copy(folder / "A" / kind / name, folder / letter / target.format(number))
    return folder


def read_everything(letter, folder):
    """Load, decode and prepare; only errors of pladapt may come out."""
    try:
        dataset = load_series(folder / "B") if letter == "series" else DATASETS[letter].load(folder)
        prepared = PreparedSlices(dataset.slices, Preprocessing(size=16, lungs="none"))
        prepared.preload()
    except PladaptError:
        return
    assert all(problem.path and problem.reason for problem in dataset.problems)
    for index in range(len(prepared)):
        image, mask = prepared[index]
        assert np.isfinite(image).all()
        assert mask is None or mask.max() <= 1
    assert len(set(dataset.slices.ids)) == len(dataset.slices)


def mangle(draw, data):
    """Truncate, overwrite anywhere, or overwrite a field of a NIfTI header."""
    kind = draw(st.sampled_from(["truncate", "bytes", "field", "extend"]))
    if kind == "truncate":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "extend":
        return data + draw(st.binary(max_size=8))
    changed = bytearray(data)
    if kind == "field" and len(data) > MAGIC:
        at = draw(st.sampled_from([DATATYPE, PIXDIM, VOX_OFFSET, SCALE, FORMS, MAGIC]))
        at = draw(st.sampled_from([at, DIM + 2 * draw(st.integers(0, 7))]))
        value = draw(st.integers(-(2**15), 2**15 - 1))
        struct.pack_into("<h", changed, at, value)
        if draw(st.booleans()):
            struct.pack_into("<f", changed, at, draw(st.floats(width=32)))
        return bytes(changed)
    places = st.integers(0, min(len(data), 600) - 1)
    for at, value in draw(st.dictionaries(places, st.integers(0, 255), max_size=8)).items():
        changed[at] = value
    return bytes(changed)


def copy_of(originals, letter, target):
    source = "B" if letter == "series" else letter
    shutil.copytree(originals / source, Path(target) / source)
    return sorted(path for path in Path(target).rglob("*") if path.is_file())


@pytest.mark.parametrize("letter", [*DATASETS, "series"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_mangled_files(originals, letter, data):
    with tempfile.TemporaryDirectory() as folder:
        paths = copy_of(originals, letter, folder)
        for path in data.draw(
            st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True)
        ):
            path.write_bytes(mangle(data.draw, path.read_bytes()))
        read_everything(letter, Path(folder))


@pytest.mark.parametrize("letter", [*DATASETS, "series"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_shuffled_names_and_missing_files(originals, letter, data):
    """Files take each other's names, images those of masks among them, and some are gone."""
    with tempfile.TemporaryDirectory() as folder:
        paths = copy_of(originals, letter, folder)
        contents = [path.read_bytes() for path in paths]
        order = data.draw(st.permutations(range(len(paths))))
        gone = data.draw(st.sets(st.sampled_from(range(len(paths))), max_size=2))
        for place, (path, index) in enumerate(zip(paths, order, strict=True)):
            path.unlink() if place in gone else path.write_bytes(contents[index])
        read_everything(letter, Path(folder))


@pytest.mark.parametrize("letter", ["A", "C", "D", "E"])
@st.composite
def arrays(draw):
    """Arrays of any type and number of axes, all of one value."""
    shape = draw(st.sampled_from([(), (3,), (32, 32), (32, 32, 2), (32, 32, 2, 1), (32, 32, 2, 2)]))
    value = draw(st.sampled_from([0, 1, 3, 200, -1, float("nan"), float("inf"), 1e30]))
    dtype = draw(
        st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"])
    )
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(dtype)


@pytest.mark.parametrize("letter", ["A", "C", "D", "E"])
@settings(max_examples=15, deadline=None)
@given(array=arrays(), index=st.integers(0, 7))
def test_other_types_and_shapes(originals, letter, array, index):
    with tempfile.TemporaryDirectory() as folder:
        paths = copy_of(originals, letter, folder)
        nifti = nib.Nifti1Image(array, np.diag([-11.0, 11.0, 130.0, 1.0]), dtype=array.dtype)
        nib.save(nifti, paths[index % len(paths)])
        read_everything(letter, Path(folder))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_mangled_archives(originals, data):
    with tempfile.TemporaryDirectory() as folder:
        for kind in (originals / "C").iterdir():
            archive = Path(shutil.make_archive(str(Path(folder) / kind.name), "zip", kind))
            if data.draw(st.booleans()):
                archive.write_bytes(mangle(data.draw, archive.read_bytes()))
        read_everything("C", Path(folder))
