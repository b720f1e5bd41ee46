"""Unlabelled DICOM series."""

import gdcm
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLosslessSV1

from pladapt.errors import DataError, InputError, MissingDataError, PladaptError
from pladapt_covid_ct.datasets import load_series
from pladapt_covid_ct.lungs import threshold_lungs
from pladapt_covid_ct.preprocessing import PreparedSlices, Preprocessing


@pytest.fixture
def plane():
    return np.arange(30).reshape(5, 6) * 20 - 900


def write_series(folder, plane, write_dicom, heights, series="1.2.3", **tags):
    """Write slices whose values tell their height, under names that do not."""
    for name, height in zip("cadbe", heights, strict=False):
        write_dicom(
            folder / f"{series}{name}.dcm",
            plane + height,
            ImagePositionPatient=[0, 0, height],
            SeriesInstanceUID=series,
            **tags,
        )


def test_slices_are_sorted_along_their_normal(tmp_path, plane, write_dicom):
    write_series(tmp_path / "P001", plane, write_dicom, [20, 5, 15, 10])
    dataset = load_series(tmp_path, strict=True)
    assert dataset.slices.ids == tuple(f"P001/z{z:03}" for z in range(4))
    assert dataset.counts == (1, 4, None)
    for z, height in enumerate([5, 10, 15, 20]):
        found = dataset.slices[z]
        np.testing.assert_array_equal(found.image, plane + height)
        assert found.lesion is None
        assert found.lung is None


def test_a_patient_lying_face_down_is_turned(tmp_path, plane, write_dicom):
    """Rows rise to the chest and columns to the right: the normal still rises to the head."""
    write_series(
        tmp_path,
        plane[::-1, ::-1],
        write_dicom,
        [0, 7],
        ImageOrientationPatient=[-1, 0, 0, 0, -1, 0],
    )
    slices = load_series(tmp_path, strict=True).slices
    np.testing.assert_array_equal(slices[0].image, plane)
    np.testing.assert_array_equal(slices[1].image, plane + 7)


def test_a_normal_that_falls_to_the_feet_is_turned(tmp_path, plane, write_dicom):
    write_series(
        tmp_path, plane[:, ::-1], write_dicom, [0, 7], ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]
    )
    slices = load_series(tmp_path, strict=True).slices
    np.testing.assert_array_equal(slices[0].image, plane)
    np.testing.assert_array_equal(slices[1].image, plane + 7)


def test_series_of_one_folder_are_told_apart(tmp_path, plane, write_dicom):
    write_series(tmp_path / "P001", plane, write_dicom, [0, 1], series="1.5")
    write_series(tmp_path / "P001", plane, write_dicom, [0, 1, 2], series="1.6")
    dataset = load_series(tmp_path, strict=True)
    assert {id_.rpartition("/")[0] for id_ in dataset.slices.ids} == {"P001/1.5", "P001/1.6"}
    assert dataset.counts == (1, 5, None)


