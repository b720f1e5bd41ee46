"""Saved files: whole or not there, one writer at a time, and checked when they are read.

Every file is written under a temporary name, flushed to the disk and renamed into place. What a
run needs again, a *stored* file or folder, also has its SHA-256 in the ``digests.json`` beside it;
what is not named there was never finished, and what differs from it is damaged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.errors import (
    BusyError,
    DataError,
    DiskFullError,
    InputError,
    MissingDataError,
    PladaptError,
)

try:
    import fcntl
except ModuleNotFoundError:  # Windows: files are as safe, but nothing keeps two writers apart
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

FORMAT: Final = 2
"""The version of everything that is stored; another one is refused."""

_PARQUET: Final = {"compression": "zstd", "row_group_size": 2**14, "write_page_checksum": True}

_DIGESTS: Final = "digests.json"
READ_ONLY: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
"""The errors of a place where nothing can be written."""

_FULL: Final = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The quota of the disk is used up",
    errno.EFBIG: "A file may not be as large",
}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a place to write a file or folder to, and rename it to ``path`` once it is whole.

    Where the block raises, what it wrote is removed, and what was at ``path`` stays. It is on the
    disk, and not only on its way there, when the block ends.

    Raises:
        DiskFullError: There is no room for it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    with _disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            _replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        _flush_entry(path.parent)


@contextmanager
def _disk_full(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, PladaptError):
            raise
        full = DiskFullError(
            f"{_FULL[error.errno]}: {path} could not be written. Nothing that was finished is "
            "lost; make room, and run the same again to continue."
        )
        full.errno = error.errno
        raise full from error


def _flush(path: Path) -> None:
    """Have a file, or a folder with all that is in it, written to the disk."""
    if path.is_dir():
        for inside in path.iterdir():
            _flush(inside)
        _flush_entry(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_entry(folder: Path) -> None:
    """Have the names in a folder written to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    if path.is_dir():  # only an empty folder can be renamed over
        old = temporary.with_name(f"{temporary.name.removesuffix('.partial')}.old.partial")
        os.replace(path, old)  # noqa: PTH105 - Path.replace cannot tell a folder from a file either
        os.replace(temporary, path)  # noqa: PTH105 - the same
        _remove(old)
    else:
        os.replace(temporary, path)  # noqa: PTH105 - the same


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left below a folder.

    Only its one writer may: see `locked`.
    """
    for path in sorted(folder.rglob(".*.partial")):
        _remove(path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole or not at all, with a checksum of each page."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, **_PARQUET)


def to_json(value: object) -> str:
    """Return a value as JSON with sorted keys and a final newline."""
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or those of some columns that it has.

    Raises:
        DataError: The file is not a whole parquet file.
    """
    with parquet_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        known = file.schema_arrow.names
        return file.read(None if columns is None else [n for n in columns if n in known])


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Name the file that is read inside and is no whole parquet file.

    Raises:
        DataError: It is not.
    """
    try:
        yield
    except (PladaptError, FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no whole parquet file ({error}); delete it and run again."
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingDataError: There is no such file.
        DataError: It is not JSON, or nested too deep to be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingDataError(f"There is no file {path}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no whole JSON file ({error}); write it anew.") from error


# Stored files, which are checked


@contextmanager
def stored_file(path: Path) -> Iterator[Path]:
    """Write a file as by `atomic_write`, and note its SHA-256 in the ``digests.json`` beside it."""
    with atomic_write(path) as temporary:
        yield temporary
        digest = _sha256(temporary)
    _write_digests(path.parent, {**(_digests(path.parent) or {}), path.name: digest})


@contextmanager
def stored_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` once it is whole, with its ``digests.json``.

    Raises:
        InputError: ``path`` has something that was not stored in this way.
    """
    if path.exists() and not (path.is_dir() and (is_stored(path) or not any(path.iterdir()))):
        raise InputError(f"{path} is there already and holds something else; give another folder.")
    with atomic_write(path) as temporary:
        temporary.mkdir()
        yield temporary
        files = sorted(found for found in temporary.rglob("*") if found.is_file())
        names = {found.relative_to(temporary).as_posix(): _sha256(found) for found in files}
        _write_digests(temporary, names)


