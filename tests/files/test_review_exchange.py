"""Masks of a run on their way to other tools and back."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pladapt
from pladapt import DataError, InputError
from pladapt.errors import MissingDataError
from pladapt.files import Files, Grouping, ImageLayout, read_samples
from pladapt.review import Review
from pladapt.review.annotations import Coco, Cvat, Item, LabelStudio, components
from pladapt.review.brush import from_brush, to_brush
from pladapt.review.exchange import export_masks, import_masks
from pladapt.review.pictures import png, read_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files import FileSamples

nibabel = pytest.importorskip("nibabel", reason="the files extra is not installed")

KINDS = ["label-studio", "cvat", "coco", "nifti", "png"]
NAMES = {1: "lesion", 2: "organ", 255: "ignore"}


class Given(NamedTuple):
    review: Review
    samples: FileSamples
    images: Path


class Same:
    """A retrainer that learns nothing."""

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        assert len(labels)
        return predictor


def spotted() -> NDArray[np.uint8]:
    """Two components of one class that lie apart, one with a hole."""
    mask = np.zeros((7, 9), np.uint8)
    mask[1:4, 1:4] = 1
    mask[2, 2] = 0
    mask[5:, 6:] = 1
    return mask


def adapted(brightness: Any, folder: Path, dimensions: Any) -> Given:
    images = folder / "images"
    layout = ImageLayout(dimensions=dimensions)
    samples, _ = read_samples(Files.find(images), layout=layout, grouping=Grouping())
    selector = pladapt.CertaintyIndexSelector(min_pixels=1)
    parts = {"selector": selector, "retrainer": Same(), "workdir": folder / "run"}
    pladapt.adapt(brightness(), samples, **parts)
    return Given(Review(folder / "run", who="Ann"), samples, images)


@pytest.fixture
def slices(brightness: Any, tmp_path: Path) -> Given:
    """A run on the slices of a volume that lies askew, and a picture."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    volume = np.stack([0.9 * spotted().T, 0.9 * spotted().T[::-1], 0 * spotted().T], axis=-1)
    affine = np.diag([-2.0, -1.5, 3.0, 1])
    affine[:3, 3] = [4, 5, 6]
    image = nibabel.Nifti1Image(volume.astype(np.float32), affine)
    nibabel.save(image, tmp_path / "images" / "a" / "volume.nii.gz")
    np.save(tmp_path / "images" / "flat.npy", (0.9 * spotted()).astype(np.float32))
    return adapted(brightness, tmp_path, 2)


def changed(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    other = mask.copy()
    other[0, 0] = 1
    return other


def edited(given: Given, folder: Path, kind: Any, masks: dict[str, NDArray[np.uint8]]) -> Path:
    """Export every mask, and return the folder as a tool leaves it that made these of some."""
    review, samples, _ = given
    ids = [place.id for place in samples.places]
    export_masks(review, samples, folder / "exported", kind, ids=ids)
    for id_, mask in masks.items():
        review.correct(id_, mask)
    export_masks(review, samples, folder / "edited", kind, ids=ids)
    for id_ in masks:
        review.undo(id_)
        review.undo(id_)
    shutil.copy(folder / "exported" / "export.json", folder / "edited" / "export.json")
    return folder / "edited"


@pytest.mark.parametrize("kind", KINDS)
def test_masks_come_back_as_they_went_and_the_changed_ones_are_corrected(
    slices: Given, tmp_path: Path, kind: Any
) -> None:
    review, samples, _ = slices
    ids = [place.id for place in samples.places]
    model = {id_: review.mask(id_) for id_ in ids}
    np.testing.assert_array_equal(model["flat"], spotted())
    out = edited(slices, tmp_path, kind, {"flat": changed(model["flat"])})
    np.testing.assert_array_equal(review.mask("flat"), model["flat"])
    assert import_masks(review, samples, out) == {"flat": "corrected"}
    np.testing.assert_array_equal(review.answers["flat"].mask, changed(model["flat"]))
    found = import_masks(review, samples, out, unchanged=True)
    assert {*found} == {*ids}
    for id_ in {*ids} - {"flat"}:
        np.testing.assert_array_equal(review.answers[id_].mask, model[id_])
        assert review.answers[id_].decision == "accepted"


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tool_left_as_it_was_undoes_nobody_s_correction(
    slices: Given, tmp_path: Path, kind: Any
) -> None:
    review, samples, _ = slices
    export_masks(review, samples, tmp_path / "out", kind, ids=["flat"])
    review.correct("flat", changed(review.mask("flat")))
    assert import_masks(review, samples, tmp_path / "out") == {}
    assert review.answers["flat"].mask[0, 0] == 1


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (255, r"'flat' has no values but 0 and 255, .* foreground is \{1: 'foreground'\}"),
        (7, r"'flat' has the values \[7\], and those of the export are 0 and \{1: 'foreground'\}"),
    ],
)
def test_values_that_are_no_classes_are_refused(
    slices: Given, tmp_path: Path, factor: int, message: str
) -> None:
    review, samples, _ = slices
    export_masks(review, samples, tmp_path / "out", "png", ids=["flat"])
    (tmp_path / "out" / "masks" / "0001.png").write_bytes(png(factor * spotted()))
    with pytest.raises(DataError, match=message):
        import_masks(review, samples, tmp_path / "out")
    assert "flat" not in review.answers
    beside = spotted()
    beside[0] = 255  # nothing is said of these
    (tmp_path / "out" / "masks" / "0001.png").write_bytes(png(beside))
    assert import_masks(review, samples, tmp_path / "out") == {"flat": "corrected"}


