"""What there is of each data set: where, how much, and whether its archives are the published."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final, Literal, TypeAlias

from pladapt.errors import DataError, MissingDataError
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.datasets.base import locate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pladapt.types import Progress
    from pladapt_covid_ct.datasets import Dataset, DatasetInfo

State: TypeAlias = Literal["complete", "incomplete", "found", "not found", "unusable"]
"""``complete``: the paper's counts, and nothing left out; ``found``: there are no counts to compare
with; ``unusable``: there are files, and no slice can be made of them."""

_NOT_ASKED: Final = "present, not verified"


@dataclass(frozen=True, slots=True)
class Archive:
    """A file of a download.

    Args:
        name: As published.
        path: Where it is below the folder searched, or None. ``outer.zip/inner.zip`` for one that
            lies in another.
        verdict: What is known of it: ``the published file``, ``NOT the published file``, ...
    """

    name: str
    path: str | None
    verdict: str

    @property
    def differs(self) -> bool:
        """Whether it is known not to be the published file."""
        return self.verdict.startswith("NOT")


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """What there is of a data set.

    Args:
        info: What is known of it.
        folder: Where it was looked for, or None where there is no such folder.
        dataset: What was read, or None.
        trouble: Why nothing was read, or None.
        archives: Each file of the download.
    """

    info: DatasetInfo
    folder: Path | None
    dataset: Dataset | None
    trouble: str | None
    archives: tuple[Archive, ...]

    @property
    def state(self) -> State:
        """In a word."""
        if self.dataset is None:
            return "not found" if self.folder is None else "unusable"
        pairs = zip(self.dataset.counts, self.info.paper, strict=True)
        known = [(ours, paper) for ours, paper in pairs if paper is not None]
        if not known:
            return "found"
        same = all(ours == paper for ours, paper in known)
        return "complete" if same and not self.dataset.problems else "incomplete"


def take_stock(data: Path, *, verify: bool, progress: Progress) -> list[Holding]:
    """Read every data set that is there; nothing is downloaded.

    Args:
        data: The folder with the data sets' own folders.
        verify: Compute the SHA-256 of each archive that is there.
        progress: Called after each data set.

    Raises:
        MissingDataError: There is no such folder.
    """
    if not data.is_dir():
        raise MissingDataError(f"There is no folder {data}; give the one that holds A/, B/ and C/.")
    holdings = []
    for done, info in enumerate(DATASETS.values(), start=1):
        holdings.append(_hold(data, info, verify=verify))
        progress(f"read: {info.letter}", done, len(DATASETS))
    return holdings


def _hold(data: Path, info: DatasetInfo, *, verify: bool) -> Holding:
    dataset, trouble, folder = None, None, None
    try:
        folder = locate(data, info)
        dataset = info.load(data)
    except MissingDataError as error:
        folder, trouble = None, str(error)
    except DataError as error:
        trouble = str(error)
    archives = tuple(_archives(data, info, verify=verify))
    return Holding(info, folder, dataset, trouble, archives)


def _archives(data: Path, info: DatasetInfo, *, verify: bool) -> Iterator[Archive]:
    places = dict(_zips(data))
    for name, published in info.archives.items():
        path = next((path for path in places if PurePosixPath(path).name == name), None)
        if path is None:
            yield Archive(name, None, "not there")
        elif published is None:
            yield Archive(name, path, "present; its checksum is not published")
        elif not verify:
            yield Archive(name, path, _NOT_ASKED)
        else:
            yield Archive(name, path, _verdict(places[path], published))


def _zips(data: Path) -> Iterator[tuple[str, tuple[Path, str | None]]]:
    """Yield every zip on disk, and every zip in one of those, by its path."""
    for path in sorted(data.rglob("*.zip")):
        name = path.relative_to(data).as_posix()
        yield name, (path, None)
        try:
            with zipfile.ZipFile(path) as archive:
                inner = [member for member in archive.namelist() if member.endswith(".zip")]
        except (zipfile.BadZipFile, OSError):
            continue
        yield from ((f"{name}/{member}", (path, member)) for member in inner)


def _verdict(place: tuple[Path, str | None], published: str) -> str:
    path, member = place
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            if member is not None:
                outer = stack.enter_context(zipfile.ZipFile(stream))
                stream = stack.enter_context(outer.open(member))
            found = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # a member reads like a file
    except (zipfile.BadZipFile, OSError) as error:
        return f"NOT the published file: it cannot be read ({error})"
    if found == published:
        return "the published file: its SHA-256 agrees"
    return f"NOT the published file: its SHA-256 is {found}, and should be {published}"
