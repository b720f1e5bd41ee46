"""Pictures: turned, in colour, animated, deep, of few bits, and made to do harm."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import DataError
from pladapt.files import ImageLayout, MaskLayout

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Image = pytest.importorskip("PIL.Image", reason="the extra files is not installed")

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOURS = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def image_of(path: Path, **options: Any) -> NDArray[Any]:
    layout = ImageLayout(**options)
    (item,) = layout.items("a", layout.load(path))
    return item.array


def mask_of(path: Path, *labels: int, **options: Any) -> NDArray[Any]:
    layout = MaskLayout(labels or (1,), **options)
    (item,) = layout.items("a", layout.load(path))
    return item.array


def with_orientation(orientation: int) -> Any:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", [".png", ".webp", ".tif"])
def test_pictures_are_turned_as_they_are_looked_at(
    extension: str, orientation: int, tmp_path: Path
) -> None:
    operations = [
        None,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_90,  # to be turned back by 270
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_270,
    ]
    operation = operations[orientation - 1]
    upright = Image.fromarray(COLOURS)
    stored = upright if operation is None else upright.transpose(operation)
    options = {"lossless": True} if extension == ".webp" else {}
    path = tmp_path / f"a{extension}"
    stored.save(path, exif=with_orientation(orientation), **options)
    np.testing.assert_array_equal(image_of(path), COLOURS.transpose(2, 0, 1))


def test_a_photograph_and_its_mask_are_turned_alike(tmp_path: Path) -> None:
    mask = np.zeros((16, 24), np.uint8)
    mask[2:6, 3:12] = 1
    lying = Image.fromarray(mask * 200).transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "a.jpg", quality=95, exif=with_orientation(6))
    lying.save(tmp_path / "m.png", exif=with_orientation(6))
    np.testing.assert_array_equal(image_of(tmp_path / "a.jpg")[0] > 100, mask == 1)
    np.testing.assert_array_equal(mask_of(tmp_path / "m.png", 200), mask)


def test_of_several_pictures_in_a_jpeg_the_first_counts(tmp_path: Path) -> None:
    first, other = Image.fromarray(COLOURS), Image.fromarray(COLOURS[:2, :2])
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[other])
    assert image_of(tmp_path / "a.jpg").shape == (3, 4, 6)


@pytest.mark.parametrize("extension", [".gif", ".webp", ".pgm", ".ppm", ".bmp"])
def test_greys_are_one_channel_whatever_the_format(extension: str, tmp_path: Path) -> None:
    options = {"lossless": True} if extension == ".webp" else {}
    picture = Image.fromarray(GREY)
    path = tmp_path / f"a{extension}"
    picture.save(path, **options)
    np.testing.assert_array_equal(image_of(path), GREY[None])


def test_the_frames_of_an_animation_are_slices(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    for extension in (".gif", ".png", ".webp"):
        options: dict[str, Any] = {"lossless": True} if extension == ".webp" else {}
        path = tmp_path / f"a{extension}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        layout = ImageLayout()
        found = [item.array for item in layout.items("a", layout.load(path))]
        np.testing.assert_array_equal(found, [GREY[None], GREY[None, ::-1]])


def test_a_palette_is_colours_in_an_image_and_indices_in_a_mask(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.fromarray(indices, mode=None).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.putdata(indices.ravel().tolist())
    picture.save(tmp_path / "a.png")
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]])
    found = image_of(tmp_path / "a.png")
    np.testing.assert_array_equal(found, palette[indices].transpose(2, 0, 1))
    np.testing.assert_array_equal(mask_of(tmp_path / "a.png", 1, 2), indices)
    picture.putpalette([10, 10, 10, 50, 50, 50, 90, 90, 90])
    picture.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(image_of(tmp_path / "grey.png"), 10 + 40 * indices[None])
    np.testing.assert_array_equal(mask_of(tmp_path / "grey.png", 1, 2), indices)


def test_a_mask_in_a_gif_is_its_greys(tmp_path: Path) -> None:
    mask = np.array([[0, 255, 0], [255, 0, 0]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(mask_of(tmp_path / "a.gif", 255), mask // 255)


def test_alpha_counts_only_where_it_hides_something(tmp_path: Path) -> None:
    opaque = np.dstack([COLOURS, np.full_like(GREY, 255)])
    Image.fromarray(opaque).save(tmp_path / "a.png")
    assert image_of(tmp_path / "a.png").shape == (3, 4, 6)
    opaque[0, 0, 3] = 7
    Image.fromarray(opaque).save(tmp_path / "b.png")
    assert image_of(tmp_path / "b.png").shape == (4, 4, 6)
    Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)])).save(tmp_path / "c.png")
    np.testing.assert_array_equal(image_of(tmp_path / "c.png"), GREY[None])


def test_colours_for_print_become_red_green_and_blue(tmp_path: Path) -> None:
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = image_of(tmp_path / "a.jpg").mean(axis=(1, 2))
    assert red > 200
    assert max(green, blue) < 60


def test_greys_and_three_channels_are_made_of_each_other_on_request(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "b.png")
    Image.fromarray(COLOURS).save(tmp_path / "c.png")
    for name in ("a", "b"):
        np.testing.assert_array_equal(image_of(tmp_path / f"{name}.png", channels=1), GREY[None])
        found = image_of(tmp_path / f"{name}.png", channels=3)
        np.testing.assert_array_equal(found, np.stack([GREY] * 3))
    with pytest.raises(DataError, match="3 channels that differ; 1 were asked for"):
        image_of(tmp_path / "c.png", channels=1)


def png(rows: bytes, size: tuple[int, int], bits: int, colour: int) -> bytes:
    """Make a PNG of rows that each begin with their filter's byte, 0."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_sixteen_bits_stay_sixteen(colour: int, channels: int, tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="the extra files is not installed")
    values = np.random.default_rng(0).integers(0, 2**16, (5, 7, channels), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png(rows, (7, 5), 16, colour))
    np.testing.assert_array_equal(image_of(tmp_path / "a.png"), values.transpose(2, 0, 1))


