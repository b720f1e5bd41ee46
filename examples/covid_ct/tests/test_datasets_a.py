"""Data set A in the arrangements in which people have it."""

import gzip
import shutil
import struct
import zipfile

import nibabel as nib
import numpy as np
import pytest

from pladapt.errors import DataError, MissingDataError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.slices import Intensity, Slices, Volumes

load = DATASETS["A"].load
IMAGES, LUNGS, INFECTIONS = "COVID-19-CT-Seg_20cases", "Lung_Mask", "Infection_Mask"
COMBINED = "Lung_and_Infection_Mask"


@pytest.fixture
def lung(lesion):
    """Labels 1 on the patient's left, 2 on the right, over the lesion too."""
    mask = np.zeros(lesion.shape, np.uint8)
    mask[:, 1:, :3], mask[:, 1:, 3:] = 2, 1
    return mask


@pytest.fixture
def scan(ct, lesion, lung):
    return ct, lesion, lung


@pytest.fixture
def case(tmp_path, ct, lesion, lung, write_nifti):
    """One unpacked case, coronacases_001."""
    name = "coronacases_001.nii.gz"
    write_nifti(tmp_path / IMAGES / name, ct)
    write_nifti(tmp_path / LUNGS / name, lung)
    write_nifti(tmp_path / INFECTIONS / name, lesion)
    write_nifti(tmp_path / COMBINED / name, np.where(lesion, np.uint8(3), lung))
    return tmp_path


def zip_folder(folder, target, prefix=""):
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())


def assert_is_case(dataset, scan):
    ct, lesion, lung = scan
    assert dataset.problems == ()
    assert dataset.slices.ids == ("coronacases_001/z000", "coronacases_001/z001")
    assert set(dataset.slices.groups) == {"coronacases_001"}
    assert dataset.counts == (1, 2, 1)
    for z in range(2):
        found = dataset.slices[z]
        np.testing.assert_array_equal(found.image, ct[z])
        np.testing.assert_array_equal(found.lesion, lesion[z])
        np.testing.assert_array_equal(found.lung, lung[z] > 0)
        assert (found.lesion.dtype, found.lung.dtype) == (np.uint8, np.bool_)
        assert found.image.dtype == np.int16
        assert found.intensity is Intensity.HU


def test_unpacked_and_turned_by_the_header(case, scan):
    assert_is_case(load(case), scan)


def test_a_root_with_a_subfolder_of_the_letter(case, scan):
    (case / "A").mkdir()
    for kind in (IMAGES, LUNGS, INFECTIONS, COMBINED):
        shutil.move(case / kind, case / "A" / kind)
    assert_is_case(load(case), scan)


def test_four_zips_as_downloaded(case, tmp_path_factory, scan):
    target = tmp_path_factory.mktemp("zips")
    for kind in (IMAGES, LUNGS, INFECTIONS, COMBINED):
        zip_folder(case / kind, target / f"{kind}.zip")
    assert_is_case(load(target), scan)


def test_one_zip_of_the_four_zips(case, tmp_path_factory, scan):
    target = tmp_path_factory.mktemp("zips")
    (inner := target / "inner").mkdir()
    for kind in (IMAGES, LUNGS, INFECTIONS, COMBINED):
        zip_folder(case / kind, inner / f"{kind}.zip")
    zip_folder(inner, target / "3757476.zip")
    shutil.rmtree(inner)
    dataset = load(target)
    assert_is_case(dataset, scan)


def test_an_archive_beside_its_unpacked_folder_is_not_read_twice(case, scan):
    zip_folder(case / IMAGES, case / f"{IMAGES}.zip")
    assert_is_case(load(case, strict=True), scan)


@pytest.mark.parametrize(
    "name", ["coronacases_org_001.nii", "coronacases_org_case001.nii", "case001.nii"]
)
def test_kaggle_names_and_folders(tmp_path, name, write_nifti, scan):
    ct, lesion, lung = scan
    write_nifti(tmp_path / "ct_scans" / name, ct)
    write_nifti(tmp_path / "lung_mask" / "coronacases_001.nii", lung)
    write_nifti(tmp_path / "infection_mask" / "coronacases_001.nii", lesion)
    assert_is_case(load(tmp_path), scan)


def test_a_file_inside_a_folder_of_its_own_name(tmp_path, write_nifti, scan):
    ct, lesion, lung = scan
    twice = "coronacases_001.nii/coronacases_001.nii"
    write_nifti(tmp_path / "ct_scans" / "coronacases_org_001.nii" / "coronacases_org_001.nii", ct)
    write_nifti(tmp_path / "lung_mask" / twice, lung)
    write_nifti(tmp_path / "infection_mask" / twice, lesion)
    assert_is_case(load(tmp_path), scan)


