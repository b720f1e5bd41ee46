"""From files to images and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from pladapt.errors import DataError, InputError
from pladapt.files.formats import decode
from pladapt.files.labels import to_classes
from pladapt.files.probabilities import to_probabilities
from pladapt.files.spacing import check_resample, resampled
from pladapt.files.stored import Decoding, one_if_grey
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.files.folder import Files
    from pladapt.files.series import Source
    from pladapt.files.stored import Stored

Dimensions: TypeAlias = Literal[2, 3]
"""Whether a sample is a slice or a volume."""

_AXES: Final = "TZCYX"
_IMAGE_AXES: Final = {(2, 2): "YX", (2, 3): "CYX", (2, 4): "ZCYX", (3, 3): "ZYX", (3, 4): "CZYX"}
_MASK_AXES: Final = {(2, 2): "YX", (2, 3): "ZYX", (3, 3): "ZYX"}
_MOST_CLASSES: Final = IGNORE - 1
_CHANNELS_LAST: Final = {(2, 3): "YXC", (2, 4): "ZYXC", (3, 4): "ZYXC"}
_MOST_CHANNELS: Final = 4
_GREY, _COLOURS = 1, 3


class Loaded(NamedTuple):
    """A file's array as ``(Z, C, Y, X)``, and whether its slices are counted.

    Args:
        array: The values.
        stacked: Whether the file has slices, though it were one.
        affine: ``(4, 4)``: from an index (x, y, z, 1) to the place in mm, to the right, anterior
            and superior; None where nothing says.
        axes: A letter for each of the file's own axes, as in `pladapt.files.stored.Stored`.
        shape: Their lengths.
        spacing: The size of a voxel in mm along Z, Y and X; along Y and X alone where there is
            one slice, whose thickness its place does not say; None where nothing says.
    """

    array: NDArray[Any]
    stacked: bool
    affine: NDArray[np.float64] | None = None
    axes: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None


class Item(NamedTuple):
    """A sample's array, and its id."""

    id: str
    array: NDArray[Any]


