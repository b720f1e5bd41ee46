"""Data set B: single DICOM slices, their masks in any format, and their patients."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.slices import Intensity

load = DATASETS["B"].load


@pytest.fixture
def hu():
    """Air, a body and lungs, no two columns alike."""
    image = np.full((5, 6), -1000)
    image[1:4, 1:5] = [40, -850, -600, 50]
    return image


@pytest.fixture
def mask():
    mask = np.zeros((5, 6), np.uint8)
    mask[2, 3] = mask[3, 2:4] = 1
    return mask


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "png")
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.fixture
def unmasked(tmp_path, hu, write_dicom):
    """A slice without its mask."""
    write_dicom(tmp_path / "im001.dcm", hu)
    return tmp_path


@pytest.fixture
def two(tmp_path, hu, mask, write_dicom):
    """Two slices of one patient and one of another, with masks in ``masks/``."""
    (tmp_path / "masks").mkdir()
    for number, study in ((1, "1.1"), (2, "1.2"), (3, "1.1")):
        write_dicom(tmp_path / f"im{number:03}.dcm", hu + number, StudyInstanceUID=study)
        (tmp_path / "masks" / f"im{number:03}.png").write_bytes(png(mask * np.uint8(255)))
    return tmp_path


def test_slices_in_hounsfield_units_with_their_patients(two, hu, mask):
    dataset = load(two, strict=True)
    assert dataset.slices.ids == ("im001", "im002", "im003")
    assert dataset.slices.groups == ("1.1", "1.2", "1.1")
    assert dataset.counts == (2, 3, 3)
    for index in range(3):
        found = dataset.slices[index]
        np.testing.assert_array_equal(found.image, hu + index + 1)
        np.testing.assert_array_equal(found.lesion, mask)
        assert found.lung is None
        assert found.intensity is Intensity.HU


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("masks/im001.png", lambda mask: png(mask * np.uint8(255))),
        ("Masks/im001.png", png),
        ("mask/im001.png", lambda mask: png(np.dstack([mask * np.uint8(200)] * 3))),
        ("im001_mask.png", lambda mask: png(mask.astype(bool))),
        ("masks/im001_mask.npy", lambda mask: npy(mask.astype(bool))),
        ("im001_mask.npy", lambda mask: npy(mask[np.newaxis].astype(np.float64))),
    ],
)
def test_masks_of_every_picture_format_and_place(unmasked, name, content, mask):
    (unmasked / name).parent.mkdir(exist_ok=True)
    (unmasked / name).write_bytes(content(mask))
    np.testing.assert_array_equal(load(unmasked, strict=True).slices[0].lesion, mask)


def test_dicom_masks(unmasked, mask, write_dicom):
    write_dicom(unmasked / "masks" / "im001.dcm", mask, intercept=None)
    np.testing.assert_array_equal(load(unmasked, strict=True).slices[0].lesion, mask)


@pytest.mark.parametrize("codes", ["LPS", "LAS", "RAS"])
def test_nifti_masks_are_turned_by_their_own_header(unmasked, codes, mask, write_nifti):
    write_nifti(unmasked / "masks" / "im001.nii.gz", mask[np.newaxis], codes)
    np.testing.assert_array_equal(load(unmasked, strict=True).slices[0].lesion, mask)


def test_slices_stored_otherwise_are_turned_with_their_masks(tmp_path, hu, mask, write_dicom):
    """Columns run to the patient's right and rows to the chest: both axes are flipped."""
    write_dicom(
        tmp_path / "im001.dcm", hu[::-1, ::-1], ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]
    )
    (tmp_path / "im001_mask.png").write_bytes(png(np.ascontiguousarray(mask[::-1, ::-1])))
    found = load(tmp_path, strict=True).slices[0]
    np.testing.assert_array_equal(found.image, hu)
    np.testing.assert_array_equal(found.lesion, mask)


def test_image_folders_do_not_matter_and_patients_folders_do(tmp_path, hu, mask, write_dicom):
    for patient, study in (("p1", "1.1"), ("p2", "1.2")):
        (tmp_path / patient / "masks").mkdir(parents=True)
        for name, content in (("a", mask), ("b", mask * np.uint8(0))):
            image = tmp_path / patient / "images" / f"{name}.dcm"
            write_dicom(image, hu, StudyInstanceUID=study)
            (tmp_path / patient / "masks" / f"{name}.png").write_bytes(png(content))
    dataset = load(tmp_path, strict=True)
    assert dataset.slices.ids == ("p1/a", "p1/b", "p2/a", "p2/b")
    assert dataset.counts == (2, 4, 2)


def test_a_table_of_patients_is_used_instead_of_the_headers(two):
    table = two / "patients.csv"
    table.write_text("slice,patient\nim001,anna\nIM002.dcm,anna\nim003,ben\n")
    dataset = load(two, patients=table)
    assert dataset.slices.groups == ("anna", "anna", "ben")
    assert dataset.notes == ("Patients told apart by the table given: 2; the paper has 82.",)


def test_a_slice_that_the_table_lacks_is_left_out(two):
    table = two / "patients.csv"
    table.write_text("slice,patient\nim001,anna\nim002,\n")
    dataset = load(two, patients=table)
    assert dataset.slices.ids == ("im001",)
    assert [problem.path for problem in dataset.problems] == ["im002.dcm", "im003.dcm"]
    assert dataset.problems[0].reason == "The table of patients has no row for im002."


def test_a_table_with_other_columns_or_none(two):
    (two / "patients.csv").write_text("file;id\nim001;1\n")
    with pytest.raises(InputError, match="'slice' and 'patient' were expected"):
        load(two, patients=two / "patients.csv")
    with pytest.raises(MissingDataError, match="given as the table of patients"):
        load(two, patients=two / "nowhere.csv")


