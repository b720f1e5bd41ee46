"""The samples of a target that can be used, and those that are left out with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.tolerance import LeavingOut, LeftOut
from pladapt.data.views import check_unlabelled
from pladapt.storage import is_stored, read_stored_table, write_stored_table
from pladapt.types import Sample, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.data.tolerance import Tolerance

LEFT_OUT_FILE: Final = "left-out.parquet"
"""The file of what is left out, where something is."""

LEFT_OUT: Final = pa.schema(
    [("position", pa.int64()), ("id", pa.string()), ("reason", pa.string())]
)
"""The columns of what is left out: where in the target it stands from 0, its id, and why."""


class Usable(Samples[Sample]):
    """A view of the samples of a target that can be used, as far as is known.

    Args:
        target: All samples.
        tolerance: How many may be left out.
        left_out: Those that are; see `LEFT_OUT`.
    """

    def __init__(
        self, target: Samples[Sample], tolerance: Tolerance, left_out: pa.Table | None = None
    ) -> None:
        self.target, self.tolerance = target, tolerance
        self.left_out = LEFT_OUT.empty_table() if left_out is None else left_out
        self._places: NDArray[np.int64] | None = None
        if len(self.left_out):
            self._places = np.delete(np.arange(len(target)), self.left_out["position"].to_numpy())

    def __len__(self) -> int:
        return len(self.target) - len(self.left_out)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.target[self.position(range(len(self))[index])]
        check_unlabelled(sample)
        return sample

    @property
    def samples(self) -> Samples[Sample]:
        """The same; where nothing is left out, the target itself."""
        return self if len(self.left_out) else self.target

    def position(self, index: int) -> int:
        """Return where in the target a sample of this view stands."""
        return index if self._places is None else int(self._places[index])

    def leaving_out(self, found: Sequence[LeftOut] = ()) -> LeavingOut:
        """Return what leaves out more of these samples, after some that were found already."""
        rows = self.left_out.to_pylist()
        before = [LeftOut(-1 - at, row["id"], row["reason"]) for at, row in enumerate(rows)]
        return LeavingOut(self.tolerance, len(self.target), [*before, *found])

    def table(self, leaving_out: LeavingOut) -> pa.Table:
        """Return what was found beyond what this view is without; see `LEFT_OUT`."""
        found = sorted(leaving_out.found[len(self.left_out) :])
        rows = [{**each._asdict(), "position": self.position(each.position)} for each in found]
        return pa.Table.from_pylist(rows, schema=LEFT_OUT)

    def without(self, found: pa.Table) -> Usable:
        """Return the view without some more."""
        if not len(found):
            return self
        together = pa.concat_tables([self.left_out, found]).sort_by("position")
        return Usable(self.target, self.tolerance, together)

    def since(self, before: Usable) -> pa.Table:
        """Return what is left out here and was not before; see `LEFT_OUT`."""
        known = pc.is_in(self.left_out["position"], value_set=before.left_out["position"])
        return self.left_out.filter(pc.invert(known))


def write_left_out(found: pa.Table, folder: Path) -> None:
    """Write what was found that cannot be used; where nothing was, there is no file."""
    if len(found) and not read_left_out(folder).equals(found):
        write_stored_table(found, folder / LEFT_OUT_FILE)


def read_left_out(folder: Path) -> pa.Table:
    """Read what `write_left_out` wrote.

    Raises:
        DataError: It is damaged.
    """
    path = folder / LEFT_OUT_FILE
    return read_stored_table(path) if is_stored(path) else LEFT_OUT.empty_table()
