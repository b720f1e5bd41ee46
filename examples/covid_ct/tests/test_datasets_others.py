"""Data sets C, D and E, and what is known of all of them."""

import zipfile

import numpy as np
import pytest

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.slices import Intensity


class TestC:
    @pytest.fixture
    def classes(self, lesion):
        """Ground glass, consolidation and effusion."""
        mask = lesion.copy()
        mask[1, 0, :3] = [2, 3, 3]
        return mask

    @pytest.fixture
    def folder(self, tmp_path, ct, classes, write_nifti):
        for number, ending in ((1, ".nii.gz"), (2, ".nii")):
            write_nifti(tmp_path / "rp_im" / f"{number}{ending}", ct.astype(np.float64), "LPS")
            write_nifti(tmp_path / "rp_msk" / f"{number}{ending}", classes, "LPS")
            write_nifti(
                tmp_path / "rp_lung_msk" / f"{number}{ending}",
                np.where(ct > -700, 2, ct > -800).astype(np.uint8),
                "LPS",
            )
        return tmp_path

    def test_both_extensions_two_lungs_and_whole_intensities(self, folder, ct):
        dataset = DATASETS["C"].load(folder, strict=True)
        assert dataset.slices.ids == (
            "medseg_1/z000",
            "medseg_1/z001",
            "medseg_2/z000",
            "medseg_2/z001",
        )
        assert dataset.counts == (2, 4, 2)
        for index in range(4):
            found = dataset.slices[index]
            assert found.image.dtype == np.int16
            np.testing.assert_array_equal(found.image, ct[index % 2])
            np.testing.assert_array_equal(found.lung, ct[index % 2] > -800)

    def test_effusion_is_background_unless_kept(self, folder, classes):
        dropped = DATASETS["C"].load(folder)
        np.testing.assert_array_equal(dropped.slices[1].lesion, classes[1] * (classes[1] < 3))
        assert dropped.classes == {1: "ground glass", 2: "consolidation"}
        assert dropped.notes == ("Pleural effusion (label 3): drop.",)
        kept = DATASETS["C"].load(folder, effusion="keep")
        np.testing.assert_array_equal(kept.slices[1].lesion, classes[1])
        assert kept.classes[3] == "pleural effusion"
        with pytest.raises(InputError, match="'drop' or 'keep'"):
            DATASETS["C"].load(folder, effusion="yes")

    def test_the_bundle_of_zips_with_a_folder_in_each(self, folder, tmp_path_factory):
        target = tmp_path_factory.mktemp("bundle")
        with zipfile.ZipFile(target / "13521509.zip", "w") as bundle:
            for kind in ("rp_im", "rp_msk", "rp_lung_msk"):
                with zipfile.ZipFile(target / "inner.zip", "w") as archive:
                    archive.write(folder / kind / "1.nii.gz", f"{kind}/1.nii.gz")
                bundle.write(target / "inner.zip", f"{kind}.zip")
        (target / "inner.zip").unlink()
        assert DATASETS["C"].load(target, strict=True).counts == (1, 2, 1)

    def test_a_copy_in_eight_bits_is_left_out_unless_asked_for(self, folder, write_nifti):
        values = np.arange(60, dtype=np.uint8).reshape(2, 5, 6)
        write_nifti(folder / "rp_im" / "1.nii.gz", values, "LPS")
        dataset = DATASETS["C"].load(folder)
        assert dataset.counts == (1, 2, 1)
        assert "windowed 8-bit copy" in dataset.problems[0].reason
        kept = DATASETS["C"].load(folder, eight_bit="keep").slices[0]
        assert kept.intensity is Intensity.EIGHT_BIT

    def test_another_scale_is_told_from_hounsfield_units(self, folder, ct, write_nifti):
        write_nifti(folder / "rp_im" / "1.nii.gz", ct + 1024, "LPS")
        assert DATASETS["C"].load(folder).slices[0].intensity is Intensity.OTHER

    def test_a_mask_or_an_image_without_the_other(self, folder):
        (folder / "rp_msk" / "1.nii.gz").unlink()
        (folder / "rp_im" / "2.nii").unlink()
        with pytest.raises(DataError) as caught:
            DATASETS["C"].load(folder)
        assert "rp_im/1.nii.gz: Case medseg_1 has no lesion mask." in str(caught.value)
        assert "rp_lung_msk/2.nii: Case medseg_2 has no image." in str(caught.value)