def test_colours_of_sixteen_bits_that_would_be_cut_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + struct.pack(">3H", 1, 300, 65535))
    (tmp_path / "a.png").write_bytes(png(b"\0" + bytes(range(8)), (2, 1), 16, 4))
    for name in ("a.ppm", "a.png"):
        with pytest.raises(DataError, match="16 bits per colour"):
            image_of(tmp_path / name)


@pytest.mark.parametrize("largest", [1, 3, 255, 1000, 4095, 65535])
def test_the_values_of_a_pgm_are_those_that_it_counts(largest: int, tmp_path: Path) -> None:
    values = np.linspace(0, largest, 12).round().astype(np.uint16).reshape(3, 4)
    kind = np.uint8 if largest < 256 else ">u2"
    head = f"P5\n4 3\n{largest}\n".encode()
    (tmp_path / "a.pgm").write_bytes(head + values.astype(kind).tobytes())
    np.testing.assert_array_equal(image_of(tmp_path / "a.pgm"), values[None])
    (tmp_path / "b.pgm").write_text(f"P2\n4 3\n{largest}\n{' '.join(map(str, values.ravel()))}\n")
    np.testing.assert_array_equal(image_of(tmp_path / "b.pgm"), values[None])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_hold_their_labels(bits: int, tmp_path: Path) -> None:
    labels = np.array([[0, 1, 1, 0, 1, 0, 0, 1]] * 2) * (1 if bits == 1 else 3)
    packed = b""
    for row in labels:
        joined = "".join(f"{value:0{bits}b}" for value in row)
        packed += b"\0" + int(joined, 2).to_bytes(bits, "big")
    (tmp_path / "a.png").write_bytes(png(packed, (8, 2), bits, 0))
    label = 1 if bits == 1 else 3
    np.testing.assert_array_equal(mask_of(tmp_path / "a.png", label), labels > 0)


