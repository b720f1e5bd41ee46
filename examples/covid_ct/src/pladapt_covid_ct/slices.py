"""CT slices as the loaders give them, decoded from their volumes when they are asked for.

Every slice is in radiological display: row 0 is the chest, column 0 the patient's right. In a
volume ``z`` rises from the feet to the head.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.int16] | NDArray[np.float32]"

CACHE_BYTES: Final = 1 << 30
"""How much decoded data a data set keeps in memory unless told otherwise."""


class Intensity(StrEnum):
    """What the numbers of an image are."""

    HU = "HU"
    """Hounsfield units, or estimates of them: air near -1000, water near 0."""
    EIGHT_BIT = "8-bit"
    """0 to 255: a window of the Hounsfield scale, or a picture."""
    OTHER = "other"
    """Any other scale."""


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One axial CT slice.

    Args:
        id: Names the slice; unique in its data set: ``coronacases_001/z045``.
        group: The patient.
        image: ``(H, W)`` int16 or float32, the intensities as stored, after the modality's
            rescaling.
        lesion: ``(H, W)`` uint8: 0 the background, then one value per lesion class; None where
            the data have no masks.
        lung: ``(H, W)`` bool, or None where the data have no lung masks.
        intensity: What the image's numbers are.
        lung_origin: Where the lung mask comes from: ``files``, or what made it.
    """

    id: str
    group: str
    image: Pixels
    lesion: NDArray[np.uint8] | None
    lung: NDArray[np.bool_] | None
    intensity: Intensity
    lung_origin: str = "files"


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Slices that are decoded together: a scan, or a file of a single slice.

    Args:
        ids: One per slice.
        group: The patient.
        image: ``(Z, H, W)`` int16 or float32.
        lesion: ``(Z, H, W)`` uint8, or None.
        lung: ``(Z, H, W)`` bool, or None.
        intensity: What the image's numbers are.
        lung_origin: Where the lung mask comes from: ``files``, or what made it.
    """

    ids: tuple[str, ...]
    group: str
    image: Pixels
    lesion: NDArray[np.uint8] | None
    lung: NDArray[np.bool_] | None
    intensity: Intensity
    lung_origin: str = "files"

    @property
    def nbytes(self) -> int:
        """The memory that the arrays take."""
        arrays = (self.image, self.lesion, self.lung)
        return sum(array.nbytes for array in arrays if array is not None)

    def __getitem__(self, z: int) -> Slice:
        return Slice(
            self.ids[z],
            self.group,
            self.image[z],
            None if self.lesion is None else self.lesion[z],
            None if self.lung is None else self.lung[z],
            self.intensity,
            self.lung_origin,
        )


class Source(Protocol):
    """**Protocol:** what a volume is decoded from."""

    @property
    def path(self) -> str:
        """Names the file for messages."""

    def read(self) -> Volume:
        """Decode the volume.

        Raises:
            DataError: The file, or one that belongs to it, cannot be used.
        """


class Volumes:
    """Volumes decoded on demand; those used last stay in memory.

    Args:
        sources: What to decode, by number.
        max_bytes: How much to keep; the volume read last is kept whatever its size.
    """

    def __init__(self, sources: Sequence[Source], *, max_bytes: int = CACHE_BYTES) -> None:
        self.sources = tuple(sources)
        self.max_bytes = max_bytes
        self._decoded: OrderedDict[int, Volume] = OrderedDict()

    def __getitem__(self, number: int) -> Volume:
        if number in self._decoded:
            self._decoded.move_to_end(number)
        else:
            self._decoded[number] = self.sources[number].read()
            self._forget_oldest()
        return self._decoded[number]

    def _forget_oldest(self) -> None:
        used = sum(volume.nbytes for volume in self._decoded.values())
        while used > self.max_bytes and len(self._decoded) > 1:
            used -= self._decoded.popitem(last=False)[1].nbytes


class Row(NamedTuple):
    """What is known of a slice without decoding it.

    ``lesion_pixels`` and ``lung_pixels`` are None where the data have no such mask.
    """

    id: str
    group: str
    volume: int
    z: int
    lesion_pixels: int | None
    lung_pixels: int | None


class Slices:
    """Slices in a fixed order, decoded from their volumes when they are asked for.

    Args:
        volumes: What the rows point into.
        rows: One per slice.
    """

    def __init__(self, volumes: Volumes, rows: Sequence[Row]) -> None:
        self.volumes = volumes
        self.rows = tuple(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Slice:
        row = self.rows[index]
        return self.volumes[row.volume][row.z]

    @property
    def ids(self) -> tuple[str, ...]:
        """Each slice's id."""
        return tuple(row.id for row in self.rows)

    @property
    def groups(self) -> tuple[str, ...]:
        """Each slice's patient."""
        return tuple(row.group for row in self.rows)

    def where(self, keep: Callable[[Row], object]) -> Slices:
        """Return the slices that ``keep`` holds true, over the same decoded volumes."""
        return Slices(self.volumes, [row for row in self.rows if keep(row)])


def rows_of(volume: Volume, number: int) -> list[Row]:
    """Describe every slice of a volume."""
    lesion = _pixels_per_slice(volume.lesion, len(volume.ids))
    lung = _pixels_per_slice(volume.lung, len(volume.ids))
    described = zip(volume.ids, lesion, lung, strict=True)
    return [
        Row(id_, volume.group, number, z, *pixels) for z, (id_, *pixels) in enumerate(described)
    ]


def _pixels_per_slice(mask: NDArray[Any] | None, slices: int) -> list[int | None]:
    if mask is None:
        return [None] * slices
    return [int(count) for count in np.count_nonzero(mask, axis=(1, 2))]
