"""Pseudo-labels on disk, each compressed on its own, and read as they are needed."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pladapt.errors import DataError
from pladapt.storage import check_stored, parquet_errors, stored_file
from pladapt.types import PseudoLabelled, Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import Sample

SOFT: Final = ("probabilities", "weight")
"""What a label may have beside itself."""

_HARD: Final = pa.schema(
    [("id", pa.string()), ("shape", pa.list_(pa.int64())), ("label", pa.binary())]
)
_GROUP: Final = 2**16  # bytes of rows that are read at once
_ROW: Final = 100  # bytes of a row beside its labels, about
_KEPT: Final = 64  # groups in memory


def packed_labels(labels: Iterable[tuple[str, Mapping[str, NDArray[Any]]]]) -> pa.Table:
    """Return pseudo-labels by id as a table, each compressed on its own.

    Args:
        labels: For each id the ``label`` ``(*S)`` uint8; and for all or none ``probabilities``
            ``(K, *S)``, ``weight`` ``(*S)``, or both, in [0, 1]. They are stored as uint8 in steps
            of 1/255, so that one read back is off by 1/510 at most.
    """
    rows: list[dict[str, Any]] = [
        {
            "id": id_,
            "shape": list(arrays["label"].shape),
            **{name: _packed(array) for name, array in arrays.items()},
        }
        for id_, arrays in labels
    ]
    soft = [(name, pa.binary()) for name in SOFT if rows and name in rows[0]]
    return pa.Table.from_pylist(rows, schema=pa.schema([*_HARD, *soft]))


def _packed(array: NDArray[Any]) -> bytes:
    levels = array if array.dtype == np.uint8 else np.rint(255 * array).astype(np.uint8)
    packed: bytes = pa.compress(np.ascontiguousarray(levels).tobytes(), "zstd", asbytes=True)
    return packed


def write_labels(tables: Iterable[pa.Table], path: Path) -> None:
    """Write what `packed_labels` returned, table by table, in groups that can be read alone.

    The file does not depend on how the rows are spread over the tables.
    """
    tables = iter(tables)
    first = next(tables, _HARD.empty_table())
    with (
        stored_file(path) as temporary,
        pq.ParquetWriter(temporary, first.schema, compression="zstd", use_dictionary=False) as out,
    ):
        for group in _groups(first, tables):
            out.write_table(group, row_group_size=max(1, len(group)))


def _groups(first: pa.Table, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in groups of about as many bytes."""
    waiting: list[pa.Table] = []
    size = 0
    for table in chain([first], tables):
        start = 0
        for row, bytes_ in enumerate(_sizes(table), start=1):
            size += bytes_
            if size >= _GROUP:
                yield pa.concat_tables([*waiting, table.slice(start, row - start)]).combine_chunks()
                waiting, size, start = [], 0, row
        waiting.append(table.slice(start))
    if any(len(rows) for rows in waiting):
        yield pa.concat_tables(waiting).combine_chunks()


def _sizes(table: pa.Table) -> list[int]:
    """Return how many bytes each row has, about."""
    names = [name for name in ("label", *SOFT) if name in table.column_names]
    each = [pc.binary_length(table[name]).to_numpy() for name in names]
    return [int(size) + _ROW for size in np.sum(each, axis=0)]


class PseudoLabels(Samples[PseudoLabelled]):
    """The kept target samples with their stored labels, the surest first; all is read lazily.

    Args:
        target: All target samples.
        positions: ``(N,)``, where in ``target`` each kept sample stands.
        scores: ``(N,)``, the kept samples' scores.
        path: What `write_labels` wrote for all samples of the target, in their order.

    Raises:
        DataError: The file is damaged, or has labels of another number of samples.
    """

    def __init__(
        self,
        target: Samples[Sample],
        positions: NDArray[np.int64],
        scores: NDArray[np.float64],
        path: Path,
    ) -> None:
        self._target, self._positions, self._scores = target, positions, scores
        self._labels = StoredLabels(path)
        if len(self._labels) != len(target):
            raise DataError(
                f"{path} has labels of {len(self._labels)} samples, and the target has "
                f"{len(target)}; delete it and run again to make it anew."
            )

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> PseudoLabelled:
        place = int(self._positions[index])
        sample = self._target[place]
        id_, arrays = self._labels[place]
        if id_ != sample.id:
            raise DataError(
                f"The label of sample {place} is of {id_!r}, and the target's is {sample.id!r}; "
                f"delete {self._labels.path}, and run the same again to make it anew."
            )
        return PseudoLabelled(
            sample.id, sample.group, sample.image, score=float(self._scores[index]), **arrays
        )


class StoredLabels:
    """What `write_labels` wrote: each id with its ``label``, and what belongs to it.

    Args:
        path: The file, whose SHA-256 is checked once.

    Raises:
        MissingDataError: It is not there.
        DataError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        check_stored(path)
        self.path = path
        with parquet_errors(path):
            found = self._file.metadata
            groups = [found.row_group(number) for number in range(found.num_row_groups)]
            self._starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self._read: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int, /) -> tuple[str, dict[str, NDArray[Any]]]:
        group = int(np.searchsorted(self._starts, range(len(self))[index], side="right")) - 1
        table, row = self._group(group), index - int(self._starts[group])
        shape = table["shape"][row].as_py()
        arrays: dict[str, NDArray[Any]] = {
            name: self._unpacked(table, name, row).reshape(given) / np.float32(255)
            for name, given in (("probabilities", [-1, *shape]), ("weight", shape))
            if name in table.column_names
        }
        arrays["label"] = self._unpacked(table, "label", row).reshape(shape).copy()
        return table["id"][row].as_py(), arrays

    def __getstate__(self) -> dict[str, Any]:
        held = {name: value for name, value in self.__dict__.items() if name != "_file"}
        return {**held, "_read": {}}  # a worker reads what it needs itself

    @cached_property
    def _file(self) -> pq.ParquetFile:
        """The file, open: to open it takes longer than to read a group."""
        return pq.ParquetFile(self.path)

    def _group(self, number: int) -> pa.Table:
        table = self._read.pop(number, None)
        if table is None:
            with parquet_errors(self.path):
                table = self._file.read_row_group(number, use_threads=False)
        self._read[number] = table  # the last one used is the last one forgotten
        if len(self._read) > _KEPT:
            del self._read[next(iter(self._read))]
        return table

    def _unpacked(self, table: pa.Table, name: str, row: int) -> NDArray[np.uint8]:
        packed = pa.BufferReader(table[name][row].as_buffer())
        with parquet_errors(self.path):
            return np.frombuffer(pa.CompressedInputStream(packed, "zstd").read(), np.uint8)