def test_what_is_set_in_a_bitmap_is_the_one_class(tmp_path: Path) -> None:
    mask = np.eye(5, 8, dtype=bool)
    for name in ("a.png", "a.tif", "a.pbm", "a.bmp"):
        Image.fromarray(mask).save(tmp_path / name)
        np.testing.assert_array_equal(mask_of(tmp_path / name, 255), mask)


def test_masks_in_colour_are_one_if_their_channels_are_equal(tmp_path: Path) -> None:
    mask = np.eye(5, 8, dtype=np.uint8) * 255
    opaque = np.full_like(mask, 255)
    for name, channels in (("rgb", [mask] * 3), ("rgba", [*[mask] * 3, opaque])):
        Image.fromarray(np.dstack(channels)).save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(mask_of(tmp_path / f"{name}.png", 255), mask // 255)
    coloured = np.dstack([mask // 2, 0 * mask, 0 * mask])
    Image.fromarray(coloured).save(tmp_path / "voc.png")
    with pytest.raises(DataError, match="3 channels that differ"):
        mask_of(tmp_path / "voc.png")
    np.testing.assert_array_equal(mask_of(tmp_path / "voc.png", binary=True), mask // 255)
    Image.fromarray(np.dstack([coloured, mask])).save(tmp_path / "clear.png")
    with pytest.raises(DataError, match="4 channels that differ"):
        mask_of(tmp_path / "clear.png", binary=True)


def test_a_mask_that_jpeg_blurred_is_no_mask(tmp_path: Path) -> None:
    mask = np.kron(np.eye(4, dtype=np.uint8), np.full((5, 5), 255, np.uint8))
    Image.fromarray(mask).save(tmp_path / "a.jpg", quality=60)
    for options in ({}, {"binary": True}):
        with pytest.raises(DataError, match="blur labels at their borders; save it as PNG"):
            mask_of(tmp_path / "a.jpg", 255, **options)


def test_what_is_inside_counts_and_not_the_name(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(COLOURS).save(data, "PNG")
    for name in ("a.jpg", "a.tif"):
        (tmp_path / name).write_bytes(data.getvalue())
        np.testing.assert_array_equal(image_of(tmp_path / name), COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".gif", ".bmp"])
def test_what_runs_another_program_is_never_opened(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(DataError, match="cannot be read"):
        image_of(path)


@pytest.mark.parametrize("side", [10_000, 13_000, 40_000])
def test_a_picture_made_to_fill_the_memory_is_refused(side: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(b"\0" * 100, (side, side), 8, 0))
    with pytest.raises(DataError, match=r"read at once.* raise max_values"):
        image_of(tmp_path / "a.png")


def test_an_animation_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (300, 300), value) for value in range(30)]
    for extension in (".png", ".gif"):
        frames[0].save(tmp_path / f"a{extension}", save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=r"30 x 300 x 300 values, more than .*1,000,000"):
            image_of(tmp_path / f"a{extension}", max_values=1_000_000)
        layout = ImageLayout(max_values=3_000_000)
        assert layout.load(tmp_path / f"a{extension}").array.shape == (30, 1, 300, 300)


def test_a_frame_that_is_larger_than_the_first_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.gif"
    first, second = (Image.fromarray(grey) for grey in (GREY, 255 - GREY))
    first.save(path, save_all=True, append_images=[second])
    stored = path.read_bytes()
    place = stored.rindex(struct.pack("<cHHHH", b",", 0, 0, 6, 4)) + 5
    path.write_bytes(stored[:place] + struct.pack("<HH", 20_000, 900) + stored[place + 4 :])
    with pytest.raises(DataError, match=r"Frame 2 has 20000 x 900 pixels, and the first 6 x 4"):
        image_of(path)
