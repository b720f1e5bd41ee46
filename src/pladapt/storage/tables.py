"""Tables as parquet files, whole or row group by row group."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.errors import DataError, PladaptError
from pladapt.storage.stored import check_stored, stored_file
from pladapt.storage.whole import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_ROWS: Final = 2**12  # in a row group
_PARQUET: Final = {"compression": "zstd", "write_page_checksum": True}


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole or not at all, with a checksum of each page."""
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_ROWS, **_PARQUET)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or those of some columns that it has.

    Raises:
        DataError: The file is not a whole parquet file.
    """
    with parquet_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        known = file.schema_arrow.names
        names = None if columns is None else [name for name in columns if name in known]
        return file.read(names, use_threads=False)  # each thread would keep memory of its own


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


def write_tables(tables: Iterable[pa.Table], path: Path, schema: pa.Schema) -> int:
    """Write the rows of tables that come one by one; return how many there are.

    The file does not depend on how the rows are spread over the tables.

    Args:
        tables: What is written; a row group at a time is in memory.
        path: The file, which is not whole until this ends.
        schema: Their columns, and what else the file says of them.
    """
    count = 0
    with pq.ParquetWriter(path, schema, **_PARQUET) as writer:
        for rows in blocks(tables, _ROWS):
            writer.write_table(rows.cast(schema), row_group_size=_ROWS)
            count += len(rows)
    return count


def blocks(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows of tables in blocks of ``rows`` of them, but for the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows).combine_chunks()
            waiting = [joined.slice(rows)]
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting).combine_chunks()


def write_stored_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, with its SHA-256."""
    with stored_file(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_ROWS, **_PARQUET)


def write_stored_tables(tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables of the same columns as `write_tables` does, with the file's SHA-256."""
    tables = iter(tables)
    first = next(tables, pa.table({}))
    with stored_file(path) as temporary:
        write_tables(chain([first], tables), temporary, first.schema)


def read_stored_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read what `write_stored_table` wrote.

    Raises:
        MissingDataError: There is no such file, or it was never finished.
        DataError: It is damaged.
    """
    check_stored(path)
    return read_table(path, columns)


def stored_columns(path: Path) -> pa.Schema:
    """Return the columns of what `write_stored_table` wrote, of which no row is read."""
    check_stored(path)
    with parquet_errors(path):
        return pq.read_schema(path)


def stored_rows(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns of what `write_stored_table` wrote, a row group at a time.

    The file is checked at once, whether its rows are asked for or not.

    Raises:
        MissingDataError: There is no such file, or it was never finished.
        DataError: It is damaged.
    """
    check_stored(path)
    return _row_groups(path, columns)


def _row_groups(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    with parquet_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, columns, use_threads=False)
