"""DICOM: units, photometry, frames, series, names, and what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import DataError
from pladapt.files import Files, Grouping, ImageLayout, MaskLayout, read_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

pydicom = pytest.importorskip("pydicom", reason="the extra files is not installed")

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def dataset_of(array: NDArray[Any], kind: str = "CTImageStorage", **elements: Any) -> Any:
    """Return a data set of ``(Y, X)``, or of frames ``(Z, Y, X)``."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = getattr(pydicom.uid, kind)
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = array.shape[1:3] if array.ndim > 2 else array.shape
    if array.ndim > 2:
        dataset.NumberOfFrames = len(array)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * array.dtype.itemsize
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.PixelData = array.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def sequence(**elements: Any) -> Any:
    item = pydicom.Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return pydicom.Sequence([item])


def transformation(slope: float, intercept: float) -> Any:
    return sequence(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")


def save(dataset: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def images_of(path: Path, **options: Any) -> list[NDArray[Any]]:
    layout = ImageLayout(**options)
    return [item.array for item in layout.items("a", layout.load(path))]


def enhanced(heights: Sequence[float | None], *, shared: Any = None, own: Any = None) -> Any:
    """Return an enhanced CT of frames full of their number, at heights in mm."""
    frames = np.stack([np.full((4, 6), 100 + z, np.uint16) for z in range(len(heights))])
    groups = []
    for index, height in enumerate(heights):
        group = pydicom.Dataset()
        if height is not None:
            group.PlanePositionSequence = sequence(ImagePositionPatient=[-5, -7, height])
        if own is not None:
            group.PixelValueTransformationSequence = own(index)
        groups.append(group)
    common = pydicom.Dataset()
    common.PlaneOrientationSequence = sequence(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    common.PixelMeasuresSequence = sequence(PixelSpacing=[0.5, 2.0])
    if shared is not None:
        common.PixelValueTransformationSequence = shared
    return dataset_of(
        frames,
        "EnhancedCTImageStorage",
        SharedFunctionalGroupsSequence=pydicom.Sequence([common]),
        PerFrameFunctionalGroupsSequence=pydicom.Sequence(groups),
    )


def test_an_enhanced_ct_is_in_hounsfield_units_shared_or_by_frame(tmp_path: Path) -> None:
    path = save(enhanced([0, 1, 2], shared=transformation(2, -1024)), tmp_path / "a.dcm")
    assert [image.max() for image in images_of(path)] == [-824, -822, -820]
    each = enhanced([0, 1, 2], own=lambda index: transformation(1, -1000 * index))
    assert [image.max() for image in images_of(save(each, path))] == [100, -899, -1898]
    with pytest.raises(DataError, match="does not say its units"):
        images_of(save(enhanced([0, 1, 2]), path))


def test_frames_are_sorted_by_their_places(tmp_path: Path) -> None:
    path = save(enhanced([4, 0, 2], shared=transformation(1, 0)), tmp_path / "a.dcm")
    ((volume,),) = images_of(path, dimensions=3)
    assert volume[:, 0, 0].tolist() == [101, 102, 100]
    affine = ImageLayout(dimensions=3).load(path).affine
    np.testing.assert_allclose(affine, [[-2, 0, 0, 5], [0, -0.5, 0, 7], [0, 0, 2, 0], [0, 0, 0, 1]])


def test_frames_at_one_place_are_times_and_no_volume(tmp_path: Path) -> None:
    path = save(enhanced([0, 1, 0, 1], shared=transformation(1, 0)), tmp_path / "a.dcm")
    assert len(images_of(path)) == 4
    with pytest.raises(DataError, match="a volume needs Z"):
        images_of(path, dimensions=3)


def test_frames_without_places_stay_in_their_order(tmp_path: Path) -> None:
    path = save(enhanced([None, None], shared=transformation(1, 0)), tmp_path / "a.dcm")
    assert [image.max() for image in images_of(path)] == [100, 101]


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16])
def test_monochrome1_is_turned_back(kind: type, tmp_path: Path) -> None:
    shown = GREY.astype(np.int64) + np.iinfo(kind).min
    stored = (np.iinfo(kind).max + np.iinfo(kind).min - shown).astype(kind)
    dataset = dataset_of(stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(images_of(save(dataset, tmp_path / "a.dcm")), [shown[None]])
    with pytest.raises(DataError, match="MONOCHROME1"):
        MaskLayout().load(tmp_path / "a.dcm")


def test_monochrome1_of_twelve_bits_is_turned_back_within_them(tmp_path: Path) -> None:
    dataset = dataset_of(
        (4095 - GREY.astype(np.uint16)),
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=12,
        HighBit=11,
    )
    np.testing.assert_array_equal(images_of(save(dataset, tmp_path / "a.dcm")), [GREY[None]])


def test_monochrome1_with_a_unit_could_be_meant_in_two_ways(tmp_path: Path) -> None:
    dataset = dataset_of(
        GREY, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024
    )
    with pytest.raises(DataError, match="cannot be told which way"):
        images_of(save(dataset, tmp_path / "a.dcm"))


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (16, 256), (16, 257), (16, 1)])
def test_a_palette_becomes_colours_of_eight_bits(bits: int, factor: int, tmp_path: Path) -> None:
    ramp = np.arange(256)
    palette = np.stack([ramp, ramp[::-1], ramp // 2])
    kind = "<u2" if bits == 16 else np.uint8
    dataset = dataset_of(GREY, PhotometricInterpretation="PALETTE COLOR")
    for name, values in zip(("Red", "Green", "Blue"), palette, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        data = (values * factor).astype(kind).tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
    (found,) = images_of(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found, palette[:, GREY])
    for name in ("Green", "Blue"):
        data = dataset.RedPaletteColorLookupTableData
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
    (found,) = images_of(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found, GREY[None])


def test_brightness_and_hue_become_red_green_and_blue(tmp_path: Path) -> None:
    red = np.full((2, 2, 3), (76, 85, 255), np.uint8)  # in YCbCr
    dataset = dataset_of(
        red[..., 0], PhotometricInterpretation="YBR_FULL", SamplesPerPixel=3, PlanarConfiguration=0
    )
    dataset.PixelData = red.tobytes()
    ((first, second, third),) = images_of(save(dataset, tmp_path / "a.dcm"))
    assert first.min() > 250
    assert max(second.max(), third.max()) < 5


def write_series(folder: Path, heights: Sequence[float], names: Sequence[str], **more: Any) -> None:
    """Write slices full of their height, in the order of the names."""
    elements = {"SeriesInstanceUID": "1.2.3"} | more
    for height, name in zip(heights, names, strict=True):
        dataset = dataset_of(
            np.full((4, 6), 100 + int(height), np.uint16),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, height],
            PixelSpacing=[1, 1],
            RescaleSlope=1,
            RescaleIntercept=-100,
            **elements,
        )
        save(dataset, folder / name)


NAMES = ("zz.dcm", "IM000002", "PAT.CT.0001.IMA", "1.2.840.17", "a.DCM")


def volumes_of(folder: Path) -> dict[str, list[float]]:
    """Return a pixel of each slice, of all volumes below a folder."""
    samples, problems = read_samples(
        Files.find(folder), layout=ImageLayout(dimensions=3), grouping=Grouping()
    )
    assert problems == []
    return {sample.id: sample.image[0, :, 0, 0].tolist() for sample in samples}


def test_a_series_is_a_volume_sorted_by_place_whatever_its_files_are_called(tmp_path: Path) -> None:
    write_series(tmp_path / "images/p1", [8, 2, 6, 0, 4], NAMES)
    write_series(tmp_path / "images/p2/ct", [3, 0], ("b", "a"), InstanceNumber=1)
    assert volumes_of(tmp_path / "images") == {"p1": [0, 2, 4, 6, 8], "p2/ct": [0, 3]}
    assert volumes_of(tmp_path / "images/p1") == {"p1": [0, 2, 4, 6, 8]}
    samples, _ = read_samples(
        Files.find(tmp_path / "images"), layout=ImageLayout(), grouping=Grouping("folder")
    )
    assert [sample.id for sample in samples][-2:] == ["p2/ct/a", "p2/ct/b"]


def test_each_series_of_a_folder_is_a_volume_and_a_scout_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_series(folder, [0, 1, 2], ("a1", "a2", "a3"))
    write_series(folder, [5, 4], ("b1", "b2"), SeriesInstanceUID="1.2.4")
    scout = dataset_of(np.zeros((9, 9), np.uint16), SeriesInstanceUID="1.2.3")
    save(scout, folder / "scout")
    samples, problems = read_samples(
        Files.find(folder), layout=ImageLayout(dimensions=3), grouping=Grouping()
    )
    assert [sample.id for sample in samples] == ["a1", "b1"]
    assert samples[1].image[0, :, 0, 0].tolist() == [4, 5]
    assert [problem.name for problem in problems] == ["scout"]


def test_a_tilted_series_is_sorted_along_its_own_axis(tmp_path: Path) -> None:
    for number, step in enumerate([2, 0, 1]):
        dataset = dataset_of(
            np.full((4, 6), step, np.uint16),
            SeriesInstanceUID="1.2.3",
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],  # sagittal
            ImagePositionPatient=[-10.0 * step, 3, 7],
            PixelSpacing=[3, 2],
        )
        save(dataset, tmp_path / f"images/{number}.dcm")
    assert volumes_of(tmp_path / "images") == {"images": [0, 1, 2]}
    files = Files.find(tmp_path / "images").volumes()
    affine = ImageLayout(dimensions=3).load(files.paths["images"]).affine
    np.testing.assert_allclose(
        affine, [[0, 0, 10, 0], [-2, 0, 0, -3], [0, -3, 0, 7], [0, 0, 0, 1]], atol=1e-9
    )


def test_without_places_the_numbers_count(tmp_path: Path) -> None:
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        dataset = dataset_of(np.full((4, 6), number, np.uint16), InstanceNumber=number)
        save(dataset, tmp_path / f"images/{name}.dcm")
    assert volumes_of(tmp_path / "images") == {"images": [1, 2, 3]}


@pytest.mark.parametrize(
    ("heights", "said"),
    [
        ([0, 1, 2, 4, 5], "1 to 2 mm apart, the widest between PAT.CT.0001.IMA and 1.2.840.17"),
        ([0, 1, 2, 2, 3], "1.2.840.17 and PAT.CT.0001.IMA lie at the same place"),
    ],
)
def test_a_series_with_a_slice_missing_or_twice_is_refused(
    heights: list[float], said: str, tmp_path: Path
) -> None:
    write_series(tmp_path / "images", heights, NAMES)
    files = Files.find(tmp_path / "images").volumes()
    layout = ImageLayout(dimensions=3)
    with pytest.raises(DataError) as caught:
        layout.load(files.paths["images"])
    assert said in str(caught.value)


def test_a_volume_that_would_share_its_id_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "images/p1", [0, 1], ("a", "b"))
    np.save(tmp_path / "images/p1.npy", GREY)
    with pytest.raises(DataError, match="would share the id 'p1'"):
        Files.find(tmp_path / "images").volumes()


