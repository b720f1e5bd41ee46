"""Predicting a folder of images into a folder of masks."""

from __future__ import annotations

import shutil
import sys
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import DataError, FlipPredictor, InputError
from pladapt.errors import BusyError, MissingDependencyError, OutputError, RunChangedError
from pladapt.files import Files, Grouping, ImageLayout, MaskLayout, write_masks
from pladapt.files.formats import decode
from pladapt.files.stored import Decoding
from pladapt.files.writing import Values, encode_mask
from pladapt.predictors import LogitShiftPredictor
from pladapt.storage import locked
from pladapt.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt import Batch

    Write = Callable[[Path, NDArray[Any]], Path]

VOLUME = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
AFFINE = np.array([[-2, 0.1, 0, 5], [0, 2, 0, -7], [0, 0.2, 3, 9], [0, 0, 0, 1.0]])


class Values01:
    """Takes an image's values, which may be bytes, for probabilities; counts what it is shown."""

    def __init__(self, classes: int = 1, stop: int = 10**9) -> None:
        self.classes, self.stop, self.shown = classes, stop, 0

    def describe(self) -> dict[str, int]:
        return {"classes": self.classes}

    def predict(self, images: Any, /) -> Any:
        self.shown += len(images)
        if self.shown > self.stop:
            raise KeyboardInterrupt
        largest = images.max(axis=tuple(range(1, images.ndim)), keepdims=True)
        values = images[:, :1] / np.where(largest > 1, 255, 1)
        if self.classes == 1:
            return values
        given = np.concatenate([np.roll(values, n, axis=-1) for n in range(self.classes + 1)], 1)
        return given / given.sum(1, keepdims=True)


def stored(path: Path) -> NDArray[Any]:
    return decode(path, Decoding(labels=True)).array


def masks(images: Path, out: Path, **options: Any) -> list[str]:
    """Predict a folder, and return what was left out."""
    predictor = options.pop("predictor", Values01())
    _, problems = write_masks(predictor, Files.find(images), out, **options)
    return [f"{name}: {reason}" for name, reason in problems]


