"""One writer per sample: leases that run out, so that a closed page locks nobody out."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pladapt.errors import BusyError
from pladapt.runs.answers import file_name
from pladapt.storage import locked, read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEASE: Final = 60.0
"""The seconds for which a sample is held without a sign from its writer."""

_PATIENCE: Final = 10.0  # seconds; what is done under the lock takes milliseconds
_PAUSE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes.

    Args:
        who: The name that was given.
        session: Tells two pages of one person apart.
    """

    who: str
    session: str


@contextmanager
def held(run: Path, id_: str, writer: Writer, *, keep: bool = True) -> Iterator[None]:
    """Hold a sample for a writer inside the block, and `LEASE` seconds beyond it.

    Args:
        run: The run folder.
        id_: The sample's id.
        writer: Who writes.
        keep: Whether it is held beyond the block, where the block does not raise.

    Raises:
        BusyError: Another writer holds it; says who, and until when.
    """
    folder = run / "review" / "leases"
    with _briefly_locked(folder / f".{file_name(id_)}.lock"):
        lease = folder / f"{file_name(id_)}.json"
        _take(lease, id_, writer)
        yield
        if not keep:
            lease.unlink()


def let_go(run: Path, id_: str, writer: Writer) -> None:
    """End a writer's own lease, if there is one."""
    folder = run / "review" / "leases"
    path = folder / f"{file_name(id_)}.json"
    with _briefly_locked(folder / f".{file_name(id_)}.lock"):
        if path.exists() and _holder(path)[0] == writer:
            path.unlink()


def _take(path: Path, id_: str, writer: Writer) -> None:
    if path.exists():
        holder, until = _holder(path)
        if holder != writer and until > time.time():
            raise BusyError(
                f"{holder.who} is at {id_!r}, on another page or in another process; take another "
                f"sample, or wait {until - time.time():.0f} seconds."
            )
    until = time.time() + LEASE
    write_sealed({"who": writer.who, "session": writer.session, "until": until}, path)


def _holder(path: Path) -> tuple[Writer, float]:
    said = read_sealed(path, "lease of a reviewer", "delete it")
    return Writer(said["who"], said["session"]), said["until"]


@contextmanager
def _briefly_locked(path: Path) -> Iterator[None]:
    """Wait for a lock that nobody holds for long."""
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(path))
                break
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
        yield
