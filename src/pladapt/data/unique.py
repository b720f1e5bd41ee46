"""Whether an id stands twice, in little memory however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_ROWS: Final = 2**14  # that are Python's at once


class SeenIds:
    """The ids so far, of each of which 8 bytes are held: those that Python hashes it to."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.int64)

    def add(self, ids: Iterable[str]) -> bool:
        """Add ids, and return whether one may stand twice; whether it does, `repeated` tells."""
        new = np.fromiter(map(hash, ids), np.int64)
        # what is sorted already takes a stable sort no time
        self._sorted = np.sort(np.concatenate([self._sorted, np.sort(new)]), kind="stable")
        return bool((self._sorted[1:] == self._sorted[:-1]).any())


def repeated(ids: pa.ChunkedArray) -> str | None:
    """Return an id that stands twice, or None.

    Args:
        ids: Strings.
    """
    seen = SeenIds()
    each = (id_ for at in range(0, len(ids), _ROWS) for id_ in ids.slice(at, _ROWS).to_pylist())
    if not seen.add(each):
        return None
    counted = ids.value_counts()
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    found: str | None = twice[0].as_py() if len(twice) else None
    return found
