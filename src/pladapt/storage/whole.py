"""Files that are whole or not there, and one writer at a time."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pladapt.errors import BusyError, DiskFullError, PladaptError

try:
    import fcntl
except ModuleNotFoundError:  # Windows: files are as safe, but nothing keeps two writers apart
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

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
