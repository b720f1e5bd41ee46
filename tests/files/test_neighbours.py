"""Slices with those around them as further channels (2.5-D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt.errors import InputError
from pladapt.files import (
    Files,
    Grouping,
    ImageLayout,
    MaskLayout,
    read_samples,
    read_truth,
    write_masks,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[[Path, NDArray[Any]], Path]

VOLUME = np.arange(5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)


class MiddleIsLarge:
    """Marks what is large in the middle one of five channels."""

    def predict(self, images: Any) -> Any:
        assert images.shape[1] == 5
        return np.where(images[:, 2:3] > 30, np.float32(0.9), np.float32(0.1))


def test_a_slice_has_the_slices_around_it_as_channels(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "images/a.npy", VOLUME)
    layout = ImageLayout(axes="ZYX", neighbours=1)
    samples, _ = read_samples(Files.find(tmp_path / "images"), layout=layout, grouping=Grouping())
    around = [(0, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 4)]
    for sample, places in zip(map(samples.__getitem__, range(5)), around, strict=True):
        np.testing.assert_array_equal(sample.image, VOLUME[list(places)])
    write(tmp_path / "truth/a.npy", (VOLUME > 30).astype(np.uint8))
    labelled, _ = read_truth(samples, Files.find(tmp_path / "truth"), layout=MaskLayout(axes="ZYX"))
    np.testing.assert_array_equal(labelled[3].mask, VOLUME[3] > 30)


@pytest.mark.parametrize("name", ["a.npy", "a.nii.gz"])
def test_masks_are_those_of_the_slices(tmp_path: Path, write: Write, name: str) -> None:
    write(tmp_path / "images" / name, VOLUME)
    layout = ImageLayout(axes="ZYX" if name == "a.npy" else None, neighbours=2)
    found = Files.find(tmp_path / "images")
    write_masks(MiddleIsLarge(), found, tmp_path / "masks", layout=layout)
    mask = MaskLayout(axes=layout.axes).load(tmp_path / "masks" / name).array[:, 0]
    np.testing.assert_array_equal(mask, VOLUME > 30)


def test_a_flat_picture_is_its_own_neighbour(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "images/a.png", np.full((4, 3), 200, np.uint8))
    layout = ImageLayout(neighbours=1, window=(0, 255))
    samples, _ = read_samples(Files.find(tmp_path / "images"), layout=layout, grouping=Grouping())
    assert samples[0].image.shape == (3, 4, 3)


@pytest.mark.parametrize(("dimensions", "neighbours"), [(3, 1), (2, -1)])
def test_neighbours_are_of_slices(dimensions: Any, neighbours: int) -> None:
    with pytest.raises(InputError, match="slices on each side"):
        ImageLayout(dimensions=dimensions, neighbours=neighbours)