@pytest.mark.parametrize("name", ["PAT.CT.0001.IMA", "IM000002", "1.2.840.17", "a.dcm", "x.raw"])
def test_dicom_is_known_by_what_is_in_it(name: str, tmp_path: Path) -> None:
    save(dataset_of(GREY), tmp_path / name)
    files = Files.find(tmp_path)
    assert len(files.paths) == 1
    np.testing.assert_array_equal(images_of(next(iter(files.paths.values()))), [GREY[None]])


@pytest.mark.parametrize("name", ["a.dcm", "IM000002"])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_a_preamble_is_read(name: str, implicit: bool, tmp_path: Path) -> None:  # noqa: FBT001
    dataset = dataset_of(GREY)
    del dataset.file_meta
    dataset.save_as(tmp_path / name, implicit_vr=implicit, little_endian=True)
    files = Files.find(tmp_path)
    np.testing.assert_array_equal(images_of(next(iter(files.paths.values()))), [GREY[None]])


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html>" * 50, bytes(200), b"\x08\x00\x05\x00CS"])
def test_what_is_no_dicom_is_said_in_plain_words(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(DataError, match="It is no DICOM: it has neither") as caught:
        images_of(path)
    assert "force" not in str(caught.value)


def test_a_report_or_a_list_of_files_is_no_image(tmp_path: Path) -> None:
    dataset = dataset_of(GREY, "BasicTextSRStorage")
    del dataset.PixelData
    with pytest.raises(DataError, match="It holds no image: it is Basic Text SR Storage"):
        images_of(save(dataset, tmp_path / "a.dcm"))
    save(dataset, tmp_path / "DICOMDIR")
    assert list(Files.find(tmp_path).paths) == ["a"]


def test_a_file_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    dataset = dataset_of(GREY, Rows=60_000, Columns=60_000)
    with pytest.raises(DataError, match="more than is read at once"):
        images_of(save(dataset, tmp_path / "a.dcm"))
