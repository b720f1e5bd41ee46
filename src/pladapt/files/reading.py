"""From files to images and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from pladapt.errors import DataError, InputError
from pladapt.files.formats import decode
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

Dimensions: TypeAlias = Literal[2, 3]
"""Whether a sample is a slice or a volume."""

_AXES: Final = "ZCYX"
_IMAGE_AXES: Final = {(2, 2): "YX", (2, 3): "CYX", (2, 4): "ZCYX", (3, 3): "ZYX", (3, 4): "CZYX"}
_MASK_AXES: Final = {(2, 2): "YX", (2, 3): "ZYX", (3, 3): "ZYX"}
_MOST_CLASSES: Final = IGNORE - 1


class Loaded(NamedTuple):
    """A file's array as ``(Z, C, Y, X)``, and whether its slices are counted."""

    array: NDArray[Any]
    stacked: bool


class Item(NamedTuple):
    """A sample's array, and its id."""

    id: str
    array: NDArray[Any]


@dataclass(frozen=True)
class ImageLayout:
    """How images are read.

    Args:
        dimensions: 2: each slice of a volume is a sample; 3: each volume is.
        axes: What the axes of NPY and NIfTI arrays are, as letters of ``ZCYX``; else XYZ for
            NIfTI, and for NPY YX, CYX or ZCYX with two dimensions and ZYX or CZYX with three.
        window: What becomes 0 and what becomes 1; values beyond are cut off. None: as stored.
        probabilities: The files hold probabilities, not images; integers are divided by the
            largest value of their type.

    Raises:
        InputError: A parameter is not what it must be.
    """

    dimensions: Dimensions = 2
    axes: str | None = None
    window: tuple[float, float] | None = None
    probabilities: bool = False

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"The window is {self.window}; its low end must be below its high.")

    def load(self, path: Path) -> Loaded:
        """Decode a file.

        Raises:
            DataError: It cannot be used.
        """
        return _load(path, self.axes, _IMAGE_AXES, self.dimensions)

    def items(self, name: str, loaded: Loaded) -> Iterator[Item]:
        """Yield a file's samples: float32 ``(C, *S)``, with ids.

        Raises:
            DataError: Their values cannot be used.
        """
        for item in _items(name, loaded, self.dimensions):
            yield Item(item.id, self._values(item.array))

    def _values(self, array: NDArray[Any]) -> NDArray[np.float32]:
        if self.probabilities and array.dtype.kind in "iu":
            return (array / np.float64(np.iinfo(array.dtype).max)).astype(np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinity, and refused
            values: NDArray[np.float32] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(values).all():
            raise DataError("Its values include NaN or infinity; mend or leave out the file.")
        if self.probabilities and not (values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"Its values reach from {values.min():g} to {values.max():g}; probabilities lie in "
                "[0, 1]. Apply a sigmoid or softmax to logits first."
            )
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
        axes: What the axes of NPY and NIfTI arrays are, as letters of ``ZYX``; else XYZ for NIfTI,
            and for NPY YX or ZYX.

    Raises:
        InputError: A parameter is not what it must be.
    """

    labels: tuple[int, ...] = (1,)
    ignore: int | None = None
    dimensions: Dimensions = 2
    axes: str | None = None

    def __post_init__(self) -> None:
        _check_axes(self.axes)
        known = [0, *self.labels, *([] if self.ignore is None else [self.ignore])]
        if not self.labels or len(set(known)) < len(known) or len(self.labels) > _MOST_CLASSES:
            raise InputError(
                f"The labels are {self.labels} and {self.ignore} is ignored; expected different "
                "values other than 0, the background, one per class."
            )

    def load(self, path: Path) -> Loaded:
        """Decode a file.

        Raises:
            DataError: It cannot be used.
        """
        loaded = _load(path, self.axes, _MASK_AXES, self.dimensions)
        if loaded.array.shape[1] != 1:
            raise DataError(
                f"The mask has {loaded.array.shape[1]} channels; expected one, of labels."
            )
        return loaded._replace(array=self._classes(loaded.array))

    def items(self, name: str, loaded: Loaded) -> Iterator[Item]:
        """Yield a file's masks: uint8 ``(*S)``, 0, then 1 to F, and 255 where ignored."""
        for item in _items(name, loaded, self.dimensions):
            yield Item(item.id, item.array[0])

    def _classes(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        rounded = np.rint(array) if array.dtype.kind == "f" else array
        if array.dtype.kind == "f" and not np.allclose(array, rounded, rtol=0, atol=1e-3):
            raise DataError(
                "Its values are no labels: they are not whole. If they are probabilities, give "
                "the cut-off."
            )
        classes = np.zeros(array.shape, np.uint8)
        known = rounded == 0
        for class_, value in [*enumerate(self.labels, start=1), (IGNORE, self.ignore)]:
            if value is not None:
                marked = rounded == value
                classes[marked] = class_
                known |= marked
        if not known.all():
            unknown = np.unique(rounded[~known])[:10].tolist()
            raise DataError(
                f"The mask has the values {unknown}, and only 0 and {list(self.labels)} are known. "
                "Give the classes' values as labels, and one to leave out as ignore."
            )
        return classes


def _check_axes(axes: str | None) -> None:
    if axes is not None and (len(set(axes)) < len(axes) or not {*"YX"} <= {*axes} <= {*_AXES}):
        raise InputError(
            f"The axes are {axes!r}; expected Y, X and perhaps Z and C, each once, such as ZYX."
        )


def _load(
    path: Path, axes: str | None, defaults: dict[tuple[int, int], str], dimensions: Dimensions
) -> Loaded:
    stored = decode(path)
    shape, kind = stored.array.shape, stored.array.dtype
    if kind.kind not in "buif" or 0 in shape:
        raise DataError(f"It holds {kind} of shape {shape}; expected numbers.")
    own = stored.axes or defaults.get((dimensions, len(shape)), "")
    known = own if stored.certain or not axes else axes
    if len(known) != len(shape):
        raise DataError(
            f"It has shape {shape}, which the axes {known or 'known'!r} do not fit where a sample "
            f"has {dimensions} dimensions; say what the axes are, such as ZYX."
        )
    if "Z" not in known and dimensions == 3:  # noqa: PLR2004 - a volume
        raise DataError(f"It has the axes {known}; a volume needs Z. Ask for two dimensions.")
    array = stored.array.transpose([known.index(axis) for axis in _AXES if axis in known])
    missing = [place for place, axis in enumerate(_AXES) if axis not in known]
    return Loaded(np.expand_dims(array, missing), "Z" in known)


def _items(name: str, loaded: Loaded, dimensions: Dimensions) -> Iterator[Item]:
    """Yield the samples of ``(Z, C, Y, X)``, each ``(C, *S)``."""
    if dimensions == 3:  # noqa: PLR2004 - a volume
        yield Item(name, loaded.array.transpose(1, 0, 2, 3))
    elif not loaded.stacked:
        yield Item(name, loaded.array[0])
    else:
        for z, slice_ in enumerate(loaded.array):
            yield Item(f"{name}/z{z:03}", slice_)