def is_stored(path: Path) -> bool:
    """Return whether a stored file or folder is there and was finished.

    Raises:
        DataError: The ``digests.json`` that would say so is damaged, or of another version.
    """
    if path.is_dir():
        return _digests(path) is not None
    return path.exists() and path.name in (_digests(path.parent) or {})


def stored_names(folder: Path) -> list[str]:
    """Return the names of the files that were stored in a folder, sorted."""
    return sorted(_digests(folder) or {})


def check_stored(path: Path) -> None:
    """Make sure that a stored file, or all files of a stored folder, are as they were written.

    Raises:
        MissingDataError: There is no such file or folder, or it was never finished.
        DataError: It is damaged.
    """
    if not is_stored(path):
        raise MissingDataError(
            f"There is no {path}, or it was never finished; continue the run, or give the command, "
            "that writes it."
        )
    folder = path if path.is_dir() else path.parent
    digests = _digests(folder) or {}
    for name in digests if path.is_dir() else [path.name]:
        file = folder / name
        if not file.is_file() or _sha256(file) != digests[name]:
            what = "is not what was written" if file.is_file() else "is missing"
            raise DataError(
                f"{file} {what}: it is damaged. Delete {path}, and run the same again to make it "
                "anew; nothing else is lost."
            )


def write_stored_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, with its SHA-256."""
    with stored_file(path) as temporary:
        pq.write_table(table, temporary, **_PARQUET)


def read_stored_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read what `write_stored_table` wrote.

    Raises:
        MissingDataError: There is no such file, or it was never finished.
        DataError: It is damaged.
    """
    check_stored(path)
    return read_table(path, columns)


def write_sealed(value: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object with the version of the format and a SHA-256 of the whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(_sealed(value), encoding="utf-8")


def _sealed(value: Mapping[str, Any]) -> str:
    said = {**value, "format": FORMAT}
    return to_json({**said, "sha256": hashlib.sha256(to_json(said).encode()).hexdigest()})


def read_sealed(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Args:
        path: The file.
        what: What it is, such as "manifest of a run", for the error.
        remedy: What to do where it is none.

    Raises:
        DataError: It is damaged, or of another version.
    """
    try:
        text = path.read_bytes().decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no {what} ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is no {what}; {remedy}.")
    if (version := value.get("format")) != FORMAT:
        age = "a newer" if isinstance(version, int) and version > FORMAT else "an older or no"
        raise DataError(
            f"{path} is of {age} version of pladapt's files ({version!r}; {FORMAT} is read here). "
            f"Use the pladapt that wrote it, or {remedy}."
        )
    said = {key: item for key, item in value.items() if key not in ("format", "sha256")}
    if text != _sealed(said):
        raise DataError(f"{path} is no {what} as it was written: it is damaged; {remedy}.")
    return said


def _digests(folder: Path) -> dict[str, str] | None:
    path = folder / _DIGESTS
    if not path.exists():
        return None
    remedy = f"delete {folder} and run the same again to make it anew"
    files: dict[str, str] = read_sealed(path, "list of SHA-256s", remedy)["files"]
    return files


def _write_digests(folder: Path, files: Mapping[str, str]) -> None:
    write_sealed({"files": files}, folder / _DIGESTS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# One writer


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file inside the block; it is let go even where the process is killed.

    Where nothing can be written, as in a read-only folder, there is nothing to lock either.

    Raises:
        BusyError: Another process holds it; says which.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _lock(path)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        yield
        return
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            _take(file, path)
            # the holder before may have removed the file between opening and locking it
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _take(file: IO[str], path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        what = path.parent / path.name.removesuffix(".lock").removeprefix(".")
        raise BusyError(
            f"{what} is being written by {file.read() or 'another process'}; wait until it has "
            f"ended, or give another place. (It holds {path}.)"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            raise  # a file system without locks: as on Windows