def compress_losslessly(path):
    """Store a slice's pixels as JPEG Lossless, as many scanners do."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def test_jpeg_lossless_pixels_are_decoded_exactly(tmp_path, plane, write_dicom):
    write_dicom(tmp_path / "a.dcm", plane)
    compress_losslessly(tmp_path / "a.dcm")
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == JPEGLosslessSV1
    dataset = load_series(tmp_path, strict=True)
    np.testing.assert_array_equal(dataset.slices[0].image, plane)


@pytest.fixture
def compressed(tmp_path, plane, write_dicom):
    """The bytes of a compressed slice, of the same length every time."""
    path = tmp_path / "a.dcm"
    write_dicom(path, plane, SOPInstanceUID="1.2.4")
    compress_losslessly(path)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_mangled_jpeg_is_left_out_or_read(tmp_path, compressed, data):
    content = bytearray(compressed)
    places = st.integers(132, len(content) - 1)  # after the preamble
    for at, value in data.draw(st.dictionaries(places, st.integers(0, 255), max_size=6)).items():
        content[at] = value
    whole = len(content)
    (tmp_path / "a.dcm").write_bytes(content[: data.draw(st.integers(whole // 2, whole))])
    try:
        dataset = load_series(tmp_path)
    except PladaptError:
        return
    assert dataset.slices[0].image.ndim == 2


def test_uids_that_are_none_are_read(tmp_path, plane, write_dicom):
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        write_series(tmp_path, plane, write_dicom, [0, 1], StudyInstanceUID="896911bf-1143-4c8d")
    (group,) = set(load_series(tmp_path, strict=True).slices.groups)
    assert group.startswith("name-")


def test_nothing_tells_whose_a_series_is(tmp_path, plane, write_dicom):
    study, series = "1.2.840.113619.2.55.3.604688119", "1.2.840.113619.2.55.3.604688119.969"
    for number in (1, 2):  # two in one folder: their UIDs tell them apart
        write_series(
            tmp_path / "DOE^JANE",
            plane,
            write_dicom,
            [0, 1],
            series=f"{series}.{number}",
            StudyInstanceUID=study,
            PatientID="PAT/56",
        )
    (tmp_path / f"{study}.dcm").write_bytes(b"none")
    by_study = load_series(tmp_path)
    by_patient = load_series(tmp_path, group_by="PatientID")
    said = repr([(d.slices.ids, set(d.slices.groups), d.problems) for d in (by_study, by_patient)])
    for secret in (study, "DOE", "JANE", "PAT"):
        assert secret not in said
    assert by_study.counts == by_patient.counts == (1, 4, None)
    assert by_study.slices.ids == load_series(tmp_path).slices.ids


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([[0, 0, 3], [0, 0, 3]], "two slices at one position"),
        ([[0, 0, 3], None], "no ImagePositionPatient"),
    ],
)
def test_a_series_that_is_no_stack_is_left_out(tmp_path, plane, write_dicom, positions, reason):
    write_series(tmp_path / "good", plane, write_dicom, [0, 1], series="1.9")
    for name, position in zip("ab", positions, strict=True):
        write_dicom(tmp_path / "bad" / f"{name}.dcm", plane, ImagePositionPatient=position)
    dataset = load_series(tmp_path)
    assert dataset.counts == (1, 2, None)
    (problem,) = dataset.problems
    assert reason in problem.reason


def test_slices_of_different_sizes_or_orientations(tmp_path, plane, write_dicom):
    write_dicom(tmp_path / "a.dcm", plane)
    write_dicom(tmp_path / "b.dcm", plane[:, :-1], ImagePositionPatient=[0, 0, 1])
    with pytest.raises(DataError, match="slices of the sizes"):
        load_series(tmp_path)
    tilted = [1, 0, 0, 0, 0.9, 0.4359]
    write_dicom(
        tmp_path / "b.dcm", plane, ImagePositionPatient=[0, 0, 1], ImageOrientationPatient=tilted
    )
    with pytest.raises(DataError, match="different orientations"):
        load_series(tmp_path)


def test_a_broken_file_is_left_out(tmp_path, plane, write_dicom):
    write_series(tmp_path, plane, write_dicom, [0, 1])
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    dataset = load_series(tmp_path)
    assert [problem.path for problem in dataset.problems] == ["broken.dcm"]
    assert dataset.counts == (1, 2, None)


def test_what_is_asked_for_must_exist(tmp_path):
    with pytest.raises(MissingDataError, match=r"no DICOM file \(\*.dcm\)"):
        load_series(tmp_path / "nowhere")
    with pytest.raises(InputError, match="group_by"):
        load_series(tmp_path, group_by="PatientsName")


@pytest.mark.real_data
def test_real_series_with_unordered_names_and_an_invalid_uid(real_data):
    dataset = load_series(real_data / "ct_dicom_hu", strict=True)
    assert dataset.counts == (2, 20, None)
    assert dataset.slices.ids[::10] == ("P001/z000", "P002/z000")
    prepared = PreparedSlices(dataset.slices, Preprocessing(size=128)).unlabelled()
    for index in range(20):
        slice_ = dataset.slices[index]
        assert slice_.image.min() == -1024
        assert -80 < np.median(slice_.image[slice_.image > -200]) < 80
        assert 0.10 < threshold_lungs(slice_.image).mean() < 0.35
        assert np.isfinite(prepared[index].image).all()
    head, feet = dataset.slices[9], dataset.slices[0]
    assert (feet.image > -200).mean() > (head.image > -200).mean() * 0.5
