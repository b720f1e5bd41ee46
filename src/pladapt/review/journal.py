"""Strokes: what a person drew, kept as it is drawn."""

from __future__ import annotations

import json
import os
import re
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pladapt.errors import DataError, InputError
from pladapt.runs.answers import file_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_LARGEST: Final = 255
_KEY: Final = re.compile(r"[\w.-]{1,64}")


class Stroke(NamedTuple):
    """Values that a person gave to some pixels, with whatever tool.

    Args:
        key: Tells it from others: the same stroke sent twice counts once.
        runs: ``(first, length, value)`` of each run of pixels, in the flattened mask.
        undone: The key of the stroke that this one takes back; then there are no runs.
    """

    key: str
    runs: tuple[tuple[int, int, int], ...] = ()
    undone: str | None = None

    def check(self, size: int) -> None:
        """Make sure that it fits a mask of so many pixels.

        Raises:
            InputError: It does not; says why.
        """
        if not _KEY.fullmatch(self.key):
            raise InputError(f"A stroke has the key {self.key!r}; expected up to 64 letters.")
        for first, length, value in self.runs:
            if not (0 <= first < first + length <= size and 0 <= value <= _LARGEST):
                raise InputError(
                    f"A stroke gives {length} pixels from {first} the value {value}; expected "
                    f"pixels of 0 to {size - 1} and values of 0 to {_LARGEST}."
                )


class Journal:
    """A sample's strokes, appended as they come and on the disk before the next.

    A line that was being written when the process was killed is dropped; every other is kept.

    Args:
        run: The run folder.
        id_: The sample's id.
    """

    def __init__(self, run: Path, id_: str) -> None:
        self.path = run / "review" / "journal" / f"{file_name(id_)}.jsonl"

    def strokes(self) -> list[Stroke]:
        """Return the strokes that stand, in order.

        Raises:
            DataError: A line but the last is damaged.
        """
        standing: dict[str, Stroke] = {}
        for stroke in self._read():
            if stroke.undone is None:
                standing.setdefault(stroke.key, stroke)
            else:
                standing.pop(stroke.undone, None)
        return list(standing.values())

    def keys(self) -> set[str]:
        """Return the keys of every stroke, those taken back among them."""
        return {stroke.key for stroke in self._read()}

    def append(self, stroke: Stroke, who: str) -> None:
        """Write a stroke; when this returns it is on the disk."""
        said = json.dumps({**stroke._asdict(), "who": who}, separators=(",", ":")).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = b"".join(line for line, _ in self._lines())
        with self.path.open("ab") as file:
            file.truncate(len(whole))
            file.write(b"%08x %s\n" % (zlib.crc32(said), said))
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[Stroke]:
        return [_stroke(said) for _, said in self._lines()]

    def _lines(self) -> list[tuple[bytes, Any]]:
        """Return each whole line, as it is and as what it says."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().splitlines(keepends=True)
        found = []
        for number, line in enumerate(lines, start=1):
            sum_, _, said = line.rstrip(b"\n").partition(b" ")
            if line.endswith(b"\n") and sum_ == b"%08x" % zlib.crc32(said):
                found.append((line, json.loads(said)))
            elif number < len(lines):
                raise DataError(
                    f"{self.path}, line {number}, is damaged; delete the file and draw again. "
                    "Nothing else is lost."
                )
        return found


def _stroke(said: dict[str, Any]) -> Stroke:
    runs = tuple((first, length, value) for first, length, value in said["runs"])
    return Stroke(said["key"], runs, said["undone"])


def drawn(mask: NDArray[np.uint8], strokes: Iterable[Stroke]) -> NDArray[np.uint8]:
    """Return a copy of a mask with strokes drawn on it."""
    flat = mask.flatten()
    for stroke in strokes:
        for first, length, value in stroke.runs:
            flat[first : first + length] = value
    return flat.reshape(mask.shape)


def runs_between(
    before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> tuple[tuple[int, int, int], ...]:
    """Return the runs of a stroke that makes one mask of another of its shape."""
    old, new = before.ravel(), after.ravel()
    changed = np.flatnonzero(old != new)
    breaks = np.flatnonzero((np.diff(changed) != 1) | (np.diff(new[changed]) != 0)) + 1
    parts = np.split(changed, breaks) if changed.size else []
    return tuple((int(part[0]), len(part), int(new[part[0]])) for part in parts)
