"""A table that is stored part by part as it comes, so that an interrupted pass continues."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.errors import DataError
from pladapt.storage import check_stored, read_stored_table, stored_names, write_stored_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SECONDS: Final = 10.0
"""How much work a killed pass loses at most, but for a batch."""

_BYTES: Final = 2**20  # of rows that wait in memory
_TABLES: Final = 256
_NOTE: Final = b"note"


class Parts:
    """The rows that a pass has finished, in a folder: of this process and those before it.

    Args:
        folder: Where the parts are; it is made when the first one is written.

    Raises:
        DataError: The list of parts is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = [name for name in stored_names(folder) if name.startswith("part-")]
        self._waiting: list[pa.Table] = []
        self._size = 0
        self._written = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether there are rows that are not stored yet."""
        return bool(self._waiting)

    @property
    def due(self) -> bool:
        """Whether what waits should be written now."""
        return self._size > _BYTES or time.monotonic() - self._written > SECONDS

    @property
    def schema(self) -> pa.Schema | None:
        """The columns of the rows so far, or None where there are no rows."""
        if self._waiting:
            return self._waiting[0].schema
        return next((table.schema for table in self.tables()), None)

    def add(self, rows: pa.Table) -> None:
        """Take rows, which wait in memory."""
        self._waiting.append(rows)
        self._size += rows.nbytes
        if len(self._waiting) > _TABLES:  # small tables take far more memory than their rows
            self._waiting = [pa.concat_tables(self._waiting).combine_chunks()]

    def write(self, note: Any = None) -> None:
        """Store the rows that wait as a part.

        Args:
            note: What is to be known of the part beside its rows, such as where the next begins;
                JSON-able.
        """
        rows = pa.concat_tables(self._waiting).combine_chunks() if self._waiting else pa.table({})
        noted = rows.replace_schema_metadata({_NOTE: json.dumps(note)})
        name = f"part-{len(self._names):08}.parquet"
        write_stored_table(noted, self._folder / name)
        self._names.append(name)
        self._waiting, self._size, self._written = [], 0, time.monotonic()

    def notes(self) -> list[Any]:
        """Return what was noted of each part, in order.

        Raises:
            DataError: A part is damaged.
        """
        return [self._note(self._folder / name) for name in self._names]

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of each stored part that has any, in order.

        Args:
            columns: Which columns; all of them by default.

        Raises:
            DataError: A part is damaged.
        """
        for name in self._names:
            table = read_stored_table(self._folder / name, columns)
            if table.num_rows:
                yield table.replace_schema_metadata()

    def take(self, others: Parts, done: int) -> int:
        """Store what another pass over the same samples has stored, beyond what is here.

        Args:
            others: Its parts; each notes as ``next`` where the one after it begins.
            done: Where this one would go on.

        Returns:
            Where this one goes on now.
        """
        for name in others._names:
            path = others._folder / name
            note = self._note(path)
            if note["next"] > done:
                rows = read_stored_table(path).replace_schema_metadata()
                if rows.num_rows:
                    self.add(rows)
                self.write(note)
                done = note["next"]
        return done

    def remove(self) -> None:
        """Remove all parts, which are no longer needed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _note(self, path: Path) -> Any:
        check_stored(path)
        try:
            return json.loads(pq.read_schema(path).metadata[_NOTE])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no part of an unfinished pass ({error!r}); delete {self._folder}, and "
                "run the same again."
            ) from error
