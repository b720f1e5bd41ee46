"""TIFF by its own axes: pages, planes, channels, times, and what is on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import DataError
from pladapt.files import ImageLayout, MaskLayout

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

tifffile = pytest.importorskip("tifffile", reason="the extra files is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra files is not installed")

STACK = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5) * 1000


def images_of(path: Path, **options: Any) -> list[NDArray[Any]]:
    layout = ImageLayout(**options)
    return [item.array for item in layout.items("a", layout.load(path))]


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
def test_channels_are_channels_and_slices_slices(options: dict[str, bool], tmp_path: Path) -> None:
    name = "a.ome.tif" if "ome" in options else "a.tif"
    tifffile.imwrite(tmp_path / name, STACK, metadata={"axes": "CYX"}, **options)
    np.testing.assert_array_equal(images_of(tmp_path / name), [STACK])
    tifffile.imwrite(tmp_path / name, STACK, metadata={"axes": "ZYX"}, **options)
    np.testing.assert_array_equal(images_of(tmp_path / name), STACK[:, None])
    np.testing.assert_array_equal(images_of(tmp_path / name, dimensions=3), [STACK[None]])


@pytest.mark.parametrize("order", ["ZCYX", "CZYX"])
def test_any_order_in_the_file_is_put_right(order: str, tmp_path: Path) -> None:
    whole = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)  # slices, then channels
    stored = whole if order == "ZCYX" else whole.swapaxes(0, 1)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, stored, metadata={"axes": order}, ome=True)
    np.testing.assert_array_equal(images_of(path), whole)
    np.testing.assert_array_equal(images_of(path, dimensions=3), [whole.swapaxes(0, 1)])


def test_times_are_images_and_no_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(images_of(path), STACK[:, None])
    with pytest.raises(DataError, match="a volume needs Z"):
        images_of(path, dimensions=3)
    both = np.stack([STACK, STACK + 1])
    tifffile.imwrite(path, both, imagej=True, metadata={"axes": "TZYX"})
    np.testing.assert_array_equal(images_of(path), both.reshape(6, 1, 4, 5))
    with pytest.raises(DataError, match="2 times"):
        images_of(path, dimensions=3)


def test_pages_are_slices_unless_the_axes_are_given(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata=None)
    np.testing.assert_array_equal(images_of(path), STACK[:, None])
    np.testing.assert_array_equal(images_of(path, axes="CYX"), [STACK])
    with pytest.raises(DataError, match="the axes 'YX' do not fit"):
        images_of(path, axes="YX")
    tifffile.imwrite(path, STACK[0], metadata=None)
    np.testing.assert_array_equal(images_of(path, axes="CYX"), [STACK[:1]])


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_in_one_directory_are_channels(planar: str, tmp_path: Path) -> None:
    colours = STACK if planar == "separate" else np.moveaxis(STACK, 0, -1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours, photometric="rgb", planarconfig=planar, metadata=None)
    np.testing.assert_array_equal(images_of(path), [STACK])
    mask = np.repeat(np.eye(4, 5, dtype=np.uint8)[..., None], 3, axis=2)
    tifffile.imwrite(path, mask, photometric="rgb")
    layout = MaskLayout()
    (item,) = layout.items("a", layout.load(path))
    np.testing.assert_array_equal(item.array, np.eye(4, 5))


def test_pages_of_different_sizes_are_refused_but_for_small_copies(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0], metadata=None)
        file.write(STACK[0, :3, :2], metadata=None)
    with pytest.raises(DataError, match=r"2 images of different sizes \(4 x 5, 3 x 2\)"):
        images_of(tmp_path / "a.tif")
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(STACK[0], metadata=None)
        file.write(STACK[0, ::2, ::2], subfiletype=1, metadata=None)
    np.testing.assert_array_equal(images_of(tmp_path / "b.tif"), [STACK[:1]])


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_every_common_compression_is_read(compression: str | None, tmp_path: Path) -> None:
    grey = (STACK % 256).astype(np.uint8)
    pages = [Image.fromarray(page) for page in grey]
    path = tmp_path / "a.tif"
    pages[0].save(path, compression=compression)
    np.testing.assert_array_equal(images_of(path), [grey[:1]])
    pages[0].save(path, compression=compression, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(images_of(path), grey[:, None])
    Image.fromarray(np.moveaxis(grey, 0, -1)).save(path, compression=compression)
    np.testing.assert_array_equal(images_of(path), [grey])


@pytest.mark.parametrize("compression", ["tiff_lzw", None])
def test_a_palette_is_colours_in_an_image_and_indices_in_a_mask(
    compression: str | None, tmp_path: Path
) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.new("P", (3, 2))
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "a.tif", compression=compression)
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]])
    np.testing.assert_array_equal(
        images_of(tmp_path / "a.tif"), [palette[indices].transpose(2, 0, 1)]
    )
    layout = MaskLayout((1, 2))
    (item,) = layout.items("a", layout.load(tmp_path / "a.tif"))
    np.testing.assert_array_equal(item.array, indices)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, bool])
def test_white_as_0_is_turned_back_in_an_image_and_refused_in_a_mask(
    kind: type, tmp_path: Path
) -> None:
    stored = np.eye(4, 5, dtype=kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite")
    largest = 1 if kind is bool else np.iinfo(kind).max
    np.testing.assert_array_equal(images_of(path), [largest - stored[None].astype(float)])
    with pytest.raises(DataError, match="0 as white"):
        MaskLayout().load(path)


def test_a_tiff_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, shape=(13_000, 13_000), dtype=np.uint8)
    with pytest.raises(DataError, match="more than is read at once"):
        images_of(path)
    path.unlink()
    tifffile.imwrite(path, np.zeros((50, 20, 20), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="50 x 20 x 20 values"):
        images_of(path, max_values=10_000)


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_pages_that_point_in_a_circle_are_refused(
    back: int, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[:2], photometric="minisblack", metadata=None, **options)
    with tifffile.TiffFile(path) as file:
        order = "big" if file.byteorder == ">" else "little"
        first, last = (page.offset for page in file.pages)
    np.testing.assert_array_equal(np.concatenate(images_of(path)), STACK[:2])
    stored = bytearray(path.read_bytes())
    count, tag, place = (8, 20, 8) if "bigtiff" in options else (2, 12, 4)
    tags = int.from_bytes(stored[last : last + count], order)
    after = last + count + tag * tags  # where the next page's place stands
    assert not any(stored[after : after + place])
    stored[after : after + place] = (first, last)[back].to_bytes(place, order)
    path.write_bytes(stored)
    with pytest.raises(DataError, match="After 2 pages it begins again"):
        images_of(path)