@pytest.mark.parametrize("root", ["", "studies/", "COVID19_1110/studies/"])
def test_d_reads_the_studies_that_have_a_mask(tmp_path, root, ct, lesion, write_nifti):
    write_nifti(tmp_path / f"{root}CT-0" / "study_0001.nii.gz", ct)
    write_nifti(tmp_path / f"{root}CT-1" / "study_0255.nii.gz", ct)
    write_nifti(tmp_path / "masks" / "study_0255_mask.nii.gz", lesion)
    dataset = DATASETS["D"].load(tmp_path, strict=True)
    assert dataset.slices.ids == ("study_0255/z000", "study_0255/z001")
    assert dataset.counts == (1, 2, 1)
    assert dataset.slices[1].lung is None
    np.testing.assert_array_equal(dataset.slices[1].lesion, lesion[1])
    assert dataset.notes == ("1 studies without a mask left out.",)


def test_e_groups_the_scans_of_one_patient(tmp_path, ct, lesion, write_nifti):
    train = tmp_path / "COVID-19-20_v2" / "Train"
    for case in ("0047", "0047_1", "0100"):
        write_nifti(train / f"volume-covid19-A-{case}_ct.nii.gz", ct)
        write_nifti(train / f"volume-covid19-A-{case}_seg.nii.gz", lesion)
    write_nifti(tmp_path / "COVID-19-20_v2/Validation/volume-covid19-A-0200_ct.nii.gz", ct)
    (train / "._volume-covid19-A-0047_ct.nii.gz").write_bytes(b"Mac OS X")
    dataset = DATASETS["E"].load(tmp_path, strict=True)
    assert set(dataset.slices.groups) == {"covid19-A-0047", "covid19-A-0100"}
    assert dataset.counts == (2, 6, 3)
    assert dataset.notes == ("1 cases without a mask left out.",)


@pytest.mark.parametrize("letter", ["D", "E"])
def test_a_mask_without_its_image(tmp_path, letter, ct, lesion, write_nifti):
    image, mask = {
        "D": ("study_{}.nii.gz", "study_{}_mask.nii.gz"),
        "E": ("volume-covid19-A-{}_ct.nii.gz", "volume-covid19-A-{}_seg.nii.gz"),
    }[letter]
    write_nifti(tmp_path / image.format("0300"), ct)
    write_nifti(tmp_path / mask.format("0300"), lesion)
    write_nifti(tmp_path / mask.format("0301"), lesion)
    (problem,) = DATASETS[letter].load(tmp_path).problems
    assert problem.path == mask.format("0301")
    assert "has no image" in problem.reason


@pytest.mark.parametrize("letter", sorted(DATASETS))
def test_missing_data_says_where_it_looked_and_how_to_obtain_it(tmp_path, letter):
    info = DATASETS[letter]
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingDataError) as caught:
            info.load(folder)
        for part in (str(folder), info.page, info.licence, f"{letter}/", *info.archives):
            assert part in str(caught.value)


def test_the_papers_counts():
    """Table I and Section III."""
    assert {letter: tuple(info.paper) for letter, info in DATASETS.items()} == {
        "A": (10, 2581, 1351),
        "B": (82, 433, 433),
        "C": (9, 829, 373),
        "D": (None, None, None),
        "E": (None, None, None),
    }


def test_checksums_are_sha256():
    known = [sum_ for info in DATASETS.values() for sum_ in info.archives.values() if sum_]
    assert len(known) == 4
    assert all(len(sum_) == 64 and int(sum_, 16) for sum_ in known)