def test_fractional_masks_are_rounded(case, write_nifti, lesion, lung, scan):
    name = "coronacases_001.nii.gz"
    write_nifti(case / INFECTIONS / name, np.where(lesion, 0.98, 0.004).astype(np.float32))
    write_nifti(case / LUNGS / name, lung.astype(np.float64) + 0.01)
    assert_is_case(load(case), scan)


def test_the_combined_mask_stands_in_for_the_others(case, scan):
    shutil.rmtree(case / INFECTIONS)
    shutil.rmtree(case / LUNGS)
    assert_is_case(load(case), scan)


def test_radiopaedia_volumes_are_not_part_of_it(case, write_nifti, lesion, scan):
    for kind in (IMAGES, INFECTIONS):
        write_nifti(case / kind / "radiopaedia_10_85902_1.nii.gz", lesion)
    dataset = load(case, strict=True)
    assert_is_case(dataset, scan)
    assert dataset.notes == ("2 radiopaedia_* files left out: not part of data set A.",)


def test_files_left_by_macos_are_ignored(case, scan):
    (case / IMAGES / "._coronacases_001.nii.gz").write_bytes(b"Mac OS X")
    (case / "__MACOSX").mkdir()
    (case / "__MACOSX" / "coronacases_001.nii.gz").write_bytes(b"Mac OS X")
    assert_is_case(load(case, strict=True), scan)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PIR", "SLA", "IRP"])
def test_any_stored_orientation_gives_the_same_slices(tmp_path, codes, write_nifti, scan):
    ct, lesion, lung = scan
    for kind, array in ((IMAGES, ct), (LUNGS, lung), (INFECTIONS, lesion)):
        write_nifti(tmp_path / kind / "coronacases_001.nii.gz", array, codes)
    assert_is_case(load(tmp_path), scan)


def test_non_integer_intensities_stay_exact(case, ct, write_nifti):
    write_nifti(case / IMAGES / "coronacases_001.nii.gz", (ct + 0.5).astype(np.float32))
    found = load(case).slices[1]
    assert found.image.dtype == np.float32
    np.testing.assert_array_equal(found.image, ct[1] + 0.5)


class TestWhatCannotBeUsed:
    """A second, broken case beside a good one is left out, or raised."""

    NAME = "coronacases_002.nii.gz"

    @pytest.fixture
    def second(self, case, ct, lesion, write_nifti):
        write_nifti(case / IMAGES / self.NAME, ct)
        write_nifti(case / INFECTIONS / self.NAME, lesion)
        return case

    def assert_left_out(self, folder, reason, path=f"{IMAGES}/{NAME}", **options):
        dataset = load(folder, **options)
        assert dataset.counts == (1, 2, 1)
        (problem,) = dataset.problems
        assert problem.path == path
        assert reason in problem.reason
        with pytest.raises(DataError, match="coronacases_002"):
            load(folder, strict=True, **options)

    def test_an_image_without_its_mask(self, second):
        (second / INFECTIONS / self.NAME).unlink()
        self.assert_left_out(second, "Case coronacases_002 has no infection mask.")

    def test_a_mask_without_its_image(self, second):
        (second / IMAGES / self.NAME).unlink()
        self.assert_left_out(second, "has no image", path=f"{INFECTIONS}/{self.NAME}")

    def test_a_mask_of_another_shape(self, second, lesion, write_nifti):
        write_nifti(second / INFECTIONS / self.NAME, lesion[:, :, :-1])
        self.assert_left_out(second, "The mask has shape (5, 5, 2), the image (6, 5, 2)")

    def test_a_mask_placed_elsewhere(self, second, lesion, write_nifti):
        write_nifti(second / INFECTIONS / self.NAME, lesion, shift=20.0)
        self.assert_left_out(second, "pass affine='ignore'")
        assert load(second, affine="ignore", strict=True).counts == (2, 4, 2)

    def test_a_mask_with_unknown_values(self, second, lesion, write_nifti):
        write_nifti(second / INFECTIONS / self.NAME, lesion * 7)
        self.assert_left_out(second, "The mask has the values [7]; only [0, 1] are known.")

    def test_nan(self, second, ct, write_nifti):
        write_nifti(second / IMAGES / self.NAME, np.where(ct > -500, np.nan, ct))
        self.assert_left_out(second, "NaN")

    def test_complex_numbers(self, second, ct, write_nifti):
        write_nifti(second / IMAGES / self.NAME, ct.astype(np.complex64))
        self.assert_left_out(second, "complex64; real numbers were expected")

    def test_a_series_of_volumes(self, second, ct):
        image = nib.Nifti1Image(np.stack([ct, ct], axis=-1), np.eye(4))
        nib.save(image, second / IMAGES / self.NAME)
        self.assert_left_out(second, "(x, y, z) was expected")

    @pytest.mark.parametrize("keep", [0, 10, 100, -8])
    def test_a_truncated_file(self, second, keep):
        path = second / IMAGES / self.NAME
        path.write_bytes(path.read_bytes()[:keep])
        self.assert_left_out(second, "not a readable NIfTI file")

    def test_a_header_that_promises_more_than_the_file_has(self, second):
        path = second / IMAGES / self.NAME
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[42:44] = (30000).to_bytes(2, "little")  # dim[1]
        path.write_bytes(gzip.compress(bytes(data)))
        self.assert_left_out(second, "its header promises")

    @pytest.mark.parametrize(
        ("at", "value"),
        [
            (280, bytes(48)),  # the sform's rows
            (288, struct.pack("<f", 1e30)),  # beside which the other axes are nothing
            (280, struct.pack("<f", float("nan"))),
        ],
    )
    def test_a_header_without_an_orientation(self, second, at, value):
        path = second / IMAGES / self.NAME
        data = bytearray(gzip.decompress(path.read_bytes()))
        data[at : at + len(value)] = value
        path.write_bytes(gzip.compress(bytes(data)))
        self.assert_left_out(second, "gives no orientation")

    def test_a_damaged_archive(self, second):
        for kind in (IMAGES, INFECTIONS):
            (second / kind / self.NAME).unlink()
        (second / "coronacases_002.zip").write_bytes(b"PK\x03\x04 and no more")
        self.assert_left_out(second, "cannot be opened", path="coronacases_002.zip")

    def test_a_damaged_member_of_an_archive(self, second):
        path = second / IMAGES / self.NAME
        with zipfile.ZipFile(second / f"{IMAGES}.zip", "w") as archive:
            archive.write(path, self.NAME)
        path.unlink()
        data = bytearray((second / f"{IMAGES}.zip").read_bytes())
        data[80] ^= 0xFF  # in the stored member: its checksum no longer fits
        (second / f"{IMAGES}.zip").write_bytes(bytes(data))
        self.assert_left_out(second, "Bad CRC-32", path=f"{IMAGES}.zip/{self.NAME}")

    def test_a_second_file_for_a_case(self, second, ct, write_nifti):
        for kind in (IMAGES, INFECTIONS):
            (second / kind / self.NAME).unlink()
        write_nifti(second / IMAGES / "coronacases_001.nii", ct)
        dataset = load(second)
        assert [problem.path for problem in dataset.problems] == [
            f"{IMAGES}/coronacases_001.nii.gz"
        ]
        assert "second image of coronacases_001" in dataset.problems[0].reason

    def test_a_name_or_folder_of_no_case(self, case, ct, write_nifti):
        write_nifti(case / IMAGES / "somebody.nii.gz", ct)
        write_nifti(case / "elsewhere" / "coronacases_009.nii.gz", ct)
        name, place = [problem.reason for problem in load(case).problems]
        assert name == "Its name is not that of a case of the data set."
        assert place.startswith("It lies in no folder named ")
        assert all(folder.lower() in place for folder in (IMAGES, LUNGS, INFECTIONS, COMBINED))


