"""Label Studio's runs: the bits of its brush, which paints pictures of four channels.

A header says how many values there are (32 bits), how long one is (5 bits, less one) and four sizes
(4 bits each, less one). Then come blocks: a bit that says whether one value is repeated, two bits
that choose a size, the number of values less one in so many bits, and the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CHANNELS: Final = 4
_WORD: Final = 8
_SIZES: Final = (3, 4, 8, 16)
_OPAQUE: Final = 255


def to_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask ``(H, W)`` as bytes."""
    flat = np.repeat(mask.ravel(), _CHANNELS)
    bits = [_bits(flat.size, 32), _bits(_WORD - 1, 5), *(_bits(size - 1, 4) for size in _SIZES)]
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    for start, end in zip(starts, [*starts[1:], flat.size], strict=True):
        value = _bits(_OPAQUE * int(flat[start]), _WORD)
        left = int(end - start)
        while left:
            taken = min(left, 1 << _SIZES[-1])
            choice = next(n for n, size in enumerate(_SIZES) if taken <= 1 << size)
            bits += ["1", _bits(choice, 2), _bits(taken - 1, _SIZES[choice]), value]
            left -= taken
    packed = np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0"))
    found: list[int] = packed.tolist()
    return found


def from_brush(packed: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask ``(H, W)`` of bytes: what is more opaque than not.

    Raises:
        DataError: They are no picture of this shape.
    """
    try:
        values = _values("".join(_bits(byte, 8) for byte in packed))
    except (ValueError, IndexError) as error:
        raise DataError(f"The runs of a brush end too early ({error}); export it anew.") from error
    if len(values) != shape[0] * shape[1] * _CHANNELS:
        raise DataError(
            f"The runs of a brush are of {len(values)} values; expected {_CHANNELS} for each pixel "
            f"of {shape[0]} x {shape[1]}."
        )
    opacity = np.array(values, np.uint8).reshape(*shape, _CHANNELS)[..., -1]
    marked: NDArray[np.bool_] = opacity > _OPAQUE // 2
    return marked


def _values(bits: str) -> list[int]:
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in _SIZES]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        count = read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return values


def _bits(value: int, count: int) -> str:
    return f"{value:0{count}b}"
