"""What a file's numbers mean: probabilities, labels, and arrays of numpy."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import DataError, InputError
from pladapt.files import Files, Grouping, ImageLayout, MaskLayout, evaluate_files
from pladapt.files.labels import to_classes
from pladapt.files.probabilities import to_probabilities

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAP = np.linspace(0.01, 0.98, 30).reshape(1, 5, 6)


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        (np.int16, 255),
        (np.uint8, 100),
        (np.int32, 65535),
        (np.int64, 1000),
        (np.uint16, 255),
        (np.float32, 100),
        (np.float64, 255),
    ],
)
def test_probabilities_of_another_scale_need_it_said(kind: type, scale: int) -> None:
    stored = (MAP * scale).astype(kind)
    said = r"it cannot be told what probability 1 is|probabilities lie in \[0, 1\]"
    with pytest.raises(DataError, match=said):
        to_probabilities(stored, None)
    np.testing.assert_allclose(to_probabilities(stored, scale), MAP, atol=1 / scale)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_masks_are_no_probabilities_unless_said(kind: type) -> None:
    mask = (MAP > 0.5).astype(kind)
    with pytest.raises(DataError, match="or 1 for masks"):
        to_probabilities(mask, None)
    np.testing.assert_array_equal(to_probabilities(mask, 1), MAP > 0.5)
    np.testing.assert_array_equal(to_probabilities(0 * mask, None), 0 * MAP)


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(0, 2**32 - 1))
def test_integers_that_fill_their_type_are_divided_by_its_largest(kind: type, seed: int) -> None:
    largest = np.iinfo(kind).max
    stored = np.random.default_rng(seed).integers(0, largest, (1, 3, 4), kind, endpoint=True)
    stored[0, 0, 0] = largest - 3
    expected = stored.astype(np.float64) / largest
    np.testing.assert_allclose(to_probabilities(stored, None), expected, atol=1e-7)


def test_a_scale_that_the_values_can_hardly_be_of_is_refused() -> None:
    for stored, scale in ((MAP, 255), ((MAP * 255).astype(np.uint8), 65535)):
        with pytest.raises(DataError, match="keep files of other scales apart"):
            to_probabilities(stored, scale)
    np.testing.assert_array_equal(to_probabilities(0 * MAP, 100), 0 * MAP)


def test_what_rounding_put_beside_0_and_1_is_put_right() -> None:
    values = np.array([[[-1e-9, 0.5, 1.0000001, 1.0005]]])
    np.testing.assert_array_equal(
        to_probabilities(values, None), np.array([[[0, 0.5, 1, 1]]], np.float32)
    )
    for wrong in (1.01, -0.01):
        with pytest.raises(DataError, match="probabilities lie in"):
            to_probabilities(np.array([[[0.5, wrong]]]), None)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_channels_that_are_no_classes_are_refused(count: int) -> None:
    rng = np.random.default_rng(0)
    stack = rng.random((count, 4, 5))
    with pytest.raises(DataError, match=rf"Its {count} channels sum to between .*--axes ZYX"):
        to_probabilities(stack, None)
    classes = stack / stack.sum(axis=0)
    for kind in (np.float64, np.float32, np.float16):
        found = to_probabilities(classes.astype(kind), None)
        np.testing.assert_allclose(found, classes, atol=1e-3)
    bytes_ = np.rint(classes * 255).astype(np.uint8)
    bytes_[0] = 255 - bytes_[1:].sum(axis=0)
    assert to_probabilities(bytes_, 255).shape == stack.shape


def test_a_stack_of_maps_is_told_by_its_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((4, 5, 6)))
    layout = ImageLayout(probabilities=True, axes="ZYX")
    assert len(list(layout.items("a", layout.load(tmp_path / "a.npy")))) == 4
    layout = ImageLayout(probabilities=True)
    with pytest.raises(DataError, match="4 channels sum to"):
        list(layout.items("a", layout.load(tmp_path / "a.npy")))


def test_greys_in_colour_are_one_map() -> None:
    grey = np.array([[0, 100, 255]], np.uint8)
    found = to_probabilities(np.stack([grey] * 3), None)
    np.testing.assert_allclose(found, grey[None] / 255, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [{"scale": 0.0, "probabilities": True}, {"scale": 100.0}, {"channels": 2}],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        ImageLayout(**options)
    with pytest.raises(InputError, match="all but 0"):
        MaskLayout((1, 2), binary=True)


def classes_of(values: Any, **options: Any) -> list[Any]:
    array = np.array(values)[None, None, None]
    given = {"labels": (1,), "ignore": None} | options
    found: list[Any] = to_classes(array, **given)[0, 0, 0].tolist()
    return found


def test_all_but_0_is_foreground_on_request() -> None:
    assert classes_of([0, 1, 2, 317], binary=True) == [0, 1, 1, 1]
    assert classes_of([0, 255, 7], binary=True, ignore=7) == [0, 1, 255]
    assert classes_of([0.0, 3.00001], binary=True) == [0, 1]
    with pytest.raises(DataError, match=r"values \[2, 317\].*--binary"):
        classes_of([0, 1, 2, 317])
    with pytest.raises(DataError, match=r"values \[-1\]"):
        classes_of([0, -1, 1], binary=True)
    assert classes_of([0, -1, 1], binary=True, ignore=-1) == [0, 255, 1]


@pytest.mark.parametrize("binary", [True, False])
def test_values_between_labels_are_none(binary: bool) -> None:  # noqa: FBT001
    assert classes_of([0, 0.9999], binary=binary) == [0, 1]
    with pytest.raises(DataError, match="not whole"):
        classes_of([0, 0.98], binary=binary)
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="NaN or infinity"):
            classes_of([0, value], binary=binary)


MASK = np.eye(5, 6, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "slices"),
    [
        ((5, 6), 1),
        ((5, 6, 1), 1),
        ((1, 5, 6), 1),
        ((1, 5, 6, 1), 1),
        ((1, 1, 5, 6), 1),
        ((3, 5, 6), 3),
        ((3, 5, 6, 1), 3),
        ((3, 1, 5, 6), 3),
        ((1, 3, 5, 6), 3),
    ],
)
def test_axes_of_1_make_no_slices_of_a_mask(
    shape: tuple[int, ...], slices: int, tmp_path: Path
) -> None:
    stored = np.stack([MASK] * slices).reshape(shape)
    np.save(tmp_path / "a.npy", stored)
    layout = MaskLayout()
    found = [item.array for item in layout.items("a", layout.load(tmp_path / "a.npy"))]
    np.testing.assert_array_equal(found, [MASK] * slices)
    if slices > 1:
        layout = MaskLayout(dimensions=3)
        (volume,) = layout.items("a", layout.load(tmp_path / "a.npy"))
        np.testing.assert_array_equal(volume.array, [MASK] * slices)


@pytest.mark.parametrize("shape", [(5, 6, 1), (1, 5, 6)])
def test_an_image_with_one_channel_has_it_at_either_end(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", MASK.reshape(shape))
    layout = ImageLayout()
    (item,) = layout.items("a", layout.load(tmp_path / "a.npy"))
    np.testing.assert_array_equal(item.array, MASK[None])


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_short_last_axis_is_the_channels(channels: int, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).random((7, 9, channels))
    np.save(tmp_path / "a.npy", colours)
    layout = ImageLayout()
    (item,) = layout.items("a", layout.load(tmp_path / "a.npy"))
    np.testing.assert_allclose(item.array, colours.transpose(2, 0, 1))
    np.save(tmp_path / "b.npy", np.stack([colours] * 6))
    found = [each.array.shape for each in layout.items("b", layout.load(tmp_path / "b.npy"))]
    assert found == [(channels, 7, 9)] * 6
    np.save(tmp_path / "m.npy", np.repeat(MASK[:, :, None], channels, axis=2))
    (mask,) = MaskLayout().items("m", MaskLayout().load(tmp_path / "m.npy"))
    np.testing.assert_array_equal(mask.array, MASK)


@pytest.mark.parametrize("stored", [np.float64(3.0), np.zeros(7), np.zeros((2, 2, 2, 2, 2))])
def test_a_number_a_row_or_too_many_axes_are_no_image(stored: NDArray[Any], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stored)
    for layout in (ImageLayout(), MaskLayout(), ImageLayout(dimensions=3)):
        with pytest.raises(DataError, match="do not fit"):
            layout.load(tmp_path / "a.npy")


def test_a_prediction_and_its_truth_may_have_axes_of_1(tmp_path: Path) -> None:
    for side, shape in (("predicted", (5, 6, 1)), ("truth", (1, 5, 6))):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "a.npy", MASK.reshape(shape))
    evaluation, problems = evaluate_files(
        Files.find(tmp_path / "predicted"),
        Files.find(tmp_path / "truth"),
        layout=MaskLayout(),
        truth_layout=MaskLayout(),
        grouping=Grouping(),
    )
    assert (evaluation.value("dsc"), len(evaluation.samples), problems) == (1.0, 1, [])


def array_of(path: Path, **options: Any) -> NDArray[Any]:
    layout = ImageLayout(**options)
    (item,) = layout.items("a", layout.load(path))
    return item.array


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])  # the content decides
def test_an_archive_of_one_array_or_a_named_one(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        np.savez_compressed(file, image=MASK)
    np.testing.assert_array_equal(array_of(tmp_path / name), MASK[None])
    with (tmp_path / name).open("wb") as file:
        np.savez(file, image=MASK, label=MASK * 3)
    with pytest.raises(DataError, match=r"arrays \['image', 'label'\]; expected one.*--key"):
        array_of(tmp_path / name)
    np.testing.assert_array_equal(array_of(tmp_path / name, key="label"), 3 * MASK[None])
    with pytest.raises(DataError, match="which is 'mask'"):
        array_of(tmp_path / name, key="mask")


def test_an_archive_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        head = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (40_000, 40_000)}
        np.lib.format.write_array_header_1_0(head, header)
        archive.writestr("image.npy", head.getvalue() + bytes(10**6))
    with pytest.raises(DataError, match="more than is read at once"):
        array_of(tmp_path / "a.npz")
    (tmp_path / "a.npy").write_bytes(head.getvalue() + bytes(1000))
    with pytest.raises(DataError, match="more than is read at once"):
        array_of(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", MASK)
    with pytest.raises(DataError, match=r"30 values, more than .*20"):
        array_of(tmp_path / "b.npy", max_values=20)


def test_an_archive_of_objects_or_of_something_else_is_no_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.array([{}], object))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    for name in ("a.npz", "b.npz"):
        with pytest.raises(DataError):
            array_of(tmp_path / name)