def test_a_volume_keeps_its_place_and_header(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
    image = nibabel.Nifti1Image(VOLUME.T, AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(np.diag([2, 2, 3, 1.0]), code=1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    image.header["cal_max"] = 1
    for name in ("sub/a.nii.gz", "b.nii", "c.mgz"):
        (tmp_path / "in/sub").mkdir(parents=True, exist_ok=True)
        made = image if "nii" in name else nibabel.MGHImage(VOLUME.T, AFFINE)
        made.to_filename(tmp_path / "in" / name)
    for dimensions in (2, 3):
        out = tmp_path / f"masks{dimensions}"
        maps = tmp_path / f"maps{dimensions}"
        layout = ImageLayout(dimensions)
        assert masks(tmp_path / "in", out, layout=layout, cutoff=0.6, probabilities=maps) == []
        for name in ("sub/a.nii.gz", "b.nii", "c.mgz"):
            mask = nibabel.load(out / name)
            np.testing.assert_array_equal(mask.dataobj, VOLUME.T > 0.6)
            assert mask.get_data_dtype() == np.uint8
            np.testing.assert_array_equal(mask.affine, nibabel.load(tmp_path / "in" / name).affine)
        header = nibabel.load(out / "b.nii").header
        assert (header["sform_code"], header["qform_code"]) == (2, 1)
        assert header.get_xyzt_units() == ("mm", "sec")
        assert (header["descrip"].item(), header["cal_max"]) == (b"a scan", 0)
        kept = nibabel.load(maps / "sub/a.nii.gz")
        np.testing.assert_allclose(kept.dataobj, VOLUME.T, rtol=1e-6)
        np.testing.assert_allclose(kept.affine, AFFINE)


def test_a_mask_is_of_the_image_s_format_and_size(tmp_path: Path, write: Write) -> None:
    grey = (255 * VOLUME).astype(np.uint8)
    images = {
        "grey.png": (grey[0], "grey.png"),
        "colour.bmp": (np.stack([grey[1]] * 3, -1), "colour.png"),
        "pages.tif": (grey, "pages.tif"),
        "one.npy": (VOLUME[0], "one.npy"),
        "stack.npy": (VOLUME[:, None], "stack.npy"),
    }
    for name, (array, _) in images.items():
        write(tmp_path / "in" / name, array)
    assert masks(tmp_path / "in", tmp_path / "out") == []
    for name, (array, made) in images.items():
        mask = stored(tmp_path / "out" / made)
        axis = {"colour.bmp": -1, "stack.npy": 1}.get(name)
        values = array if axis is None else array.take(0, axis)
        np.testing.assert_array_equal(mask, values > (0.5 if array.dtype.kind == "f" else 127.5))
    assert stored(tmp_path / "out/grey.png").dtype == bool  # a bitmap, which is black and white
    table = pq.read_table(tmp_path / "out/masks.parquet").to_pydict()
    assert table["image"] == ["colour.bmp", "grey.png", "one.npy", "pages.tif", "stack.npy"]
    assert table["mask"] == ["colour.png", "grey.png", "one.npy", "pages.tif", "stack.npy"]
    assert table["samples"] == [1, 1, 1, 4, 4]
    assert table["foreground"][2] == pytest.approx((VOLUME[0] > 0.5).mean())


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_an_itk_volume_keeps_its_place(tmp_path: Path, ending: str) -> None:
    itk = pytest.importorskip("SimpleITK", reason="the extra files is not installed")
    image = itk.GetImageFromArray(VOLUME)
    image.SetSpacing((0.5, 0.6, 3))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    (tmp_path / "in").mkdir()
    itk.WriteImage(image, str(tmp_path / f"in/a{ending}"))
    assert masks(tmp_path / "in", tmp_path / "out") == []
    mask = itk.ReadImage(str(tmp_path / f"out/a{ending}"))
    np.testing.assert_array_equal(itk.GetArrayFromImage(mask), VOLUME > 0.5)
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)())


def test_a_tiff_keeps_its_resolution(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra files is not installed")
    (tmp_path / "in").mkdir()
    with_resolution = {"resolution": (300, 300), "resolutionunit": "INCH"}
    tifffile.imwrite(tmp_path / "in/a.tif", (255 * VOLUME[0]).astype(np.uint8), **with_resolution)
    assert masks(tmp_path / "in", tmp_path / "out") == []
    with tifffile.TiffFile(tmp_path / "out/a.tif") as file:
        assert file.pages.first.tags.valueof(282) == (300, 1)
        assert file.pages.first.tags.valueof(296) == 2


@given(
    st.sampled_from([p for n in (2, 3, 4, 5) for p in permutations("TZCYX", n)]).filter(
        lambda axes: {"Y", "X"} <= set(axes)
    )
)
def test_a_mask_has_the_file_s_own_axes(axes: tuple[str, ...]) -> None:
    from pathlib import Path

    from pladapt.files.reading import _loaded
    from pladapt.files.stored import Stored

    lengths = {"T": 2, "Z": 3, "C": 2, "Y": 4, "X": 5}
    shape = [lengths[axis] for axis in axes]
    array = np.arange(np.prod(shape)).reshape(shape)
    loaded = _loaded(Stored(array, "".join(axes), certain=False), None, {}, 2)
    classes = (loaded.array[:, 0] % 2).astype(np.uint8)
    made = encode_mask(classes, Path("a.npy"), loaded, Values(["one"], None, ""))
    assert made.extension == ".npy"
    import io

    without = array.take(0, axes.index("C")) if "C" in axes else array
    np.testing.assert_array_equal(np.load(io.BytesIO(made.content)), without % 2)


def test_several_classes_have_the_labels_that_are_given(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "in/a.npy", VOLUME[0])
    predictor = Values01(classes=2)
    probabilities = predictor.predict(VOLUME[None, :1])[0]
    expected = np.where(probabilities[1:].max(0) > 0.4, 1 + probabilities[1:].argmax(0), 0)
    for labels, dtype in ((None, np.uint8), ((7, 300), np.uint16)):
        out = tmp_path / f"out{labels}"
        options = {"cutoff": 0.4, "labels": labels, "predictor": predictor}
        maps = tmp_path / f"maps{labels}"
        assert masks(tmp_path / "in", out, probabilities=maps, **options) == []
        mask = stored(out / "a.npy")
        assert mask.dtype == dtype
        np.testing.assert_array_equal(mask, np.array([0, *(labels or (1, 2))])[expected])
        np.testing.assert_array_equal(stored(maps / "a.npy"), probabilities.astype(np.float32))
    with pytest.raises(OutputError, match=r"marks 2 classes and there are 1 labels, \[5\]"):
        masks(tmp_path / "in", tmp_path / "one", labels=[5], predictor=predictor)
    assert not (tmp_path / "one/run.json").exists()  # with other options it may be used
    for labels in ([0], [2, 2], [70_000]):
        with pytest.raises(InputError, match="expected different values of 1 to 65535"):
            masks(tmp_path / "in", tmp_path / "two", labels=labels)


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    for index in range(6):
        write(tmp_path / f"in/{index}.npy", np.roll(VOLUME, index))
    return tmp_path / "in"


def test_what_was_interrupted_goes_on_to_the_same_masks(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": 3, "layout": ImageLayout(axes="ZYX")}
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert masks(folder, whole, **options) == []
    with pytest.raises(KeyboardInterrupt):
        masks(folder, out, predictor=Values01(stop=13), **options)
    (out / ".1.npy.0123456789ab.partial").write_bytes(b"of a process that was killed")
    assert sorted(path.name for path in out.glob("*.npy")) == ["0.npy", "1.npy", "2.npy"]
    with pytest.raises(RunChangedError, match=r"cutoff was 0\.5 and is now 0\.6"):
        masks(folder, out, cutoff=0.6, **options)
    again = Values01()
    assert masks(folder, out, predictor=again, **options) == []
    assert again.shown == 3 * len(VOLUME)
    files = {path.relative_to(whole) for path in whole.rglob("*")}
    assert {path.relative_to(out) for path in out.rglob("*")} == files
    for path in whole.glob("*.npy"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_what_is_new_changed_gone_or_damaged_is_predicted_again(
    folder: Path, tmp_path: Path, write: Write
) -> None:
    out, layout = tmp_path / "out", ImageLayout(axes="ZYX")
    (folder / "torn.npy").write_bytes(b"torn")
    assert masks(folder, out, layout=layout)[0].startswith("torn: It cannot be read")
    write(folder / "torn.npy", VOLUME)
    write(folder / "0.npy", VOLUME[:2])
    (out / "1.npy").unlink()
    (out / "2.npy").write_bytes(b"overwritten")
    again = Values01()
    assert masks(folder, out, predictor=again, layout=layout) == []
    assert again.shown == 4 + 2 + 4 + 4
    assert stored(out / "0.npy").shape == (2, 6, 5)
    np.testing.assert_array_equal(stored(out / "2.npy"), np.roll(VOLUME, 2) > 0.5)


def test_nothing_is_written_where_images_are(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    for out in (folder, folder / "masks", tmp_path, tmp_path / "linked/masks"):
        with pytest.raises(InputError, match="give a folder apart"):
            masks(folder, out)
        with pytest.raises(InputError, match="give a folder apart"):
            masks(folder, tmp_path / "out", probabilities=out)
    with pytest.raises(InputError, match="give a folder apart"):
        masks(folder / "0.npy", folder)
    with pytest.raises(InputError, match="holds something else"):
        masks(folder, tmp_path / "other")
    with pytest.raises(InputError, match="give folders apart"):
        masks(folder, tmp_path / "out", probabilities=tmp_path / "out/maps")
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.npy" for n in range(6)]


def test_an_image_that_the_model_does_not_take_is_left_out(folder: Path, tmp_path: Path) -> None:
    class Even(Values01):
        def predict(self, images: Any, /) -> Any:
            if images.shape[-1] % 2 == 0:
                raise RuntimeError("expected an odd length\nand more")
            return super().predict(images)

    np.save(folder / "even.npy", VOLUME[..., :4])
    out, layout = tmp_path / "out", ImageLayout(axes="ZYX")
    said = masks(folder, out, predictor=Even(), layout=layout, batch_size=64)
    assert len(said) == 1
    assert said[0].startswith("even: The model cannot be used on an image of shape (1, 6, 4)")
    assert "expected an odd length. If it is the size, have images padded" in said[0]
    assert len(list(out.glob("*.npy"))) == 6
    with pytest.raises(DataError, match="even: The model cannot"):
        masks(folder, tmp_path / "strict", predictor=Even(), layout=layout, on_error="raise")
    with pytest.raises(DataError, match="can be used:"):
        masks(folder / "even.npy", tmp_path / "none", predictor=Even(), layout=layout)


def ct(path: Path, array: NDArray[Any], place: float, **more: Any) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra files is not installed")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.FrameOfReferenceUID, dataset.Modality = "1.2.3.5", "CT"
    dataset.ImagePositionPatient, dataset.PixelSpacing = [0, 0, place], [0.5, 0.5]
    dataset.ImageOrientationPatient, dataset.SliceThickness = [1, 0, 0, 0, 1, 0], 2
    dataset.Rows, dataset.Columns = array.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = (255 * array).astype(np.uint8).tobytes()
    for name, value in more.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


PLACES = (6, 2, 0, 4)
"""Where the slices lie that the files 0 to 3 have."""


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_dicom_series_has_one_dicom_seg(tmp_path: Path, dimensions: Any) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    import pydicom

    for index, (slice_, place) in enumerate(zip(VOLUME, PLACES, strict=True)):
        ct(tmp_path / f"in/patient/{index}.dcm", slice_, place)
    ct(tmp_path / "in/single.dcm", VOLUME[0], 0)
    if dimensions == 3:
        (tmp_path / "in/single.dcm").unlink()
    predictor = Values01(classes=2)
    options = {"layout": ImageLayout(dimensions), "classes": ("lung", "lesion"), "cutoff": 0.4}
    assert masks(tmp_path / "in", tmp_path / "out", predictor=predictor, **options) == []
    seg = pydicom.dcmread(tmp_path / "out/patient.dcm")
    assert seg.SOPClassUID.name == "Segmentation Storage"
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("1.2.3", "1.2.3.5")
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["lung", "lesion"]
    found = np.zeros((4, 2, 6, 5), bool)
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = item.PlanePositionSequence[0].ImagePositionPatient[2]
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[PLACES.index(int(place)), number - 1] = frame
    stacked = (255 * VOLUME).astype(np.uint8).astype(np.float32)[:, None]
    given = predictor.predict(stacked)[:, 1:]
    expected = np.where(given.max(1) > 0.4, 1 + given.argmax(1), 0)
    for class_ in (1, 2):
        np.testing.assert_array_equal(found[:, class_ - 1], expected == class_)
    if dimensions == 2:
        assert (tmp_path / "out/single.dcm").exists()
        again = tmp_path / "again"
        assert masks(tmp_path / "in", again, predictor=predictor, **options) == []
        same = pydicom.dcmread(again / "patient.dcm")
        assert (same.SOPInstanceUID, same.SeriesInstanceUID) == (
            seg.SOPInstanceUID,
            seg.SeriesInstanceUID,
        )
        assert same.PixelData == seg.PixelData


def test_slices_of_a_series_have_the_groups_that_adapting_gave_them(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    import pydicom

    for index, place in enumerate((6, 2, 0, 9)):  # one is missing, which slices may be
        ct(tmp_path / f"in/patient/s{index}.dcm", np.full((6, 5), 0.25), place)
    predictor = LogitShiftPredictor(Values01(), groups={"patient/s1": 5.0})
    assert masks(tmp_path / "in", tmp_path / "out", predictor=predictor) == []
    seg = pydicom.dcmread(tmp_path / "out/patient.dcm")
    (frame,) = seg.PerFrameFunctionalGroupsSequence
    assert frame.PlanePositionSequence[0].ImagePositionPatient[2] == 2
    predictor = LogitShiftPredictor(Values01(), groups={"patient": 5.0})
    options: dict[str, Any] = {"predictor": predictor, "grouping": Grouping("folder")}
    assert masks(tmp_path / "in", tmp_path / "all", **options) == []
    assert pydicom.dcmread(tmp_path / "all/patient.dcm").NumberOfFrames == 4
    layout = ImageLayout(3)
    with pytest.raises(DataError, match="some seem to be missing"):
        masks(tmp_path / "in", tmp_path / "volume", layout=layout, on_error="raise")


def test_dicom_seg_needs_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    write(tmp_path / "in/a.dcm", np.zeros((6, 5)))
    predictor = Values01()
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pladapt\[dicom-seg\]"):
        masks(tmp_path / "in", tmp_path / "out", predictor=predictor)
    assert predictor.shown == 0


def test_dicom_that_lost_its_study_has_a_dicom_seg(tmp_path: Path, write: Write) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    import pydicom

    ct(tmp_path / "in/a.dcm", VOLUME[0], 0)
    dataset = pydicom.dcmread(tmp_path / "in/a.dcm")
    for lost in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        del dataset[lost]
    dataset.save_as(tmp_path / "in/a.dcm")
    assert masks(tmp_path / "in", tmp_path / "out") == []
    seg = pydicom.dcmread(tmp_path / "out/a.dcm")
    np.testing.assert_array_equal(seg.pixel_array, (255 * VOLUME[0]).astype(np.uint8) > 127.5)
    write(tmp_path / "placeless/a.dcm", np.zeros((6, 5)))
    with pytest.raises(DataError, match="No DICOM-SEG can be made of it"):
        masks(tmp_path / "placeless", tmp_path / "other")


def test_masks_are_compared_with_the_truth_as_they_are(folder: Path, tmp_path: Path) -> None:
    from pladapt.files import evaluate_files

    layout = ImageLayout(axes="ZYX")
    predictor = FlipPredictor(Values01())
    assert masks(folder, tmp_path / "out", predictor=predictor, layout=layout) == []
    shutil.copytree(tmp_path / "out", tmp_path / "truth")
    evaluation, problems = evaluate_files(
        found := Files.find(tmp_path / "out"),
        Files.find(tmp_path / "truth"),
        layout=MaskLayout(),
        truth_layout=MaskLayout(),
        grouping=Grouping(),
    )
    assert (problems, found.unread) == ([], ())
    assert evaluation.value("dsc") == 1


def test_a_prediction_of_members_is_written_as_their_mean(folder: Path, tmp_path: Path) -> None:
    class Two(Values01):
        def predict_batch(self, batch: Batch, /) -> Prediction:
            members = np.stack([batch.images, 0 * batch.images])
            return Prediction(batch.ids, members.mean(0), members)

    options: dict[str, Any] = {"layout": ImageLayout(axes="ZYX"), "cutoff": 0.4}
    assert masks(folder, tmp_path / "out", predictor=Two(), **options) == []
    np.testing.assert_array_equal(stored(tmp_path / "out/0.npy"), VOLUME / 2 > 0.4)


def test_a_prediction_that_is_no_number_makes_no_empty_mask(tmp_path: Path, write: Write) -> None:
    class Lost:
        def predict(self, images: Any, /) -> Any:
            return np.where(images.max() > 0.9, np.nan, images)

    for index in range(3):
        write(tmp_path / f"in/{index}.npy", np.full((4, 5), (0.2, 0.3, 1.0)[index], np.float32))
    (said,) = masks(tmp_path / "in", tmp_path / "out", predictor=Lost(), max_errors=1)
    assert "2: The prediction of 2 has NaN or infinity." in said
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == ["0.npy", "1.npy"]


def put_images(folder: Path, count: int) -> None:
    folder.mkdir()
    for index in range(count):
        np.save(folder / f"{index:02}.npy", VOLUME[index % 4] * np.float32(1 - index / 50))


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("count", [1, 3, 8])
def test_parts_in_any_order_are_joined_to_what_one_call_writes(tmp_path: Path, count: int) -> None:
    put_images(tmp_path / "in", 7)
    whole, joined = tmp_path / "whole", tmp_path / "joined"
    masks(tmp_path / "in", whole)
    for number in reversed(range(1, count + 1)):
        assert masks(tmp_path / "in", joined, part=(number, count)) == []
    again = Values01()
    masks(tmp_path / "in", joined, predictor=again)
    assert again.shown == 0
    assert files_in(joined) == files_in(whole)


def test_the_call_that_joins_predicts_what_parts_have_not(tmp_path: Path) -> None:
    put_images(tmp_path / "in", 7)
    masks(tmp_path / "in", tmp_path / "whole")
    masks(tmp_path / "in", tmp_path / "out", part=(2, 3))
    others = Values01()
    masks(tmp_path / "in", tmp_path / "out", predictor=others)
    assert others.shown == 5
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_parts_of_other_parameters_are_not_joined(tmp_path: Path) -> None:
    put_images(tmp_path / "in", 4)
    masks(tmp_path / "in", tmp_path / "out", part=(1, 2))
    with pytest.raises(RunChangedError, match="cutoff"):
        masks(tmp_path / "in", tmp_path / "out", cutoff=0.4)
    with pytest.raises(InputError, match="The part is 3/2"):
        masks(tmp_path / "in", tmp_path / "out", part=(3, 2))


def test_a_part_that_is_being_written_is_not_joined(tmp_path: Path) -> None:
    put_images(tmp_path / "in", 4)
    masks(tmp_path / "in", tmp_path / "out", part=(1, 2))
    with locked(tmp_path / "out/.part-1-of-2/.lock"):
        masks(tmp_path / "in", tmp_path / "out", part=(2, 2))
        with pytest.raises(BusyError, match=r"\.part-1-of-2 is being written"):
            masks(tmp_path / "in", tmp_path / "out")
