from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import DataError, InputError
from pladapt.errors import MissingDataError, MissingDependencyError
from pladapt.files import Files, Grouping, ImageLayout, MaskLayout
from pladapt.files.formats import decode
from pladapt.files.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Write = Callable[[Path, NDArray[Any]], Path]

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
STACK = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def images(path: Path, **options: Any) -> list[Any]:
    layout = ImageLayout(**options)
    return [tuple(item) for item in layout.items("a", layout.load(path))]


def masks(path: Path, *labels: int, **options: Any) -> NDArray[np.uint8]:
    layout = MaskLayout(labels, **options)
    return np.stack([item.array for item in layout.items("a", layout.load(path))])


@pytest.mark.parametrize("extension", [".npy", ".png", ".tif", ".bmp", ".dcm", ""])
def test_a_grey_image_is_one_sample_of_one_channel(
    extension: str, tmp_path: Path, write: Write
) -> None:
    path = write(tmp_path / f"a{extension}", GREY)
    ((name, image),) = images(path)
    assert name == "a"
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, GREY[None])


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".tif", ".dcm"])
def test_a_stack_is_a_sample_for_each_slice_or_one_volume(
    extension: str, tmp_path: Path, write: Write
) -> None:
    path = write(tmp_path / f"a{extension}", STACK)
    slices = images(path)
    assert [name for name, _ in slices] == ["a/z000", "a/z001"]
    np.testing.assert_array_equal([image for _, image in slices], STACK[:, None])
    ((name, volume),) = images(path, dimensions=3)
    assert name == "a"
    np.testing.assert_array_equal(volume, STACK[None])


def test_colours_and_the_channels_of_arrays_come_first(tmp_path: Path, write: Write) -> None:
    colours = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    ((_, image),) = images(write(tmp_path / "a.png", colours))
    np.testing.assert_array_equal(image, colours.transpose(2, 0, 1))
    ((_, image),) = images(write(tmp_path / "a.npy", STACK))
    np.testing.assert_array_equal(image, STACK)
    four = write(tmp_path / "b.npy", STACK[None].repeat(5, axis=0))
    assert [image.shape for _, image in images(four)] == [(2, 3, 4)] * 5
    assert [image.shape for _, image in images(four, dimensions=3)] == [(5, 2, 3, 4)]


@given(st.permutations("ZCYX"), st.integers(2, 4))
def test_any_order_of_axes_is_put_right(axes: list[str], length: int) -> None:
    canonical = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    kept = [axis for axis in axes if axis in "YX" or "ZC".index(axis) < length - 2]
    whole = canonical[: 2 if "Z" in kept else 1, : 3 if "C" in kept else 1]
    squeezed = whole.squeeze(tuple(i for i, axis in enumerate("ZCYX") if axis not in kept))
    order = [axis for axis in "ZCYX" if axis in kept]
    stored = squeezed.transpose([order.index(axis) for axis in kept])
    with pytest.MonkeyPatch.context() as patch:
        decoded = Stored(stored, "", certain=False)
        patch.setattr("pladapt.files.reading.decode", lambda *_, **__: decoded)
        layout = ImageLayout(axes="".join(kept))
        found = [item.array for item in layout.items("a", layout.load(Path("a.npy")))]
    np.testing.assert_array_equal(found, whole)


def test_axes_that_do_not_fit_are_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.npy", STACK)
    with pytest.raises(DataError, match=r"shape \(2, 3, 4\), which the axes 'YX' do not fit"):
        images(path, axes="YX")
    with pytest.raises(DataError, match="a volume needs Z"):
        images(write(tmp_path / "a.png", GREY), dimensions=3)
    for axes in ("ZZYX", "ZY", "ABYX"):
        with pytest.raises(InputError, match=f"axes are '{axes}'"):
            ImageLayout(axes=axes)


def test_dicom_values_are_rescaled_as_its_tags_say(tmp_path: Path, write: Write) -> None:
    ((_, image),) = images(write(tmp_path / "a.dcm", GREY.astype(np.int16) - 1000))
    np.testing.assert_array_equal(image[0], GREY.astype(np.float32) - 1000)


def test_a_window_becomes_0_to_1(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.npy", np.array([[-2000.0, -1000, -300, 400, 3000]]))
    ((_, image),) = images(path, window=(-1000, 400))
    np.testing.assert_allclose(image[0, 0], [0, 0, 0.5, 1, 1])
    with pytest.raises(InputError, match="low end must be below"):
        ImageLayout(window=(1, 1))


def test_integer_probabilities_are_divided_by_their_type_s_largest_value(
    tmp_path: Path, write: Write
) -> None:
    path = write(tmp_path / "a.png", np.array([[0, 51, 255]], np.uint8))
    ((_, maps),) = images(path, probabilities=True)
    np.testing.assert_allclose(maps[0, 0], [0, 0.2, 1], rtol=1e-7)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "NaN or inf")])
def test_values_that_are_no_numbers_are_refused(
    value: float, message: str, tmp_path: Path, write: Write
) -> None:
    with pytest.raises(DataError, match=message):
        images(write(tmp_path / "a.npy", np.full((2, 2), value)))