@dataclass(frozen=True)
class ImageLayout:
    """How images are read.

    Args:
        dimensions: 2: each slice of a volume is a sample; 3: each volume is, and so is each series
            of DICOM files in a folder.
        axes: What the axes of NPY, NIfTI, NRRD, MetaImage and TIFF arrays are, as letters of
            ``TZCYX``; else what the format says, and for NPY YX, CYX or ZCYX with two dimensions
            and ZYX or CZYX with three, unless a short last axis can but be the channels'.
        window: What becomes 0 and what becomes 1; values beyond are cut off. None: as stored.
        probabilities: The files hold probabilities, not images.
        scale: What probability 1 is stored as, such as 100 for percent. None: 1 for floats, and
            for integers the largest value of their type.
        channels: 1 or 3: greys become three equal channels, or three equal ones become one. None:
            as stored.
        key: Which array of an NPZ file, where it has several.
        max_values: How many values a file may hold, in place of
            ``pladapt.files.stored.MAX_VALUES``.
        resample: The size of a pixel in mm, along Z, Y and X with three dimensions and along Y and
            X with two, that images are resampled to; None for their own.
        neighbours: How many slices on each side a slice is given as further channels (2.5-D), in
            their order; beyond the first and the last slice these are repeated. DICOM series are
            then read as volumes.

    Raises:
        InputError: A parameter is not what it must be.
    """

    dimensions: Dimensions = 2
    axes: str | None = None
    window: tuple[float, float] | None = None
    probabilities: bool = False
    scale: float | None = None
    channels: int | None = None
    key: str | None = None
    max_values: int | None = None
    resample: tuple[float, ...] | None = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        check_resample(self.resample, self.dimensions)
        if self.neighbours < 0 or (self.neighbours and self.dimensions == 3):  # noqa: PLR2004
            raise InputError(
                f"neighbours is {self.neighbours} and a sample has {self.dimensions} dimensions; "
                "give 0 or more slices on each side, of samples of two dimensions."
            )
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"The window is {self.window}; its low end must be below its high.")
        if self.scale is not None and not (self.probabilities and self.scale > 0):
            raise InputError(f"The scale is {self.scale}; expected one above 0, of probabilities.")
        if self.channels not in (None, _GREY, _COLOURS):
            raise InputError(f"The channels are {self.channels}; expected 1 or 3.")

    def arranged(self, files: Files) -> Files:
        """Return files as this layout takes them: DICOM series as volumes where slices count."""
        whole = self.dimensions == 3 or self.neighbours  # noqa: PLR2004 - a volume
        return files.volumes() if whole else files

    def load(self, path: Source) -> Loaded:
        """Decode a file.

        Raises:
            DataError: It cannot be used.
        """
        stored = decode(path, Decoding(key=self.key, max_values=self.max_values))
        return _loaded(stored, self.axes, _IMAGE_AXES, self.dimensions)

    def items(self, name: str, loaded: Loaded) -> Iterator[Item]:
        """Yield a file's samples: float32 ``(C, *S)``, with ids.

        Raises:
            DataError: Their values cannot be used.
        """
        found = self._each(name, loaded)
        yield from _with_neighbours(list(found), self.neighbours) if self.neighbours else found

    def _each(self, name: str, loaded: Loaded) -> Iterator[Item]:
        for item in _items(name, loaded, self.dimensions):
            values = self._values(item.array)
            if self.resample is not None:
                values = resampled(values, loaded.spacing, self.resample)
            yield Item(item.id, values)

    def _values(self, array: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # beyond float32 is infinity, and refused
            values: NDArray[np.float32] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(values).all():
            raise DataError("Its values include NaN or infinity; mend or leave out the file.")
        if self.probabilities:
            return to_probabilities(array, self.scale)
        values = _with_channels(values, self.channels)
        if self.window is None:
            return values
        low, high = self.window
        return (values.clip(low, high) - np.float32(low)) / np.float32(high - low)


@dataclass(frozen=True)
class MaskLayout:
    """How masks are read.

    Args:
        labels: The stored values of the classes, in the order of the classes; 0 is the background.
        ignore: The stored value of pixels to leave out, or None.
        dimensions: 2: each slice of a volume is a sample; 3: each volume is.
        axes: What the axes of NPY, NIfTI, NRRD, MetaImage and TIFF arrays are, as letters of
            ``ZYX``; else what the format says, and for NPY YX or ZYX, where axes of length 1
            beyond these do not count.
        binary: Whatever is not 0, nor ignored, is foreground; colours other than black as well.
        as_stored: Masks are matched voxel by voxel, whatever places the files give.
        key: Which array of an NPZ file, where it has several.
        max_values: As in `ImageLayout`.
        resample: The same, by the nearest pixel.

    Raises:
        InputError: A parameter is not what it must be.
    """

    labels: tuple[int, ...] = (1,)
    ignore: int | None = None
    dimensions: Dimensions = 2
    axes: str | None = None
    binary: bool = False
    as_stored: bool = False
    key: str | None = None
    max_values: int | None = None
    resample: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        check_resample(self.resample, self.dimensions)
        known = [0, *self.labels, *([] if self.ignore is None else [self.ignore])]
        if not self.labels or len(set(known)) < len(known) or len(self.labels) > _MOST_CLASSES:
            raise InputError(
                f"The labels are {self.labels} and {self.ignore} is ignored; expected different "
                "values other than 0, the background, one per class."
            )
        if self.binary and len(self.labels) > 1:
            raise InputError(f"The labels are {self.labels}, and all but 0 is to be foreground.")

    def arranged(self, files: Files) -> Files:
        """Return files as this layout takes them: DICOM series as volumes with three dimensions."""
        return files.volumes() if self.dimensions == 3 else files  # noqa: PLR2004 - a volume

    def load(self, path: Source) -> Loaded:
        """Decode a file.

        Raises:
            DataError: It cannot be used.
        """
        stored = decode(path, Decoding(labels=True, key=self.key, max_values=self.max_values))
        if not stored.axes and not self.axes:
            stored = stored._replace(array=_without_ones(stored.array, self.dimensions))
        loaded = _loaded(stored, self.axes, _MASK_AXES, self.dimensions)
        classes = to_classes(
            loaded.array, self.labels, self.ignore, binary=self.binary, lossy=stored.lossy
        )
        affine = None if self.as_stored else loaded.affine
        return Loaded(classes, loaded.stacked, affine, spacing=loaded.spacing)

    def items(self, name: str, loaded: Loaded) -> Iterator[Item]:
        """Yield a file's masks: uint8 ``(*S)``, 0, then 1 to F, and 255 where ignored."""
        for item in _items(name, loaded, self.dimensions):
            mask = item.array[0]
            if self.resample is not None:
                mask = resampled(mask, loaded.spacing, self.resample, nearest=True)
            yield Item(item.id, mask)


def _check_axes(axes: str | None) -> None:
    if axes is not None and (len(set(axes)) < len(axes) or not {*"YX"} <= {*axes} <= {*_AXES}):
        raise InputError(
            f"The axes are {axes!r}; expected Y, X and perhaps Z and C, each once, such as ZYX."
        )


def _with_channels(values: NDArray[np.float32], channels: int | None) -> NDArray[np.float32]:
    """Return ``(C, *S)`` with as many channels, if greys are all that it takes."""
    if channels is None or len(values) == channels:
        return values
    if channels == _COLOURS and len(values) == _GREY:
        return np.repeat(values, _COLOURS, axis=0)
    grey = one_if_grey(np.moveaxis(values, 0, -1))
    if channels == _GREY and grey.ndim < values.ndim:
        return np.ascontiguousarray(grey[None])
    raise DataError(f"It has {len(values)} channels that differ; {channels} were asked for.")


def _without_ones(array: NDArray[Any], dimensions: int) -> NDArray[Any]:
    """Drop axes of length 1 beyond those of a mask: (H, W, 1), (N, H, W, 1), (N, 1, H, W)."""
    most = 3
    if dimensions == 2 and array.ndim == most and array.shape[-1] == 1:  # noqa: PLR2004 - slices
        return array[..., 0]
    while array.ndim > most and 1 in array.shape:
        ones = [axis for axis in (array.ndim - 1, 1, 0) if array.shape[axis] == 1]
        if not ones:
            break
        array = array.squeeze(ones[0])
    return array


def _loaded(
    stored: Stored, axes: str | None, defaults: dict[tuple[int, int], str], dimensions: Dimensions
) -> Loaded:
    array, kind = stored.array, stored.array.dtype
    if kind.kind not in "buif" or 0 in array.shape:
        raise DataError(f"It holds {kind} of shape {array.shape}; expected numbers.")
    own = stored.axes or _guessed(array.shape, defaults, dimensions)
    known = own if stored.certain or not axes else axes
    if len(known) != array.ndim or not {*"YX"} <= {*known}:
        own = f"which the axes {known!r}" if known else "and its axes, which nothing names,"
        raise DataError(
            f"It has shape {array.shape}, {own} do not fit where a sample has {dimensions} "
            "dimensions; say what the axes are, such as ZYX (--axes)."
        )
    shape = array.shape
    array = array.transpose([known.index(axis) for axis in _AXES if axis in known])
    array = np.expand_dims(array, [at for at, axis in enumerate(_AXES) if axis not in known])
    times, slices = array.shape[:2]
    if dimensions == 3:  # noqa: PLR2004 - a volume
        if "Z" not in known:
            raise DataError(f"It has the axes {known}; a volume needs Z. Ask for two dimensions.")
        if times > 1:
            raise DataError(f"It holds {times} times or series; save each volume in a file.")
    array = array.reshape(times * slices, *array.shape[2:])
    affine = None if times > 1 else _affine_of(stored, known)
    spacing = None if affine is None else _spacing(affine, len(array))
    return Loaded(array, "Z" in known or "T" in known, affine, known, shape, spacing)


def _spacing(affine: NDArray[np.float64], slices: int) -> tuple[float, ...]:
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return (z, y, x) if slices > 1 else (y, x)


def _guessed(shape: tuple[int, ...], defaults: dict[tuple[int, int], str], dimensions: int) -> str:
    """Return the axes of an array that does not say them.

    No picture is 4 pixels wide and more than that high: such a last axis is the channels'.
    """
    width = _MOST_CHANNELS if min(shape[-3:-1], default=0) > _MOST_CHANNELS else 1
    if shape and shape[-1] <= width and (dimensions, len(shape)) in _CHANNELS_LAST:
        return _CHANNELS_LAST[dimensions, len(shape)]
    return defaults.get((dimensions, len(shape)), "")


def _affine_of(stored: Stored, known: str) -> NDArray[np.float64] | None:
    """Return the affine of x, y and z where the axes may have got other letters."""
    if stored.affine is None or ("C" in known) != ("C" in stored.axes):
        return None
    affine = stored.affine.copy()
    for axis, own in zip(known, stored.axes, strict=True):
        if (axis in "XYZ") != (own in "XYZ"):
            return None
        if axis in "XYZ":
            affine[:, "XYZ".index(axis)] = stored.affine[:, "XYZ".index(own)]
    return affine


def _items(name: str, loaded: Loaded, dimensions: Dimensions) -> Iterator[Item]:
    """Yield the samples of ``(Z, C, Y, X)``, each ``(C, *S)``."""
    if dimensions == 3:  # noqa: PLR2004 - a volume
        yield Item(name, loaded.array.transpose(1, 0, 2, 3))
    elif not loaded.stacked:
        yield Item(name, loaded.array[0])
    else:
        for z, slice_ in enumerate(loaded.array):
            yield Item(f"{name}/z{z:03}", slice_)


def _with_neighbours(items: Sequence[Item], count: int) -> Iterator[Item]:
    """Yield slices whose channels are those of the slices around them, first to last."""
    for at, item in enumerate(items):
        around = range(at - count, at + count + 1)
        places = (min(max(place, 0), len(items) - 1) for place in around)
        yield Item(item.id, np.concatenate([items[place].array for place in places]))
