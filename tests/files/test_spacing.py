"""Images resampled to a spacing in mm, and masks that come back to the images' own pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt.errors import DataError, InputError
from pladapt.evaluation import DetailEvaluator
from pladapt.files import (
    Files,
    Grouping,
    ImageLayout,
    MaskLayout,
    read_samples,
    read_truth,
    write_masks,
)
from pladapt.files.spacing import resampled, resized
from pladapt.review.exchange import export_masks, import_masks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

nibabel = pytest.importorskip("nibabel", reason="the extra files is not installed")

Z, Y, X = np.mgrid[:6, :24, :20]
BALL = ((Z - 2.5) / 2) ** 2 + ((Y - 11) / 7) ** 2 + ((X - 9) / 6) ** 2 < 1
STEPS = (3.0, 0.8, 0.5)  # Z, Y, X


class AsIs:
    """Takes images for probabilities, and notes their shapes."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def predict(self, images: Any) -> Any:
        self.shapes.add(images.shape[1:])
        return images


def nifti(path: Path, volume: NDArray[Any]) -> Path:
    """Write ``(Z, Y, X)`` with the spacing, turned away from the axes of the world."""
    affine = np.diag([-STEPS[2], STEPS[1], STEPS[0], 1])
    affine[:3, 3] = 5, -8, 30
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume.T, affine).to_filename(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return nifti(tmp_path / "images/ball.nii.gz", BALL.astype(np.float32)).parent


@pytest.mark.parametrize(
    ("dimensions", "wanted", "shape"),
    [
        (3, (1.5, 1.6, 1.0), (1, 12, 12, 10)),
        (3, (6.0, 0.4, 0.25), (1, 3, 48, 40)),
        (2, (1.6, 1.0), (1, 12, 10)),
    ],
)
def test_masks_of_resampled_images_are_of_the_images_own_pixels(
    images: Path, tmp_path: Path, dimensions: Any, wanted: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    predictor = AsIs()
    layout = ImageLayout(dimensions=dimensions, resample=wanted)
    found = Files.find(images)
    write_masks(
        predictor, found, tmp_path / "masks", layout=layout, probabilities=tmp_path / "maps"
    )
    assert predictor.shapes == {shape}
    mask, map_ = (nibabel.load(tmp_path / place / "ball.nii.gz") for place in ("masks", "maps"))
    image = nibabel.load(images / "ball.nii.gz")
    for made in (mask, map_):
        assert made.shape == image.shape
        np.testing.assert_array_equal(made.affine, image.affine)
    marked = np.asarray(mask.dataobj).T > 0
    overlap = 2 * (marked & BALL).sum() / (marked.sum() + BALL.sum())
    assert overlap > 0.85


def test_the_truth_is_resampled_as_the_images_are(images: Path, tmp_path: Path) -> None:
    nifti(tmp_path / "truth/ball.nii.gz", BALL.astype(np.uint8))
    wanted = (1.5, 1.6, 1.0)
    layout = ImageLayout(dimensions=3, resample=wanted)
    samples, _ = read_samples(Files.find(images), layout=layout, grouping=Grouping())
    labelled, left_out = read_truth(
        samples,
        Files.find(tmp_path / "truth"),
        layout=MaskLayout(dimensions=3, resample=wanted),
    )
    assert not left_out
    assert labelled.spacing == wanted
    assert labelled[0].mask.shape == labelled[0].image.shape[1:] == (12, 12, 10)
    assert np.mean((labelled[0].image[0] > 0.5) == labelled[0].mask) > 0.95


def test_borders_are_measured_in_the_files_own_mm(images: Path, tmp_path: Path) -> None:
    for place, volume in (("images", BALL.astype(np.float32)), ("truth", BALL.astype(np.uint8))):
        for index in range(2):
            nifti(tmp_path / f"{place}/{index}.nii.gz", volume)
    np.save(tmp_path / "images/flat.npy", BALL.astype(np.float32))
    np.save(tmp_path / "truth/flat.npy", BALL.astype(np.uint8))
    layout = ImageLayout(dimensions=3)
    samples, _ = read_samples(Files.find(images), layout=layout, grouping=Grouping())
    truth = Files.find(tmp_path / "truth")
    labelled, _ = read_truth(samples, truth, layout=MaskLayout(dimensions=3))
    assert labelled.spacing is None  # flat.npy says none
    (tmp_path / "images/flat.npy").unlink()
    samples, _ = read_samples(Files.find(images), layout=layout, grouping=Grouping())
    labelled, _ = read_truth(samples, truth, layout=MaskLayout(dimensions=3))
    assert labelled.spacing == pytest.approx(STEPS)
    moved = DetailEvaluator(samples=labelled, spacing=labelled.spacing, surface=1.0)
    shifted = SimpleNamespace(predict=lambda images: np.roll(images, 2, 3))
    assert moved.evaluate(shifted).value("hd95", aggregation="sample") == pytest.approx(
        1.6, abs=0.3
    )


def test_what_has_no_spacing_is_not_resampled(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images/a.npy", BALL[0].astype(np.float32))
    with pytest.raises(DataError, match="does not say the size of its pixels"):
        read_samples(
            Files.find(tmp_path / "images"),
            layout=ImageLayout(resample=(1, 1)),
            grouping=Grouping(),
        )


def test_spacings_in_other_units_are_said() -> None:
    with pytest.raises(DataError, match="Look at the units"):
        resampled(BALL[None], (3e3, 800, 500), (3, 0.8, 0.5))


@pytest.mark.parametrize("wanted", [(1.0, 1.0, 1.0), (1.0, 0.0), (1.0, np.inf)])
def test_a_spacing_that_is_none_is_refused(wanted: tuple[float, ...]) -> None:
    for layout in (ImageLayout, MaskLayout):
        with pytest.raises(InputError, match="2 values above 0"):
            layout(resample=wanted)


@given(
    old=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 99),
)
def test_resizing_keeps_the_range_and_the_values(
    old: tuple[int, int], new: tuple[int, int], seed: int
) -> None:
    image = np.random.default_rng(seed).random((2, *old)).astype(np.float32)
    made = resized(image, new)
    assert made.shape == (2, *new)
    assert made.dtype == np.float32
    assert image.min() - 1e-6 <= made.min() <= made.max() <= image.max() + 1e-6
    mask = (255 * image[0]).astype(np.uint8)
    assert set(np.unique(resized(mask, new, nearest=True))) <= set(np.unique(mask))
    np.testing.assert_array_equal(resized(image, old), image)


@pytest.mark.parametrize(("dimensions", "wanted"), [(3, (1.5, 1.6, 1.0)), (2, (1.6, 1.0))])
def test_masks_for_another_tool_lie_where_the_image_lies(
    images: Path, tmp_path: Path, dimensions: Any, wanted: tuple[float, ...]
) -> None:
    layout = ImageLayout(dimensions=dimensions, resample=wanted)
    samples, _ = read_samples(Files.find(images), layout=layout, grouping=Grouping())
    masks = {place.id: samples[at].image[0] > 0.5 for at, place in enumerate(samples.places)}
    masks = {id_: mask.astype(np.uint8) for id_, mask in masks.items()}
    said: dict[str, Any] = {}
    review: Any = SimpleNamespace(
        mask=masks.__getitem__, masks=SimpleNamespace(ids=[*masks]), correct=said.__setitem__
    )
    export_masks(review, samples, tmp_path / "out", "nifti", ids=[*masks])
    made, own = (
        nibabel.load(path) for path in (tmp_path / "out/masks/ball.nii.gz", images / "ball.nii.gz")
    )
    places = [_centre(np.asarray(image.dataobj), image.affine) for image in (made, own)]
    np.testing.assert_allclose(*places, atol=0.6)
    assert import_masks(review, samples, tmp_path / "out") == {}
    assert not said


def _centre(volume: NDArray[Any], affine: NDArray[Any]) -> NDArray[Any]:
    """Return the centre in mm of what is above 0.5 in ``(X, Y, Z)``."""
    index = np.argwhere(volume > 0.5).mean(0)
    return affine[:3, :3] @ index + affine[:3, 3]