def test_logits_are_no_probabilities(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.npy", np.array([[-3.0, 2.5]]))
    with pytest.raises(DataError, match=r"from -3 to 2\.5; probabilities lie in \[0, 1\]"):
        images(path, probabilities=True)


@pytest.mark.parametrize("extension", [".npy", ".nii", ".nii.gz", ".dcm", ".png", ".tif"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_a_truncated_file_says_that_it_cannot_be_read(
    extension: str, fraction: float, tmp_path: Path, write: Write
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    path = write(tmp_path / f"a{extension}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(DataError, match=r"cannot be read|It holds|no DICOM"):
        images(path)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        images(path)


def test_a_file_of_another_kind_by_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"no image" * 100))
    with pytest.raises(DataError, match="cannot be read"):
        images(path)


def test_a_missing_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'pladapt[files]'")):
        decode(tmp_path / "a.nii")


def test_masks_become_classes(tmp_path: Path, write: Write) -> None:
    stored = np.array([[0, 7, 3], [9, 0, 7]], np.uint8)
    for extension in (".png", ".npy", ".tif"):
        path = write(tmp_path / f"a{extension}", stored)
        np.testing.assert_array_equal(masks(path, 7, 3, ignore=9), [[[0, 1, 2], [255, 0, 1]]])
    floats = write(tmp_path / "f.npy", stored.astype(np.float64) + 1e-5)
    np.testing.assert_array_equal(masks(floats, 7, 3, 9), [[[0, 1, 2], [3, 0, 1]]])
    volume = write(tmp_path / "v.nii.gz", np.stack([stored, stored]))
    assert masks(volume, 7, 3, 9).shape == (2, 2, 3)
    assert masks(volume, 7, 3, 9, dimensions=3).shape == (1, 2, 2, 3)


def test_a_mask_of_0_and_255_is_not_guessed_at(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    with pytest.raises(DataError, match=r"values \[255\], and only 0 and \[1\] are known"):
        masks(path, 1)
    assert masks(path, 255).tolist() == [[[0, 1]]]
    assert masks(path, 1, ignore=255).tolist() == [[[0, 255]]]


def test_what_is_no_mask_is_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(DataError, match="not whole"):
        masks(write(tmp_path / "a.npy", np.array([[0.2, 0.7]])), 1)
    with pytest.raises(DataError, match="3 channels that differ"):
        masks(write(tmp_path / "a.png", np.eye(3, dtype=np.uint8)[None].repeat(4, axis=0)), 1)


@pytest.mark.parametrize("labels", [(), (0,), (1, 1), (1, 255)])
def test_labels_are_different_and_not_the_background(labels: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="labels"):
        MaskLayout(labels, ignore=255)


def test_names_are_paths_below_the_folder_without_extensions(tmp_path: Path, write: Write) -> None:
    for name in ("b/c.nii.gz", "a.npy", ".hidden/x.npy"):
        write(tmp_path / name, GREY)
    (tmp_path / "b/1.2.840.17").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "b/._c.npy").write_bytes(b"what macOS leaves")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "b/README").write_text("nor this")
    found = Files.find(tmp_path)
    assert list(found.paths) == ["a", "b/1.2.840.17", "b/c"]
    assert found.relative(found.paths["b/c"]) == "b/c.nii.gz"
    alone = Files.find(tmp_path / "b/c.nii.gz")
    assert list(alone.paths) == ["c"]
    assert alone.relative(alone.paths["c"]) == "c.nii.gz"


@pytest.mark.parametrize("twins", [("a.npy", "a.png"), ("a/z007.png", "a.nii.gz")])
def test_files_that_would_share_an_id_are_refused(
    twins: tuple[str, str], tmp_path: Path, write: Write
) -> None:
    for name in twins:
        write(tmp_path / name, GREY)
    with pytest.raises(DataError, match="would share the id"):
        Files.find(tmp_path)


def test_a_folder_without_images_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="There is no image in"):
        Files.find(tmp_path)
    with pytest.raises(MissingDataError, match="no folder or file"):
        Files.find(tmp_path / "nowhere")


def test_the_fingerprint_changes_with_a_file(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "a.npy", GREY)
    before = Files.find(tmp_path).fingerprint()
    assert Files.find(tmp_path).fingerprint() == before
    write(tmp_path / "a.npy", STACK)
    assert Files.find(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("by", "group"),
    [("file", "site/p07/ct_3"), ("folder", "site/p07"), (r"p(\d+)", "07"), (r"(ct|mr)_", "ct")],
)
def test_groups_come_from_names(by: str, group: str) -> None:
    assert Grouping(by).group("site/p07/ct_3") == group


def test_groups_come_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "groups.csv"
    path.write_text("group,name,age\np1,a/1,40\np2,a/2,50\n")
    grouping = Grouping.from_csv(path)
    assert (grouping.group("a/1"), grouping.group("a/2")) == ("p1", "p2")
    with pytest.raises(DataError, match="does not name it"):
        grouping.group("a/3")


def test_groups_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no regular expression"):
        Grouping("p(")
    with pytest.raises(InputError, match="has no group"):
        Grouping(r"p\d+")
    with pytest.raises(DataError, match="does not match"):
        Grouping(r"p(\d+)").group("a")
    with pytest.raises(MissingDataError, match="no table of groups"):
        Grouping.from_csv(tmp_path / "none.csv")
    path = tmp_path / "groups.csv"
    path.write_text("file,patient\na,1\n")
    with pytest.raises(DataError, match=r"columns \['file', 'patient'\]; expected name and group"):
        Grouping.from_csv(path)
    path.write_text("name,group\na,1\nb,1\na,2\n")
    with pytest.raises(DataError, match="names 'a' twice"):
        Grouping.from_csv(path)
