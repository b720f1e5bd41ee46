"""NIfTI, MGH, NRRD and MetaImage: their axes, and where they lie."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import DataError
from pladapt.files import (
    Files,
    Grouping,
    ImageLayout,
    MaskLayout,
    evaluate_files,
    read_samples,
    read_truth,
)
from pladapt.files.places import turned_onto
from pladapt.files.reading import Loaded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files import Problem

nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")
SimpleITK = pytest.importorskip("SimpleITK", reason="the extra files is not installed")

MASK = (np.random.default_rng(0).random((6, 5, 4)) > 0.7).astype(np.uint8)  # x, y, z
AFFINE = np.array([[2.0, 0, 0, -7], [0, 3, 0, 11], [0, 0, 5, 1], [0, 0, 0, 1]])


def write(path: Path, array: NDArray[Any], affine: NDArray[Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, AFFINE if affine is None else affine).to_filename(path)
    return path


def flipped(codes: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mask with its axes in other directions, and the affine that says so."""
    image = nibabel.Nifti1Image(MASK, AFFINE)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(codes)
    )
    made = image.as_reoriented(turn)
    return np.asanyarray(made.dataobj), made.affine


def dsc_of(folder: Path, **options: Any) -> tuple[float, list[Problem]]:
    layout = MaskLayout(**options)
    evaluation, problems = evaluate_files(
        Files.find(folder / "predicted"),
        Files.find(folder / "truth"),
        layout=layout,
        truth_layout=layout,
        grouping=Grouping(),
    )
    return evaluation.value("dsc"), list(problems)


@pytest.mark.parametrize("codes", ["LAS", "RPS", "LPI", "ASR", "PIL", "SRA"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_prediction_in_another_orientation_is_turned_onto_the_truth(
    codes: str, dimensions: int, tmp_path: Path
) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    array, affine = flipped(codes)
    write(tmp_path / "predicted/a.nii.gz", array, affine)
    assert dsc_of(tmp_path, dimensions=dimensions) == (1.0, [])


@given(
    st.permutations(range(3)),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.tuples(*[st.integers(1, 4)] * 4),
)
def test_any_turn_and_flip_is_undone(
    order: list[int], flips: list[bool], shape: tuple[int, int, int, int]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)  # z, c, y, x
    fixed = Loaded(values, stacked=True, affine=AFFINE)
    image = nibabel.Nifti1Image(values.transpose(3, 2, 0, 1).astype(np.int16), AFFINE)
    moved = image.as_reoriented(
        np.array([(axis, -1 if flip else 1) for axis, flip in zip(order, flips, strict=True)])
    )
    array = np.asanyarray(moved.dataobj).transpose(2, 3, 1, 0)
    found = turned_onto(Loaded(array, stacked=True, affine=moved.affine), fixed)
    if len({*shape[:1], *shape[2:]}) == 3:  # else turns among axes of equal length are many
        np.testing.assert_array_equal(found.array, values)
    np.testing.assert_array_equal(found.array.shape, values.shape)


@pytest.mark.parametrize(
    "other",
    [
        np.diag([2.0, 3, 4, 1]),  # another spacing
        AFFINE + np.array([[0, 0, 0, 1.0], [0] * 4, [0] * 4, [0] * 4]),  # half a voxel off
        AFFINE @ nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.2), [0, 0, 0]),
    ],
)
def test_masks_of_other_places_are_not_compared_unless_asked(
    other: NDArray[Any], tmp_path: Path
) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    write(tmp_path / "predicted/a.nii.gz", MASK, other)
    with pytest.raises(DataError, match="they are not of the same place"):
        dsc_of(tmp_path)
    assert dsc_of(tmp_path, as_stored=True) == (1.0, [])


def test_rounding_of_a_place_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    write(tmp_path / "predicted/a.nii.gz", MASK, AFFINE * (1 + 1e-4))
    assert dsc_of(tmp_path) == (1.0, [])


def test_a_file_that_says_no_place_is_compared_as_stored(tmp_path: Path) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    image = nibabel.Nifti1Image(MASK, None)
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    (tmp_path / "predicted").mkdir()
    image.to_filename(tmp_path / "predicted/a.nii.gz")
    assert dsc_of(tmp_path) == (1.0, [])
    (tmp_path / "predicted/a.nii.gz").unlink()
    np.save(tmp_path / "predicted/a.npy", MASK.T)
    assert dsc_of(tmp_path) == (1.0, [])


