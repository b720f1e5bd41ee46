"""Scoring the samples of files, wherever that is done."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pladapt.data.batches import batches
from pladapt.data.prefetch import prefetch
from pladapt.data.tolerance import LeavingOut, LeftOut, reason_of
from pladapt.errors import DataError, InputError, OutputError
from pladapt.files.folder import Problem
from pladapt.plugins.guard import guarded
from pladapt.predictors.prediction import predict
from pladapt.selection.scoring import score
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from pladapt.data.tolerance import Tolerance
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout
    from pladapt.files.series import Source
    from pladapt.types import Array
    from pladapt.typing import Predictor, Selector


class Place(NamedTuple):
    """A sample by the number of its file and its own number in that, both from 0."""

    file: int
    number: int


class FoundAt(NamedTuple):
    """What was left out, and where."""

    place: Place
    problem: Problem

    def of_file(self) -> LeftOut:
        """Return the same of its file."""
        return LeftOut(self.place.file, *self.problem)


class Scored(NamedTuple):
    """What was made of consecutive samples.

    Args:
        rows: Their scores.
        left_out: Those that have none.
        next: The place behind them.
    """

    rows: list[pa.Table]
    left_out: list[FoundAt]
    next: Place


@dataclass(frozen=True)
class ScoreTask:
    """What is scored, and how.

    Args:
        selector: Scores.
        files: What is read.
        layout: How.
        grouping: What a file belongs to.
        tolerance: How many files may be left out.
        batch_size: How many samples are predicted at once.
        readers: How many files are read at once.
        start: The first sample.
        found: What was left out before that.
        columns: The columns of the rows before that, if there are any.
    """

    selector: Selector
    files: Files
    layout: ImageLayout
    grouping: Grouping
    tolerance: Tolerance
    batch_size: int
    readers: int
    start: Place = field(default=Place(0, 0))
    found: tuple[LeftOut, ...] = ()
    columns: tuple[str, ...] = ()

    def leaving_out(self) -> LeavingOut:
        """Return what leaves out more files."""
        return LeavingOut(self.tolerance, len(self.files.paths), self.found, what="files")

    def scorer(self, predictor: Predictor) -> Callable[[Sequence[int]], Generator[Scored]]:
        """Return what scores files, by their numbers."""
        return _Scorer(self, predictor, _Reader(self)).score


@dataclass(frozen=True)
class _Origin:
    """Where a sample is from: its place, and the name of its file."""

    place: Place
    file: str


class _Reader:
    """Reads the samples of files, and lists what cannot be used."""

    def __init__(self, task: ScoreTask) -> None:
        self._task, self._files, self._layout = task, task.files, task.layout
        self._paths = list(task.files.paths.items())
        self.origins: dict[str, _Origin] = {}
        self._leaving_out = task.leaving_out()
        self._found: list[FoundAt] = []

    def samples(self, numbers: Sequence[int]) -> Generator[Sample]:
        """Yield the samples of consecutive files, from the task's first one on."""
        paths = self._paths[numbers[0] : numbers[-1] + 1]
        calls = (partial(self._layout.load, path) for _, path in paths)
        with closing(prefetch(calls, self._task.readers)) as loading:
            for file, item, loaded in zip(numbers, paths, loading, strict=True):
                yield from self._of_file(file, item, loaded)

    def _of_file(
        self, file: int, item: tuple[str, Source], loaded: Callable[[], Any]
    ) -> Iterator[Sample]:
        (name, path), number = item, 0
        try:
            group = self._files.group(name, self._task.grouping)
            for id_, image in self._layout.items(name, loaded()):
                place = Place(file, number)
                number += 1
                if place >= self._task.start:
                    self.origins[id_] = _Origin(place, self._files.relative(path))
                    yield Sample(id_, group, image)
        except DataError as error:
            self.leave_out(Place(file, number), name, error)

    def leave_out(self, place: Place, name: str, error: Exception) -> None:
        """Leave out a file or sample that cannot be used.

        Raises:
            Exception: Nothing may be left out, or not more.
        """
        if self._task.tolerance.on_error == "raise" and isinstance(error, InputError):
            raise DataError(f"{name}: {error}") from error
        self._leaving_out.leave_out(place.file, name, error)
        self._found.append(FoundAt(place, Problem(name, reason_of(error))))

    def left_out(self, start: Place, end: Place) -> list[FoundAt]:
        """Return what was left out between two places, in order: reading may be ahead."""
        return sorted(each for each in self._found if start <= each.place < end)


class _Scorer:
    """Scores what a reader reads."""

    def __init__(self, task: ScoreTask, predictor: Predictor, reader: _Reader) -> None:
        self._task, self._predictor, self._reader = task, predictor, reader
        self._columns = task.columns

    def score(self, numbers: Sequence[int]) -> Generator[Scored]:
        """Yield what is made of the samples of consecutive files, batch by batch."""
        if not numbers:
            return
        done = max(self._task.start, Place(numbers[0], 0))
        with (
            closing(self._reader.samples(numbers)) as samples,
            closing(batches(samples, batch_size=self._task.batch_size)) as stream,
        ):
            for batch, images in stream:
                rows = list(self._scored(batch, images))
                last = [self._reader.origins.pop(sample.id) for sample in batch][-1].place
                before, done = done, Place(last.file, last.number + 1)
                yield Scored(rows, self._reader.left_out(before, done), done)
        end = Place(numbers[-1] + 1, 0)
        yield Scored([], self._reader.left_out(done, end), end)

    def _scored(self, batch: Sequence[Sample], images: Array) -> Iterator[pa.Table]:
        """Yield the rows of a batch; one that fails is tried sample by sample."""
        task = self._task
        try:
            with guarded(task.tolerance.seconds):
                rows = score(task.selector, batch, predict(self._predictor, batch, images))
            self._check(rows)
        except Exception as error:
            if not isinstance(error, InputError) and not task.tolerance.skips(error):
                raise
            if isinstance(error, OutputError):  # of every file
                raise
            if len(batch) == 1:
                origin = self._reader.origins[batch[0].id]
                self._reader.leave_out(origin.place, batch[0].id, error)
                return
            for index, sample in enumerate(batch):
                yield from self._scored((sample,), images[index : index + 1])
        else:
            names = [self._reader.origins[sample.id].file for sample in batch]
            yield rows.add_column(2, "file", pa.array(names, pa.string()))

    def _check(self, rows: pa.Table) -> None:
        columns = tuple(rows.column_names)
        self._columns = self._columns or columns
        if columns != self._columns:
            raise InputError(
                f"Its scores have the columns {[*columns]}, those before it {[*self._columns]}; "
                "predictions must have the same classes."
            )