def test_other_keys_are_used_only_when_asked_for(tmp_path, hu, mask, write_dicom):
    for number in (1, 2, 3):
        write_dicom(
            tmp_path / f"im{number}.dcm",
            hu,
            StudyInstanceUID=f"1.{number}",
            FrameOfReferenceUID="9.1" if number < 3 else "9.2",
        )
        (tmp_path / f"im{number}_mask.png").write_bytes(png(mask))
    with pytest.raises(DataError, match="each of the 3 slices of data set B has a patient of its"):
        load(tmp_path)
    dataset = load(tmp_path, group_by="FrameOfReferenceUID")
    assert dataset.slices.groups == ("9.1", "9.1", "9.2")
    assert dataset.notes == ("Patients told apart by FrameOfReferenceUID: 2; the paper has 82.",)


def test_a_slice_without_the_tag_is_left_out_and_never_its_own_patient(two, hu, write_dicom):
    write_dicom(two / "im002.dcm", hu, StudyInstanceUID=None)
    dataset = load(two)
    assert dataset.slices.ids == ("im001", "im003")
    (problem,) = dataset.problems
    assert "StudyInstanceUID do not tell the patient" in problem.reason


def test_eighty_two_patients_are_as_the_paper_has_them(tmp_path, hu, mask, write_dicom):
    for number in range(83):
        write_dicom(tmp_path / f"im{number:03}.dcm", hu, StudyInstanceUID=f"1.{min(number, 81)}")
        (tmp_path / f"im{number:03}_mask.png").write_bytes(png(mask))
    assert load(tmp_path).notes == ("Patients told apart by StudyInstanceUID: 82.",)


def test_an_unknown_key(two):
    with pytest.raises(InputError, match=r"group_by is 'name'.*StudyInstanceUID.*acquisition"):
        load(two, group_by="name")


def test_a_second_subtraction_of_1024_is_noticed(tmp_path, mask, write_dicom):
    """The tags say to subtract 1024, but the stored values are in Hounsfield units already."""
    body = np.full((20, 20), -1000)
    body[4:16, 4:16] = 30
    for number in (1, 2):
        write_dicom(tmp_path / f"im{number}.dcm", body - 1024)
        (tmp_path / f"im{number}_mask.png").write_bytes(png(np.zeros((20, 20), np.uint8)))
    with pytest.raises(DataError, match="Pass rescale='stored'"):
        load(tmp_path)
    np.testing.assert_array_equal(load(tmp_path, rescale="stored").slices[0].image, body)


class TestWhatCannotBeUsed:
    """The second of three slices is broken."""

    def assert_left_out(self, folder, reason):
        dataset = load(folder)
        assert dataset.slices.ids == ("im001", "im003")
        (problem,) = dataset.problems
        assert problem.path == "im002.dcm"
        assert reason in problem.reason
        with pytest.raises(DataError, match=r"im002\.dcm"):
            load(folder, strict=True)

    def test_without_its_mask(self, two):
        (two / "masks" / "im002.png").unlink()
        self.assert_left_out(two, "It has no mask: no masks/im002.* and no im002_mask.*.")

    def test_with_two_masks(self, two, mask):
        (two / "im002_mask.npy").write_bytes(npy(mask))
        self.assert_left_out(two, "It has 2 masks: im002_mask.npy, masks/im002.png.")

    def test_with_a_mask_of_another_shape(self, two, mask):
        (two / "masks" / "im002.png").write_bytes(png(mask[:, :-1].copy()))
        self.assert_left_out(two, "It has shape (5, 5), the image (5, 6).")

    def test_with_a_mask_of_several_values(self, two, mask):
        mask[0, 0] = 2
        (two / "masks" / "im002.png").write_bytes(png(mask))
        self.assert_left_out(two, "The mask has the values [1]; only [0, 2] are known.")

    def test_with_a_mask_of_pickled_objects(self, two, mask):
        (two / "masks" / "im002.png").unlink()
        stream = io.BytesIO()
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        (two / "im002_mask.npy").write_bytes(stream.getvalue())
        self.assert_left_out(two, "allow_pickle")

    def test_with_a_mask_of_several_slices(self, two, mask):
        (two / "masks" / "im002.png").unlink()
        (two / "im002_mask.npy").write_bytes(npy(np.stack([mask, mask])))
        self.assert_left_out(two, "(rows, columns) was expected")

    def test_with_a_damaged_nifti_mask(self, two, mask):
        (two / "masks" / "im002.png").unlink()
        data = nib.Nifti1Image(mask.T[..., np.newaxis], np.eye(4)).to_bytes()
        (two / "im002_mask.nii").write_bytes(data[:-5])
        self.assert_left_out(two, "could the file be damaged?")

    @pytest.mark.parametrize("keep", [0, 50, 200, -3])
    def test_truncated(self, two, keep):
        path = two / "im002.dcm"
        path.write_bytes(path.read_bytes()[:keep])
        self.assert_left_out(two, "It is not a readable DICOM file")

    def test_not_axial(self, two, hu, write_dicom):
        write_dicom(
            two / "im002.dcm",
            hu,
            StudyInstanceUID="1.2",
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
        )
        self.assert_left_out(two, "The slices are not axial")


@pytest.mark.parametrize("made", [True, False])
def test_missing_data_says_how_to_obtain_it(tmp_path, made):
    folder = tmp_path / "data"
    if made:
        (folder / "masks").mkdir(parents=True)
    with pytest.raises(MissingDataError, match="figshare") as caught:
        load(folder)
    assert str(folder) in str(caught.value)