def test_the_truth_of_an_image_is_turned_onto_it(tmp_path: Path) -> None:
    write(tmp_path / "images/a.nii.gz", MASK.astype(np.float32))
    array, affine = flipped("PIR")
    write(tmp_path / "truth/a.nii.gz", array, affine)
    samples, _ = read_samples(
        Files.find(tmp_path / "images"), layout=ImageLayout(), grouping=Grouping()
    )
    labelled, problems = read_truth(samples, Files.find(tmp_path / "truth"), layout=MaskLayout())
    assert problems == []
    assert len(labelled) == MASK.shape[2]
    for sample in (labelled[index] for index in range(len(labelled))):
        np.testing.assert_array_equal(sample.image[0], sample.mask)
    write(tmp_path / "truth/a.nii.gz", MASK, np.diag([2.0, 3, 4, 1]))
    with pytest.raises(DataError, match="not of the same place"):
        read_truth(samples, Files.find(tmp_path / "truth"), layout=MaskLayout())


def test_axes_that_are_renamed_keep_their_place(tmp_path: Path) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    array, affine = flipped("ASR")
    write(tmp_path / "predicted/a.nii.gz", array, affine)
    assert dsc_of(tmp_path, axes="ZYX") == (1.0, [])


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_other_formats_lie_where_they_say(extension: str, tmp_path: Path) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    array, affine = flipped("LPS")  # the axes of ITK
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing((2.0, 3.0, 5.0))
    image.SetOrigin((affine * [[-1], [-1], [1], [1]])[:3, 3].tolist())
    (tmp_path / "predicted").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / f"predicted/a{extension}"))
    assert dsc_of(tmp_path) == (1.0, [])


def images_of(path: Path, **options: Any) -> list[NDArray[Any]]:
    layout = ImageLayout(**options)
    return [item.array for item in layout.items("a", layout.load(path))]


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_slices_volumes_and_components_of_itk(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    values = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)  # z, y, x, c
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values[0, :, :, 0]), str(path))
    np.testing.assert_array_equal(images_of(path), [values[None, 0, :, :, 0]])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values[..., 0]), str(path), True)  # noqa: FBT003
    np.testing.assert_array_equal(images_of(path), values[:, None, :, :, 0])
    np.testing.assert_array_equal(images_of(path, dimensions=3), [values[None, ..., 0]])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values, isVector=True), str(path))
    np.testing.assert_array_equal(images_of(path), values.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.mhd",
            (
                "ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\n"
                "ElementDataFile = {}\n"
            ),
        ),
        ("a.mha", "NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = {}\n"),
        (
            "a.nhdr",
            "NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: raw\ndata file: {}\n",
        ),
    ],
)
@pytest.mark.parametrize("other", ["../secret.raw", "{folder}/secret.raw"])
def test_a_header_cannot_have_other_folders_files_read(
    name: str, text: str, other: str, tmp_path: Path
) -> None:
    (tmp_path / "secret.raw").write_bytes(b"1234")
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / name
    path.write_text(text.format(other.format(folder=tmp_path)))
    with pytest.raises(DataError, match="in another folder"):
        images_of(path)


def test_axes_of_one_beyond_the_third_do_not_count(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).random((6, 5, 4, 1, 3)).astype(np.float32)
    expected = vectors[:, :, :, 0].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(images_of(write(tmp_path / "a.nii.gz", vectors)), expected)
    one = write(tmp_path / "b.nii.gz", vectors[..., :1])
    np.testing.assert_array_equal(images_of(one), expected[:, :1])
    several = write(tmp_path / "c.nii.gz", np.repeat(vectors, 2, axis=3))
    with pytest.raises(DataError, match="do not fit"):
        images_of(several)


def test_records_of_colours_are_channels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    records = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = write(tmp_path / "a.nii.gz", records)
    np.testing.assert_array_equal(images_of(path), colours.transpose(2, 3, 1, 0))


def test_mgh_is_read_with_its_place(tmp_path: Path) -> None:
    write(tmp_path / "truth/a.nii.gz", MASK)
    array, affine = flipped("LIA")
    (tmp_path / "predicted").mkdir()
    nibabel.MGHImage(array, affine).to_filename(tmp_path / "predicted/a.mgz")
    assert dsc_of(tmp_path) == (1.0, [])


def test_a_volume_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = nibabel.Nifti1Image(MASK, AFFINE).header
    header.set_data_shape((2000, 2000, 2000))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    with pytest.raises(DataError, match="more than is read at once"):
        images_of(tmp_path / "a.nii.gz")
    text = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2000 2000 2000\nencoding: gzip\n\n"
    (tmp_path / "a.nrrd").write_bytes(text.encode() + gzip.compress(bytes(1000)))
    with pytest.raises(DataError, match="more than is read at once"):
        images_of(tmp_path / "a.nrrd")
