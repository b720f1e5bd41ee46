"""The files of a download: in a folder, in zip archives there, and in archives inside those."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final

from pladapt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pladapt_covid_ct.datasets.base import Problems

MAX_NESTING: Final = 2
"""How many archives a file may lie in: Zenodo's "download all" is a zip of zips."""


@dataclass(frozen=True, slots=True)
class File:
    """A file on disk, or a member of an archive.

    Args:
        parts: Its path below the folder that was searched; an archive counts as a folder.
        disk: The file on disk: itself, or the archive that holds it.
        members: The member's name in each archive on the way, the outermost first.
    """

    parts: tuple[str, ...]
    disk: Path
    members: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Names the file for messages."""
        return "/".join(self.parts)

    @property
    def name(self) -> str:
        """The last part, in lower case."""
        return self.parts[-1].lower()

    @property
    def stem(self) -> str:
        """The name in lower case without its extension; ``.nii.gz`` is one."""
        return self.name.removesuffix(".gz").rpartition(".")[0]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders it lies in, in lower case; an archive by its stem."""
        return tuple(part.lower().removesuffix(".zip") for part in self.parts[:-1])

    def role(self, roles: Mapping[str, str]) -> str | None:
        """Return the role that the nearest folder named in ``roles`` gives."""
        return next((roles[name] for name in reversed(self.folders) if name in roles), None)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for reading, inside its archives where it lies in some."""
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(self.disk.open("rb"))
            for member in self.members:
                archive = stack.enter_context(zipfile.ZipFile(stream))
                stream = stack.enter_context(archive.open(member))
            yield stream

    def read(self) -> bytes:
        """Return the contents.

        Raises:
            DataError: The file cannot be read, or its archive is damaged.
        """
        try:
            with self.open() as stream:
                return stream.read()
        except Exception as error:  # damaged archives raise all kinds of errors
            raise DataError(f"The file cannot be read: {error!r}. Download it again.") from error


def find_files(folder: Path, problems: Problems) -> list[File]:
    """Return every file below a folder, those on disk before members of archives.

    The files that macOS and editors leave (``._*``, ``__MACOSX``, hidden ones) are not returned;
    an archive that cannot be opened is a problem.
    """
    found = [
        File(path.relative_to(folder).parts, path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    found = [file for file in found if not _is_litter(file.parts)]
    return sorted(_expand(found, problems), key=lambda file: (len(file.members), file.parts))


def with_extension(files: Sequence[File], *extensions: str) -> list[File]:
    """Return the files whose name ends so."""
    return [file for file in files if file.name.endswith(extensions)]


def _expand(files: Sequence[File], problems: Problems) -> Iterator[File]:
    for file in files:
        if file.name.endswith(".zip") and len(file.members) < MAX_NESTING:
            yield from _expand(_members(file, problems), problems)
        else:
            yield file


def _members(archive: File, problems: Problems) -> list[File]:
    try:
        with archive.open() as stream, zipfile.ZipFile(stream) as opened:
            names = [info.filename for info in opened.infolist() if not info.is_dir()]
    except Exception as error:  # noqa: BLE001 - damaged archives raise all kinds of errors
        problems.skip(archive.path, f"The archive cannot be opened: {error!r}. Download it again.")
        return []
    files = [
        File((*archive.parts, *PurePosixPath(name).parts), archive.disk, (*archive.members, name))
        for name in names
    ]
    return [file for file in files if not _is_litter(file.parts)]


def _is_litter(parts: Sequence[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
