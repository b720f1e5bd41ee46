"""Files of scores that were made part by part, put together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.files.scoring import write_scores
from pladapt.selection.recorded import METADATA
from pladapt.storage import parquet_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

_PART = "part"


def merge_files(parts: Sequence[Path], output: Path) -> int:
    """Write the file of scores that one call would have written, from those of its parts.

    Args:
        parts: What `score_files` wrote with ``part=(1, n)`` to ``part=(n, n)``, in any order.
        output: The parquet file to write.

    Returns:
        How many rows it has.

    Raises:
        MissingDataError: There is no such file.
        DataError: One is no file of scores of a part, or the parts' columns differ, as where the
            predictions of one have other classes.
        InputError: A part is missing or there twice, or they are not parts of the same.
    """
    if twice := [path for path in parts if parts.count(path) > 1]:
        raise InputError(f"{twice[0]} is given twice; give each part once.")
    found = {path: _told(path) for path in parts}
    numbers = {path: tuple(told.pop(_PART)) for path, told in found.items()}
    _check_complete(numbers)
    ordered = sorted(found, key=numbers.__getitem__)
    for path in ordered[1:]:
        _check_same(ordered[0], path, found[ordered[0]], found[path])
    schemas = [pq.read_schema(path).remove_metadata() for path in ordered]
    known = [schema for schema in schemas if schema.names]
    for path, schema in zip(ordered, schemas, strict=True):
        if schema.names and schema != known[0]:
            raise DataError(
                f"{path} has the columns {schema.names}, and another part {known[0].names}; "
                "predictions must have the same classes."
            )
    if not known:
        raise DataError("No part has a row: nothing could be used.")
    told = json.dumps(found[ordered[0]], sort_keys=True)
    return write_scores(_tables(ordered), output, known[0].with_metadata({METADATA: told}))


def _told(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingDataError(f"There is no file of scores {path}; `pladapt score` writes one.")
    with parquet_errors(path):
        metadata = pq.read_schema(path).metadata or {}
    try:
        told: dict[str, Any] = json.loads(metadata[METADATA])
        number, count = told.get(_PART, (1, 1))  # all of it in one piece
        told[_PART] = int(number), int(count)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no file of scores; give what `pladapt score --part` wrote."
        ) from error
    return told


def _check_complete(numbers: Mapping[Path, tuple[int, int]]) -> None:
    given = sorted(numbers.values())
    counts = {count for _, count in given}
    expected = [(number, max(counts)) for number in range(1, max(counts) + 1)]
    if given != expected:
        said = ", ".join(f"{number}/{count}" for number, count in given)
        raise InputError(f"The parts are {said}; give each of 1/n to n/n once.")


def _check_same(one: Path, other: Path, first: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    different = [key for key in {*first, *told} if first.get(key) != told.get(key)]
    if different:
        raise InputError(
            f"{other} was made with other inputs or parameters than {one}: "
            f"{', '.join(sorted(different))}. Give parts of the same."
        )


def _tables(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the rows, a row group at a time."""
    for path in parts:
        with parquet_errors(path), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, use_threads=False)
                if rows.num_rows:
                    yield rows.replace_schema_metadata()