def test_nothing_usable_lists_the_reasons(case):
    for path in (case / IMAGES).iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no slice that can be used:\n.*coronacases_001.*NIfTI"):
        load(case)


@pytest.mark.parametrize("made", [True, False])
def test_missing_data_says_how_to_obtain_it(tmp_path, made):
    folder = tmp_path / "data"
    if made:
        folder.mkdir()
    with pytest.raises(MissingDataError, match=r"zenodo.org/records/3757476.*CC BY") as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def test_eight_bit_volumes_are_kept_refused_or_mapped_back(case, write_nifti):
    values = np.linspace(0, 255, 60).astype(np.uint8).reshape(2, 5, 6)
    write_nifti(case / IMAGES / "coronacases_001.nii.gz", values)
    kept = load(case).slices[1]
    assert kept.intensity is Intensity.EIGHT_BIT
    np.testing.assert_array_equal(kept.image, values[1])
    with pytest.raises(DataError, match="windowed 8-bit copy"):
        load(case, eight_bit="refuse")
    unwound = load(case, eight_bit="unwindow").slices
    assert unwound[0].intensity is Intensity.HU
    assert (unwound[0].image[0, 0], unwound[1].image[-1, -1]) == (-1250, 250)


def test_a_small_memory_keeps_the_volume_used_last(phantoms):
    read = load(phantoms).slices
    slices = Slices(Volumes(read.volumes.sources, max_bytes=1), read.rows)
    for index in (0, 6, 1, 7):
        np.testing.assert_array_equal(slices[index].image, read[index].image)
        assert slices.volumes[index // 6] is slices.volumes[index // 6]
    first = slices.volumes[0]
    assert slices.volumes[1] is slices.volumes[1]
    assert slices.volumes[0] is not first


def test_where_keeps_order_and_shares_the_volumes(phantoms):
    slices = load(phantoms).slices
    infected = slices.where(lambda row: row.lesion_pixels)
    assert infected.ids == tuple(row.id for row in slices.rows if row.lesion_pixels)
    assert all(infected[index].lesion.any() for index in range(len(infected)))
    assert infected.volumes is slices.volumes
