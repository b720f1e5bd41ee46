"""What people said of a run's masks: a file for each sample, whole or not there."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.storage import read_sealed, write_sealed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Decision: TypeAlias = Literal["accepted", "corrected", "rejected"]
"""What a person said of a mask."""

DECISIONS: Final = ("accepted", "corrected", "rejected")
"""The same, to be gone through."""

REVIEWED: Final = pa.schema(
    [
        ("id", pa.string()),
        ("decision", pa.string()),
        ("who", pa.string()),
        ("at", pa.string()),
        ("seconds", pa.float64()),
        ("shape", pa.list_(pa.int64())),
        ("mask", pa.binary()),
    ]
)
"""The columns of the answers that a round was taught with."""

_FOLDER: Final = "review/answers"
_NAME: Final = 32  # characters of the SHA-256 of an id


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """What a person said of one sample.

    Args:
        id: The sample's.
        decision: ``accepted``: the mask is right; ``corrected``: it is now; ``rejected``: the
            sample must not teach.
        who: The name that was given.
        at: When, in UTC, as ISO 8601.
        seconds: How long it took.
        mask: ``(*S)`` uint8, what is right: 0 the background, then one value per class, and
            `pladapt.IGNORE` where nothing is said. None where it was rejected.

    Raises:
        InputError: There is no such decision, or a mask is missing or too much.
    """

    id: str
    decision: Decision
    who: str
    at: str
    seconds: float
    mask: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise InputError(f"The decision is {self.decision!r}; expected one of {DECISIONS}.")
        if (self.mask is None) != (self.decision == "rejected"):
            raise InputError(
                f"{self.id!r} is {self.decision} {'without' if self.mask is None else 'with'} a "
                "mask; what is accepted or corrected has one, and what is rejected none."
            )


def write_answer(answer: Answer, run: Path) -> None:
    """Write an answer into a run's folder, over the one before it."""
    row = _row(answer)
    row["mask"] = None if row["mask"] is None else base64.b64encode(row["mask"]).decode("ascii")
    write_sealed({"answer": row}, _path(run, answer.id))


def remove_answer(run: Path, id_: str) -> None:
    """Take an answer back, if there is one."""
    _path(run, id_).unlink(missing_ok=True)


def read_answer(run: Path, id_: str) -> Answer | None:
    """Read what was said of a sample, or return None.

    Raises:
        DataError: The file is damaged; says which, and what to delete.
    """
    path = _path(run, id_)
    return _read(path) if path.exists() else None


def read_answers(run: Path) -> dict[str, Answer]:
    """Read every answer in a run's folder, by the sample's id, in the order of the ids.

    Raises:
        DataError: A file is damaged; says which, and what to delete.
    """
    found = [_read(path) for path in (run / _FOLDER).glob("[!.]*.json")]
    return {answer.id: answer for answer in sorted(found, key=lambda each: each.id)}


def answers_table(answers: Mapping[str, Answer]) -> pa.Table:
    """Return answers as a table; see `REVIEWED`."""
    return pa.Table.from_pylist([_row(each) for each in answers.values()], REVIEWED)


def answers_of(table: pa.Table) -> dict[str, Answer]:
    """Return what `answers_table` made a table of."""
    return {row["id"]: _answer(row) for row in table.to_pylist()}


def _path(run: Path, id_: str) -> Path:
    return run / _FOLDER / f"{file_name(id_)}.json"


def file_name(id_: str) -> str:
    """Return the name of a sample's file: an id may hold what a file's name must not."""
    return hashlib.sha256(id_.encode()).hexdigest()[:_NAME]


def _read(path: Path) -> Answer:
    remedy = "delete it, and review this sample again; nothing else is lost"
    row = read_sealed(path, "answer of a reviewer", remedy)["answer"]
    packed = None if row["mask"] is None else base64.b64decode(row["mask"])
    return _answer({**row, "mask": packed})


def _row(answer: Answer) -> dict[str, Any]:
    said = {name: getattr(answer, name) for name in ("id", "decision", "who", "at", "seconds")}
    if answer.mask is None:
        return {**said, "shape": None, "mask": None}
    packed = pa.compress(np.ascontiguousarray(answer.mask).tobytes(), "zstd", asbytes=True)
    return {**said, "shape": list(answer.mask.shape), "mask": packed}


def _answer(row: dict[str, Any]) -> Answer:
    said = {name: value for name, value in row.items() if name not in ("shape", "mask")}
    if row["mask"] is None:
        return Answer(**said)
    packed = pa.CompressedInputStream(pa.BufferReader(row["mask"]), "zstd").read()
    return Answer(**said, mask=np.frombuffer(packed, np.uint8).reshape(row["shape"]).copy())
