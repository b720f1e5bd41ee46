"""``--resample`` and ``--neighbours`` on the command line: with an ONNX file, for torch is slow."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from typer.testing import Result

    Write = Callable[[Path, NDArray[Any]], Path]

nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra files is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytestmark = pytest.mark.onnx

BLOCK = (slice(4, 16), slice(8, 20))
SPECK = (28, 30)


def model(path: Path, weights: Sequence[float], axes: int = 2) -> None:
    """Write a network that adds up its channels, each times a weight."""
    shape = (1, len(weights), *[1] * axes)
    kernel = onnx.numpy_helper.from_array(np.float32(weights).reshape(shape), "kernel")
    lengths = ["height", "width"] if axes == 2 else ["depth", "height", "width"]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["images", "kernel"], ["probabilities"])],
        "sum",
        [value("images", onnx.TensorProto.FLOAT, ["batch", len(weights), *lengths])],
        [value("probabilities", onnx.TensorProto.FLOAT, ["batch", 1, *lengths])],
        [kernel],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def nifti(path: Path, volume: NDArray[Any]) -> None:
    """Write ``(Z, Y, X)`` of voxels of 3 x 0.8 x 0.4 mm, turned away from the world's axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-0.4, 0.8, 3, 1])
    affine[:3, 3] = 5, -8, 30
    nibabel.Nifti1Image(volume.T, affine).to_filename(path)


def series(folder: Path, volume: NDArray[Any]) -> None:
    """Write a CT series of ``(Z, Y, X)``, whose files are in another order than its slices."""
    folder.mkdir(parents=True)
    uid = pydicom.uid.generate_uid
    of_series = {name: uid() for name in ("Study", "Series")}
    frame = uid()
    for z, plane in enumerate(volume):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid()
        dataset = pydicom.Dataset()
        dataset.file_meta = meta
        dataset.SOPClassUID, dataset.SOPInstanceUID = meta[0x20002].value, meta[0x20003].value
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = of_series.values()
        dataset.FrameOfReferenceUID, dataset.Modality, dataset.InstanceNumber = frame, "CT", z + 1
        dataset.PatientID, dataset.PatientName = "1", "Phantom"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyID = ""
        dataset.StudyDate, dataset.StudyTime, dataset.SeriesNumber = "20260101", "120000", 1
        dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.Rows, dataset.Columns = plane.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.4], 3
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, 3 * z]
        dataset.PixelData = plane.astype("<u2").tobytes()
        dataset.save_as(folder / f"IM{9 - z}", enforce_file_format=True)


def pladapt(line: str) -> Result:
    return CliRunner().invoke(application(), line.split())


def done(line: str) -> None:
    result = pladapt(line)
    assert result.exit_code == 0, result.output


def error_of(line: str) -> str:
    result = pladapt(line)
    assert result.exit_code == 1, result.output
    return str(result.exception)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "axes"),
    [("--resample 1.6,1.6", 2), ("--dimensions 3 --resample 3,1.6,1.6", 3)],
)
def test_masks_of_resampled_images_are_on_the_images_own_grid(
    folder: Path, options: str, axes: int
) -> None:
    volume = np.zeros((3, 32, 64), np.float32)
    volume[(slice(None), *BLOCK)] = volume[(1, *SPECK)] = 1
    nifti(folder / "images/scan.nii.gz", volume)
    model(folder / "as_is.onnx", [1], axes)
    predict = "predict as_is.onnx images --device cpu -o"
    plain = "--dimensions 3" if axes == 3 else ""
    done(f"{predict} coarse {options}")
    done(f"{predict} fine {plain}")
    image, coarse, fine = (
        nibabel.load(folder / place / "scan.nii.gz") for place in ("images", "coarse", "fine")
    )
    assert coarse.shape == image.shape
    np.testing.assert_array_equal(coarse.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(fine.dataobj).T, volume)
    found = np.asarray(coarse.dataobj).T
    assert not found[(1, *SPECK)]  # it is one of eight pixels that become one
    middle = (slice(None), slice(6, 14), slice(12, 16))
    assert found[middle].all()
    assert abs(int(found.sum()) - 3 * 144) < 3 * 48  # about the block, whose border is half a pixel


def test_images_of_unknown_spacing_are_not_resampled(folder: Path, write: Write) -> None:
    write(folder / "images/a.npy", np.ones((8, 8), np.float32))
    model(folder / "as_is.onnx", [1])
    predict = "predict as_is.onnx images --device cpu -o masks --resample"
    said = error_of(f"{predict} 1,1")
    assert "a: It does not say the size of its pixels in mm" in said
    assert "or leave --resample out" in said
    assert "expected numbers in mm" in error_of(f"{predict} 1,mm")
    assert "2 values above 0" in error_of(f"{predict} 1,1,1")


VOLUME = np.stack([np.full((16, 16), z, np.float32) for z in (0, 1, 0, 1, 1)])


@pytest.mark.parametrize("weights", [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
def test_a_slice_of_a_nifti_volume_is_given_those_before_and_after(
    folder: Path, weights: list[int]
) -> None:
    nifti(folder / "images/scan.nii.gz", VOLUME)
    model(folder / "one_of_three.onnx", weights)
    done("predict one_of_three.onnx images --device cpu -o masks --neighbours 1")
    mask = nibabel.load(folder / "masks/scan.nii.gz")
    around = VOLUME[[0, 0, 1, 2, 3, 4, 4]]  # the ends are repeated
    at = weights.index(1)
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, around[at : at + 5])


def test_a_slice_of_a_dicom_series_is_given_those_before_and_after(folder: Path) -> None:
    series(folder / "images/scan", VOLUME)
    model(folder / "next.onnx", [0, 0, 1])
    done("score next.onnx images -o scores.parquet --neighbours 1")
    scores = pq.read_table(folder / "scores.parquet").sort_by("id").to_pydict()
    assert all(first < second for first, second in pairwise(scores["id"]))
    assert [pixels == 256 for pixels in scores["pixels"]] == [True, False, True, True, True]


def test_masks_of_a_dicom_series_with_neighbours_are_a_dicom_seg_of_its_slices(
    folder: Path,
) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    series(folder / "images/scan", VOLUME)
    model(folder / "next.onnx", [0, 0, 1])
    said = pladapt("predict next.onnx images --device cpu -o masks --neighbours 1")
    assert said.exit_code == 0, said.output  # a warning of the library would name the patient
    assert "Phantom" not in said.output
    (path,) = (folder / "masks").glob("*.dcm")
    segmentation = pydicom.dcmread(path)
    places = [
        frame.PlanePositionSequence[0].ImagePositionPatient[2]
        for frame in segmentation.PerFrameFunctionalGroupsSequence
    ]
    marked = segmentation.pixel_array.reshape(len(places), -1).any(1)
    assert {place for place, seen in zip(places, marked, strict=True) if seen} == {0, 6, 9, 12}


@pytest.mark.parametrize("cutoff", ["0", "1.5", "nan"])
def test_a_cut_off_out_of_its_range_is_said_before_the_work(folder: Path, cutoff: str) -> None:
    nifti(folder / "images/scan.nii.gz", VOLUME)
    model(folder / "as_is.onnx", [1])
    said = error_of(f"predict as_is.onnx images --device cpu -o masks --cutoff {cutoff}")
    assert said.startswith("The cut-off is")
    assert not (folder / "masks").exists()
