"""The files of a DICOM series as one volume."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from pladapt.errors import DataError, MissingDependencyError
from pladapt.files.dicom import read_dataset, read_series
from pladapt.files.frames import order_of_slices, sorted_series

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pladapt.files.stored import Decoding, Stored

_HEADER: Final = [
    "SeriesInstanceUID",
    "SOPClassUID",
    "NumberOfFrames",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
]


class Series(NamedTuple):
    """Files that are one volume.

    Args:
        paths: The files, of one folder.
        loose: Slices may be missing, or lie at one place: these stay in the files' order.
        shown: What the files are called in messages, in their order; their names where empty.
    """

    paths: tuple[Path, ...]
    loose: bool = False
    shown: tuple[str, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """What the files are called in messages."""
        return self.shown or [path.name for path in self.paths]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.paths[0].parent.name


Source: TypeAlias = Path | Series
"""What holds an image."""


def files_of(source: Source) -> tuple[Path, ...]:
    """Return the files of an image: one, or those of a series."""
    return tuple(source.paths) if isinstance(source, Series) else (source,)


def read_volume(series: Series, how: Decoding) -> Stored:
    """Read a volume of its slices, sorted by their places.

    Raises:
        DataError: A file cannot be used, or they are no volume.
    """
    datasets, stored = read_series(series.paths, how, series.names)
    try:
        return sorted_series(stored, datasets, series.names)
    except DataError:
        if series.loose:
            return stored
        raise


def order_of(series: Series, datasets: Sequence[Any]) -> list[int]:
    """Return the order in which `read_volume` has the slices of these data sets."""
    try:
        order = order_of_slices(datasets, series.names)
    except DataError:
        return list(range(len(datasets)))
    return [int(index) for index in order]


def join_series(
    paths: Mapping[str, Source], root: Path, is_dicom: Callable[[Path], bool]
) -> dict[str, Source]:
    """Put files of one series in place of each other: DICOM of a folder, size and orientation.

    A volume is called as its folder is; where the folder has several, as its first file is.

    Args:
        paths: The files by their names, in order.
        root: The folder that they were found in.
        is_dicom: Tells DICOM files.

    Raises:
        DataError: A volume would share its name with a file.
    """
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, path in paths.items():
        if isinstance(path, Path) and is_dicom(path) and (key := _series(path)) is not None:
            found.setdefault((path.parent, *key), []).append(name)
    volumes = {names[0]: names for names in found.values() if len(names) > 1}
    whose = {name: first for first, names in volumes.items() for name in names}
    folders = Counter(str(Path(first).parent) for first in volumes)
    joined: dict[str, Source] = {name: path for name, path in paths.items() if name not in whose}
    for first, names in volumes.items():
        called = _called(first, root, folders)
        if called in joined:
            raise DataError(
                f"The series of {first} and {joined[called]} would share the id {called!r}; ids "
                "must be unique. Rename the folder, or the file."
            )
        joined[called] = Series(tuple(p for each in names if isinstance(p := paths[each], Path)))
    return dict(sorted(joined.items()))


def _called(first: str, root: Path, folders: Mapping[str, int]) -> str:
    folder = str(Path(first).parent)
    if folders[folder] > 1:
        return first
    return root.resolve().name if folder == "." else folder


def _series(path: Path) -> tuple[Any, ...] | None:
    """Return what a slice has in common with the others of its volume; None if it is no slice."""
    try:
        header = read_dataset(path, stop_before_pixels=True, specific_tags=_HEADER)
        directions = [round(float(each), 2) for each in header.get("ImageOrientationPatient") or ()]
    except MissingDependencyError:
        raise
    except DataError:
        return None
    except Exception:  # noqa: BLE001 - mangled; reading it later says how
        return None
    if int(header.get("NumberOfFrames", 1) or 1) > 1 or "Rows" not in header:
        return None
    uid = str(header.get("SeriesInstanceUID", ""))
    return uid, header.Rows, header.get("Columns"), *directions
