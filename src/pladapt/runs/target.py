"""A target over the stages of a run: whether it has changed, and what of it can be predicted."""

from __future__ import annotations

from itertools import tee
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa

from pladapt.data.tolerance import map_batches
from pladapt.data.views import check_unlabelled
from pladapt.errors import RunChangedError
from pladapt.predictors.prediction import predict_finite
from pladapt.runs.manifest import fingerprint
from pladapt.runs.scoring import KEYS
from pladapt.runs.usable import read_left_out, write_left_out
from pladapt.storage import is_stored, stored_rows, write_stored_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pladapt.data.tolerance import LeavingOut
    from pladapt.runs.usable import Usable
    from pladapt.types import Array, Sample, Samples
    from pladapt.typing import Predictor

R = TypeVar("R")

_TARGET: Final = pa.schema([pa.field("position", pa.int64()), *KEYS])
_READ: Final = 2**12  # rows that are Python's at once


def check_unchanged(
    target: Samples[Sample], before: Iterable[pa.Table], positions: Iterable[int]
) -> None:
    """Compare a target with what it was.

    Args:
        target: All samples.
        before: Each sample's id, group and SHA-256, of those that were used.
        positions: Where in the target each of them stands.

    Raises:
        RunChangedError: A sample is another; says which, and what differs.
    """
    for row, position in zip(_rows(before), positions, strict=False):
        now = _fingerprint(target[position])
        if now != row:
            changes = [
                f"{key} was {row[key]!r} and is {now[key]!r}" for key in row if row[key] != now[key]
            ]
            raise RunChangedError(
                f"The target's sample {position}, {row['id']!r}, has changed since the run read "
                f"it: {', '.join(changes)}. Give the same target to continue the run, or another "
                "folder to start anew."
            )


def _rows(tables: Iterable[pa.Table]) -> Iterator[dict[str, str]]:
    for table in tables:
        for rows in table.select(KEYS.names).to_batches(max_chunksize=_READ):
            yield from rows.to_pylist()


def _fingerprint(sample: Sample) -> dict[str, str]:
    check_unlabelled(sample)
    return {"id": sample.id, "group": sample.group, "sha256": fingerprint(sample.image)}


def known_target(
    target: Usable, folder: Path, check: Callable[[Iterable[pa.Table], Iterable[int]], None]
) -> Usable:
    """Make sure that a target is what a stage was made from, or store what it is.

    Args:
        target: What of it can be used.
        folder: That of the stage.
        check: As `check_unchanged`.

    Returns:
        What of it can be read.
    """
    path = folder / "target.parquet"
    if is_stored(path):
        before, again = tee(stored_rows(path, _TARGET.names))
        check(before, (place for rows in again for place in rows["position"].to_pylist()))
        return target.without(read_left_out(folder))
    leaving_out = target.leaving_out()

    def tables() -> Iterator[pa.Table]:
        yield _TARGET.empty_table()
        for start in range(0, len(target), _READ):
            part = range(start, min(start + _READ, len(target)))
            yield pa.Table.from_pylist(_readable(target, part, leaving_out), schema=_TARGET)
        write_left_out(target.table(leaving_out), folder)  # before the file below is whole

    write_stored_tables(tables(), path)
    return target.without(target.table(leaving_out))


def _readable(target: Usable, places: range, leaving_out: LeavingOut) -> list[dict[str, Any]]:
    rows = []
    for index in places:
        position = target.position(index)
        try:
            rows.append({"position": position, **_fingerprint(target[index])})
        except Exception as error:  # noqa: BLE001 - of any kind
            leaving_out.leave_out(index, f"[{position}]", error)
    return rows


def tried(
    target: Usable,
    work: Callable[[Samples[Sample]], R],
    predictors: Sequence[Predictor],
    batch_size: int,
) -> tuple[Usable, R]:
    """Do what looks at a whole target; where that fails, without what cannot be predicted.

    Args:
        target: What of it can be used.
        work: Called with the samples.
        predictors: With which it predicts.
        batch_size: How many samples are predicted at once.

    Returns:
        What of the target was used, and what the work returned.

    Raises:
        Exception: What the work raised, where every sample can be predicted.
        DataError: Too many cannot.
    """
    try:
        return target, work(target.samples)
    except Exception as error:
        if not target.tolerance.skips(error):
            raise
        left = _predictable(target, predictors, batch_size)
        if len(left) == len(target):
            raise
    return left, work(left.samples)


def _predictable(target: Usable, predictors: Sequence[Predictor], batch_size: int) -> Usable:
    """Return the samples that can be read and predicted."""

    def predicted(batch: Sequence[Sample], images: Array) -> None:
        for predictor in predictors:
            predict_finite(predictor, batch, images)

    leaving_out = target.leaving_out()
    for _ in map_batches(predicted, target, batch_size=batch_size, leaving_out=leaving_out):
        pass
    return target.without(target.table(leaving_out))
