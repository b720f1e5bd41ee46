"""What a decoder returns, and what it is asked."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pladapt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

EXTRA: Final = "files"
"""What brings every decoder but numpy's."""

MAX_PLANE: Final = 89_478_485
"""The pixels that a slice or picture may have: what Pillow warns from."""
MAX_VALUES: Final = 2**29
"""The values that a file may hold: a volume of 2,048 slices of 512 x 512."""


class Stored(NamedTuple):
    """A decoded file.

    Args:
        array: As stored.
        axes: A letter for each of its axes, of ``T`` (times), ``Z`` (slices), ``C`` (channels),
            ``Y`` (rows) and ``X`` (columns); empty where nothing says.
        certain: Whether the format says what its axes are.
        affine: ``(4, 4)``: from an index (x, y, z, 1) to the place in mm, to the right, anterior
            and superior; None where nothing says.
        lossy: Whether the values are not those that were written, as in JPEG.
    """

    array: NDArray[Any]
    axes: str
    certain: bool
    affine: NDArray[np.float64] | None = None
    lossy: bool = False


class Decoding(NamedTuple):
    """How a file is decoded.

    Args:
        labels: The file is a mask: the indices of a palette are kept, not its colours.
        key: Which array of an NPZ file.
        max_values: How many values a file may hold, in place of `MAX_VALUES` and `MAX_PLANE`.
    """

    labels: bool = False
    key: str | None = None
    max_values: int | None = None

    def check_size(self, plane: Sequence[int], number: int = 1) -> None:
        """Refuse a file before it is decoded that would fill the memory.

        Args:
            plane: The lengths of a slice's two axes.
            number: How many slices times channels there are.

        Raises:
            DataError: It is larger than allowed.
        """
        pixels = prod(int(length) for length in plane)
        for found, limit in ((pixels, MAX_PLANE), (pixels * int(number), MAX_VALUES)):
            if found > (limit if self.max_values is None else self.max_values):
                lengths = [f"{length:,}" for length in (number, *plane) if length > 1]
                raise DataError(
                    f"It holds {' x '.join(lengths)} values, more than is read at once "
                    f"({self.max_values or limit:,}), since a small file can be made to fill the "
                    "memory. If it is sound, raise max_values (--max-values)."
                )


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return ``(Y, X, ...)`` as EXIF's tag Orientation says that it is looked at."""
    if orientation >= 5:  # noqa: PLR2004 - those that lie on their side
        array, orientation = array.swapaxes(0, 1), {5: 1, 6: 2, 7: 3, 8: 4}.get(orientation, 1)
    rows = slice(None, None, -1 if orientation in (3, 4) else None)
    columns = slice(None, None, -1 if orientation in (2, 3) else None)
    return array[rows, columns]


def without_opaque_alpha(array: NDArray[Any]) -> NDArray[Any]:
    """Drop the last channel of ``(..., C)`` if it hides nothing."""
    alpha = array[..., -1]
    largest = 1 if array.dtype.kind in "bf" else np.iinfo(array.dtype).max
    return array[..., :-1] if (alpha == largest).all() else array


def one_if_grey(array: NDArray[Any]) -> NDArray[Any]:
    """Drop the last axis of ``(..., C)`` if all channels are equal."""
    return array[..., 0] if (array == array[..., :1]).all() else array
