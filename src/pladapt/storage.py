"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a place to write a file or folder to, and rename it to ``path`` once it is whole.

    Where the block raises, what it wrote is removed, and what was at ``path`` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    _remove(temporary)
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        raise
    os.replace(temporary, path)  # noqa: PTH105 - Path.replace cannot tell a folder from a file either


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole or not at all."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a table.

    Raises:
        DataError: The file is not a whole parquet file.
    """
    with parquet_errors(path):
        return pq.read_table(path, memory_map=False, partitioning=None)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Name the file that is read inside and is no whole parquet file.

    Raises:
        DataError: It is not.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no whole parquet file ({error}); delete it and run again."
        ) from error


def to_json(value: object) -> str:
    """Return a value as JSON with sorted keys and a final newline."""
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
