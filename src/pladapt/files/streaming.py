"""The samples of files one after the other, and which file each belongs to."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.data.prefetch import prefetch
from pladapt.errors import DataError, InputError
from pladapt.files.dicom import read_dataset
from pladapt.files.places import outline
from pladapt.files.series import Series, order_of
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from pladapt.data.tolerance import LeavingOut, LeftOut
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout, Item, Loaded
    from pladapt.files.series import Source


def join(files: Files, layout: ImageLayout) -> Files:
    """Return files with each DICOM series as one, whatever a sample is: it has one DICOM-SEG."""
    joined = files.volumes()
    loose = layout.dimensions == 2  # noqa: PLR2004 - slices, of which some may be missing
    paths = {
        name: source._replace(loose=loose) if isinstance(source, Series) else source
        for name, source in joined.paths.items()
    }
    return replace(joined, paths=paths)


@dataclass(eq=False)
class ImageMasks:
    """A file whose samples are being predicted.

    Args:
        name: Its name.
        source: Where it is.
        shape: What was read of it, without its values.
        count: How many samples it has.
    """

    name: str
    source: Source
    shape: Loaded
    count: int
    seen: int = 0
    classes: list[NDArray[np.uint8]] = field(default_factory=list)
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    channels: int = 0
    error: Exception | None = None

    def shape_of(self, dimensions: int) -> tuple[int, ...]:
        """Return the spatial shape of its samples as the file has them."""
        slices, _, *plane = self.shape.array.shape
        return (slices, *plane)[-dimensions:]

    def planes(self, parts: list[NDArray[Any]], axis: int) -> NDArray[Any]:
        """Return samples' arrays as one whose first axis is that of the slices.

        Args:
            parts: Of each sample, or of the one volume.
            axis: Which of a volume's axes the slices are.
        """
        volume = len(parts) == 1 and parts[0].ndim == axis + 3
        return np.moveaxis(parts[0], axis, 0) if volume else np.stack(parts)


class Names:
    """Names samples and their groups as every other reader of files does.

    Args:
        files: The images, slices of a series each by itself.
        grouping: What a file belongs to.
    """

    def __init__(self, files: Files, grouping: Grouping) -> None:
        self._files, self._grouping = files, grouping
        self._by_path = {source: name for name, source in files.paths.items()}

    def of(self, name: str, source: Source, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Return the id and the group of each sample of a file, or of each slice of a series."""
        if isinstance(source, Series) and len(items) == len(source.paths) > 1:
            headers = [read_dataset(path, stop_before_pixels=True) for path in source.paths]
            slices = [self._by_path[source.paths[at]] for at in order_of(source, headers)]
            return [(slice_, self._files.group(slice_, self._grouping)) for slice_ in slices]
        group = self._files.group(name, self._grouping)
        return [(item.id, group) for item in items]


class SampleReader:
    """Reads the samples of files, and lists what cannot be used.

    Args:
        files: What is read.
        layout: How.
        names: Names samples and groups.
        leaving_out: Leaves out files.
    """

    def __init__(
        self, files: Files, layout: ImageLayout, names: Names, leaving_out: LeavingOut
    ) -> None:
        self._files, self._layout, self._names = files, layout, names
        self._positions = {name: position for position, name in enumerate(files.paths)}
        self._leaving_out = leaving_out
        self._given_back = len(leaving_out.found)
        self.waiting: deque[ImageMasks] = deque()

    def samples(self, names: Sequence[str], readers: int) -> Generator[Sample]:
        """Yield the samples of files, each of which first waits for its samples' predictions."""
        calls = (partial(self._read, name) for name in names)
        with closing(prefetch(calls, readers)) as reading:
            for name, result in zip(names, reading, strict=True):
                try:
                    image, samples = result()
                except Exception as error:  # noqa: BLE001 - `leave_out` raises what is not the file's
                    self.leave_out(name, error)
                    continue
                self.waiting.append(image)
                yield from samples

    def left_out(self) -> list[LeftOut]:
        """Return what was left out since this was last asked."""
        start, self._given_back = self._given_back, len(self._leaving_out.found)
        return self._leaving_out.found[start : self._given_back]

    def leave_out(self, name: str, error: Exception) -> None:
        """Leave out a file that cannot be used.

        Raises:
            DataError: Nothing may be left out, or too much is.
        """
        if self._leaving_out.tolerance.on_error == "raise" and isinstance(error, InputError):
            raise DataError(f"{name}: {error}") from error
        self._leaving_out.leave_out(self._positions[name], name, error)

    def _read(self, name: str) -> tuple[ImageMasks, list[Sample]]:
        source = self._files.paths[name]
        loaded = self._layout.load(source)
        items = list(self._layout.items(name, loaded))
        named = self._names.of(name, source, items)
        samples = [
            Sample(id_, group, item.array) for (id_, group), item in zip(named, items, strict=True)
        ]
        return ImageMasks(name, source, outline(loaded), len(items)), samples
