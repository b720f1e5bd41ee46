"""The pass over the target that scores and labels every sample, and can be interrupted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pladapt.data.tolerance import LeftOut, map_batches
from pladapt.data.unique import SeenIds, repeated
from pladapt.errors import InputError
from pladapt.predictors.prediction import predict
from pladapt.runs.labels import packed_labels, write_labels
from pladapt.runs.manifest import fingerprint
from pladapt.runs.parts import Parts
from pladapt.runs.usable import write_left_out
from pladapt.selection.labelling import pseudo_labels
from pladapt.selection.scoring import score
from pladapt.storage import write_stored_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pladapt.runs.usable import Usable
    from pladapt.types import Array, Progress, Sample
    from pladapt.typing import Predictor, Selector

KEYS: Final = pa.schema({name: pa.string() for name in ("id", "group", "sha256")})
"""What says of each row which sample it is of, and whether that is still the same."""

_LABEL: Final = "label:"  # before the names of a label's columns, which a score might share


def score_and_label(
    predictor: Predictor,
    target: Usable,
    selector: Selector,
    folder: Path,
    *,
    scores: Path,
    labels: Path,
    batch_size: int,
    check: Callable[[Iterable[pa.Table], Iterable[int]], None],
    progress: Progress,
) -> pa.Table:
    """Score and label every sample, from where an earlier call was interrupted.

    Args:
        predictor: Predicts.
        target: What is scored.
        selector: Scores and labels.
        folder: Keeps what is finished, part by part; to be removed once the scores are stored.
        scores: The file of scores to write: a row per sample, ``id``, ``group``, ``sha256`` and the
            selector's columns.
        labels: The file of labels to write, before the scores.
        batch_size: How many samples are predicted at once.
        check: Called with the ids, groups and SHA-256s of what an earlier call has finished, and
            where these samples stand in the whole target.
        progress: Called as samples are finished.

    Returns:
        What cannot be used, and has no row, as ``pladapt.runs.usable.LEFT_OUT`` says.

    Raises:
        InputError: A part returned a wrong shape, or an id stands twice.
        DataError: What an earlier call left is damaged, or too many samples cannot be used.
    """
    parts = Parts(folder)
    scoring = Pass(predictor, target, selector, parts)
    check(parts.tables(KEYS.names), map(target.position, scoring.places()))
    scoring.run(batch_size, progress)
    scoring.leaving_out.check()
    found = target.table(scoring.leaving_out)
    write_left_out(found, scores.parent)
    write_labels(map(_labels, parts.tables()), labels)
    write_stored_tables(map(_scores, parts.tables()), scores)
    return found


class Pass:
    """Scores and labels what is not done yet, and stores it part by part.

    Args:
        predictor: Predicts.
        target: What is scored.
        selector: Scores and labels.
        parts: What an interrupted call has stored; each notes where the next begins, and what was
            left out.
        wanted: The places of those samples that are scored; by default of all.
    """

    def __init__(
        self,
        predictor: Predictor,
        target: Usable,
        selector: Selector,
        parts: Parts,
        wanted: range | None = None,
    ) -> None:
        self._predictor, self._target, self._selector = predictor, target, selector
        self._wanted = range(len(target)) if wanted is None else wanted
        self._parts, notes = parts, parts.notes()
        self._stored = self._done = notes[-1]["next"] if notes else self._wanted.start
        found = [LeftOut(*each) for note in notes for each in note["left_out"]]
        self.leaving_out = target.leaving_out(found)
        self._seen, self._new = SeenIds(), list[str]()
        for table in parts.tables(["id"]):
            self._seen.add(table["id"].to_pylist())
        self._schema = parts.schema

    def places(self) -> Iterable[int]:
        """Return where the samples stand that are done."""
        out = {each.position for each in self.leaving_out.found}
        done = range(self._wanted.start, self._done)
        return (place for place in done if place not in out)

    def run(self, batch_size: int, progress: Progress) -> None:
        """Score what is not scored yet, and store it however this ends."""
        rows_of_batches = map_batches(
            self._rows,
            self._target,
            batch_size=batch_size,
            leaving_out=self.leaving_out,
            start=self._done,
            stop=self._wanted.stop,
        )
        try:
            with closing(rows_of_batches) as each:
                for places, rows in each:
                    self._add(places, rows)
                    done = self._done - self._wanted.start
                    progress("score", done, len(self._wanted))
            self._done = self._wanted.stop
        finally:
            self._store()
        self._check_unique()

    def _add(self, places: Sequence[int], rows: pa.Table) -> None:
        self._schema = self._schema or rows.schema
        self._new += rows["id"].to_pylist()
        self._parts.add(rows)
        self._done = places[-1] + 1
        if self._parts.due:
            self._store()

    def _rows(self, batch: Sequence[Sample], images: Array) -> pa.Table:
        prediction = predict(self._predictor, batch, images)
        digests = pa.array([fingerprint(sample.image) for sample in batch], pa.string())
        rows = score(self._selector, batch, prediction).add_column(2, "sha256", digests)
        labels = packed_labels(pseudo_labels(self._selector, prediction)).drop_columns("id")
        for name in labels.column_names:
            rows = rows.append_column(f"{_LABEL}{name}", labels[name])
        _check_columns(self._schema, rows.schema)
        return rows

    def _store(self) -> None:
        if self._done == self._stored:
            return
        # reading is ahead: what it found beyond this part belongs to the next
        part = range(self._stored, self._done)
        found = sorted(each for each in self.leaving_out.found if each.position in part)
        self._parts.write({"next": self._done, "left_out": found})
        self._stored = self._done
        self._check_unique()

    def _check_unique(self) -> None:
        """Refuse an id that stands twice.

        Raises:
            InputError: One does.
        """
        new, self._new = self._new, []
        if not self._seen.add(new):
            return
        ids = pa.chunked_array(
            [chunk for table in self._parts.tables(["id"]) for chunk in table["id"].chunks]
        )
        if (twice := repeated(ids)) is not None:
            raise InputError(f"The target id {twice!r} stands twice; ids must be unique.")


def _check_columns(before: pa.Schema | None, now: pa.Schema) -> None:
    if before is not None and now != before:
        raise InputError(
            f"A batch's scores and labels have the columns {now.names}, those before it "
            f"{before.names}; every prediction must have the same classes."
        )


def _scores(part: pa.Table) -> pa.Table:
    return part.drop_columns([name for name in part.column_names if name.startswith(_LABEL)])


def _labels(part: pa.Table) -> pa.Table:
    names = ["id", *(name for name in part.column_names if name.startswith(_LABEL))]
    return part.select(names).rename_columns([name.removeprefix(_LABEL) for name in names])