def test_a_volume_is_one_file_in_its_place(slices: Given, tmp_path: Path) -> None:
    review, samples, images = slices
    export_masks(review, samples, tmp_path / "out", "nifti", ids=["a/volume/z001"])
    made = nibabel.load(tmp_path / "out" / "masks" / "a" / "volume.nii.gz")
    image = nibabel.load(images / "a" / "volume.nii.gz")
    np.testing.assert_array_equal(made.affine, image.affine)
    np.testing.assert_array_equal(np.asarray(made.dataobj), image.get_fdata() > 0.5)


def test_volumes_go_as_nifti_alone(brightness: Any, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    volume = np.stack([0.9 * spotted().T] * 3, axis=-1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "images" / "one.nii")
    review, samples, _ = adapted(brightness, tmp_path, 3)
    with pytest.raises(InputError, match="'one' is a volume, and coco takes pictures; give nifti"):
        export_masks(review, samples, tmp_path / "out", "coco", ids=["one"])
    drawn = np.stack([spotted(), changed(spotted()), spotted()])
    out = edited(Given(review, samples, tmp_path), tmp_path, "nifti", {"one": drawn})
    review.reject("one")
    assert import_masks(review, samples, out) == {"one": "corrected"}
    np.testing.assert_array_equal(review.mask("one"), drawn)


@pytest.mark.parametrize("kind", ["label-studio", "cvat", "coco", "png"])
def test_pictures_go_with_the_masks(slices: Given, tmp_path: Path, kind: Any) -> None:
    review, samples, _ = slices
    exported = export_masks(review, samples, tmp_path / "out", kind, ids=["flat"])
    assert exported.files == {"0001.png": "flat"}
    shown = read_png((tmp_path / "out" / "images" / "0001.png").read_bytes())
    np.testing.assert_array_equal(shown > 128, spotted() > 0)


def test_what_cannot_be_is_said(slices: Given, tmp_path: Path) -> None:
    review, samples, images = slices
    with pytest.raises(InputError, match="holds something"):
        export_masks(review, samples, images, "png", ids=["flat"])
    with pytest.raises(MissingDataError, match="no image of 'x'"):
        export_masks(review, samples, tmp_path / "out", "png", ids=["x"])
    with pytest.raises(MissingDataError, match=r"no export\.json"):
        import_masks(review, samples, images)
    export_masks(review, samples, tmp_path / "out", "png", ids=["flat"])
    path = tmp_path / "out" / "masks" / "0001.png"
    path.write_bytes(png(np.zeros((3, 3), np.uint8)))
    with pytest.raises(DataError, match=r"the shape \(3, 3\); expected \(7, 9\)"):
        import_masks(review, samples, tmp_path / "out")


MASKS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 6), st.integers(1, 7)),
    elements=st.sampled_from([0, 0, 1, 2, 255]),
)


@pytest.mark.parametrize("format_", [Coco(), LabelStudio(), Cvat()], ids=lambda f: type(f).__name__)
def test_any_mask_survives(format_: Any, tmp_path: Path) -> None:
    @settings(max_examples=20)  # each writes files
    @given(MASKS)
    def survives(mask: NDArray[np.uint8]) -> None:
        format_.write([Item("a b.png", mask)], NAMES, tmp_path)
        (item,) = format_.read(tmp_path, NAMES)
        assert item.file == "a b.png"
        np.testing.assert_array_equal(item.mask if item.mask.size else np.zeros_like(mask), mask)

    survives()


def test_a_component_is_an_annotation(tmp_path: Path) -> None:
    assert [value for value, _ in components(spotted())] == [1, 1]
    items = [Item("one.png", spotted())]
    for format_ in (Coco(), LabelStudio(), Cvat()):
        format_.write(items, NAMES, tmp_path)
    assert len(json.loads((tmp_path / "annotations.json").read_text())["annotations"]) == 2
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert len(task["predictions"][0]["result"]) == 2
    assert len(list(ET.parse(tmp_path / "annotations.xml").iter("mask"))) == 2  # noqa: S314 - own


def test_a_label_that_nobody_exported_is_named(tmp_path: Path) -> None:
    Cvat().write([Item("one.png", spotted())], NAMES, tmp_path)
    with pytest.raises(DataError, match="a label 'lesion'; the export has"):
        list(Cvat().read(tmp_path, {1: "other"}))


def test_runs_longer_than_the_longest_block_survive() -> None:
    mask = np.zeros((200, 300), bool)
    mask[50:, 7:] = True
    np.testing.assert_array_equal(from_brush(to_brush(mask), mask.shape), mask)
    with pytest.raises(DataError, match="end too early"):
        from_brush(to_brush(mask)[:20], mask.shape)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_pycocotools_reads_what_is_written_and_is_read(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    codec = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    Coco().write([Item("one.png", spotted())], NAMES, tmp_path)
    path = tmp_path / "annotations.json"
    found = coco.COCO(path)
    annotations = found.loadAnns(found.getAnnIds(imgIds=[1]))
    whole = sum(found.annToMask(each).astype(np.uint8) for each in annotations)
    np.testing.assert_array_equal(whole, spotted())
    said = json.loads(path.read_text())
    for each in said["annotations"]:
        packed = codec.encode(np.asfortranarray(found.annToMask(each)))
        each["segmentation"] = {"size": packed["size"], "counts": packed["counts"].decode()}
        assert each["area"] == codec.area(packed)
        assert each["bbox"] == codec.toBbox(packed).tolist()
    path.write_text(json.dumps(said))
    (item,) = Coco().read(tmp_path, NAMES)
    np.testing.assert_array_equal(item.mask, spotted())
