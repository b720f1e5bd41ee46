"""Scoring the images of a folder into one parquet file, in a way that can be interrupted."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.data.batches import batches
from pladapt.data.prefetch import prefetch
from pladapt.data.tolerance import MAX_ERRORS, LeavingOut, LeftOut, Tolerance, reason_of
from pladapt.errors import DataError, InputError, OutputError
from pladapt.files.folder import Problem, nothing_usable
from pladapt.plugins.guard import guarded
from pladapt.predictors.prediction import predict
from pladapt.runs.manifest import describe, open_run
from pladapt.runs.parts import Parts, blocks
from pladapt.selection.recorded import METADATA
from pladapt.selection.scoring import score
from pladapt.storage import atomic_write, locked, sweep
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pladapt.data.tolerance import OnError
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout
    from pladapt.files.series import Source
    from pladapt.types import Array, Progress
    from pladapt.typing import Predictor, Selector

_ROWS: Final = 2**16  # in a row group


class GivenProbabilities:
    """A predictor whose images are the probabilities: for those that another program made."""

    def predict(self, images: Array, /) -> Array:
        """Return the images."""
        return images


def score_files(
    predictor: Predictor,
    files: Files,
    output: Path,
    *,
    selector: Selector,
    layout: ImageLayout,
    grouping: Grouping,
    batch_size: int = 8,
    readers: int = 2,
    on_error: OnError = "skip",
    max_errors: float = MAX_ERRORS,
    time_limit: float | None = None,
    part: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    recorded: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Problem]:
    """Score every image into a parquet file: ``id``, ``group``, ``file``, the selector's columns.

    Files are read ahead in threads while the predictor works. Finished rows are kept in a folder
    beside the output until they are all there, so that an interrupted call continues where it was.

    Args:
        predictor: Predicts the images; `pladapt.files.GivenProbabilities` where the
            files hold predictions.
        files: What is scored.
        output: The parquet file to write.
        selector: Scores.
        layout: How the files are read.
        grouping: What a file belongs to.
        batch_size: How many samples are predicted at once.
        readers: How many files are read at once.
        on_error: What becomes of a file that cannot be read, or of a sample of it on which a part
            fails: ``skip`` leaves it out, ``raise`` ends the call.
        max_errors: Of how many files something may be left out: a number from 0 as an integer, or a
            fraction in [0, 1] as a float. More of them end the call, which a higher number
            continues.
        time_limit: How many seconds a batch may take; see `pladapt.data.Tolerance`.
        part: Which part of the files is scored, and of how many: ``(2, 8)``, say. `merge_files`
            puts the parts together.
        overwrite: Start anew, whatever an earlier call has left.
        recorded: The name and options of the selector, as ``pladapt.selection.recorded.record``
            returns them, so that `select_file` can make it again.
        progress: Called as files are finished.

    Returns:
        What was left out.

    Raises:
        DataError: Nothing can be used, or more files than ``max_errors`` cannot; or what an
            interrupted call left is damaged.
        OutputError: The predictor's network gives something else than it is taken for.
        RunChangedError: An interrupted call had other inputs or parameters.
        BusyError: Another process writes the same output.
        DiskFullError: There is no room; the call continues once there is.
    """
    files = layout.arranged(files)
    config = {
        "predictor": describe(predictor),
        "selector": describe(selector),
        "files": files.fingerprint(),
        "layout": asdict(layout),
        "grouping": asdict(grouping),
    }
    if part != (1, 1):
        config["part"] = list(part)
        files = files.part(*part)
    reader = _Reader(files, layout, grouping, readers, Tolerance(on_error, max_errors, time_limit))
    with locked(output.with_name(f".{output.name}.lock")):
        folder = output.with_name(f"{output.name}.partial")
        if overwrite:
            Parts(folder).remove()
        sweep(folder)
        open_run(folder, config)
        scoring = _Pass(predictor, selector, reader, Parts(folder))
        try:
            scoring.run(batch_size, progress)
        except OutputError:  # of every file: no row is worth going on from
            Parts(folder).remove()
            raise
        return scoring.finish(output, config | dict(recorded or {}))


class _Place(NamedTuple):
    """A sample by the number of its file and its own number in that, both from 0."""

    file: int
    number: int


@dataclass(frozen=True)
class _Origin:
    """Where a sample is from: its place, and the name of its file."""

    place: _Place
    file: str


class _Reader:
    """Reads the samples of files, and lists what cannot be used.

    Args:
        files: What is read.
        layout: How.
        grouping: What a file belongs to.
        readers: How many files are read at once.
        tolerance: How many files may be left out.
    """

    def __init__(
        self,
        files: Files,
        layout: ImageLayout,
        grouping: Grouping,
        readers: int,
        tolerance: Tolerance,
    ) -> None:
        self.files, self._layout, self._grouping = files, layout, grouping
        self._readers, self.tolerance = readers, tolerance
        self.origins: dict[str, _Origin] = {}
        self._leaving_out = LeavingOut(tolerance, len(files.paths), what="files")
        self._problems: list[tuple[_Place, Problem]] = []

    @property
    def end(self) -> _Place:
        """The place behind the last file."""
        return _Place(len(self.files.paths), 0)

    def samples(self, start: _Place) -> Generator[Sample]:
        """Yield the samples from a place on."""
        paths = list(self.files.paths.items())[start.file :]
        calls = (partial(self._layout.load, path) for _, path in paths)
        with closing(prefetch(calls, self._readers)) as loading:
            for file, (item, loaded) in enumerate(zip(paths, loading, strict=True), start.file):
                yield from self._of_file(file, item, loaded, start)

    def _of_file(
        self, file: int, item: tuple[str, Source], loaded: Callable[[], Any], start: _Place
    ) -> Iterator[Sample]:
        (name, path), number = item, 0
        try:
            group = self.files.group(name, self._grouping)
            for id_, image in self._layout.items(name, loaded()):
                place = _Place(file, number)
                number += 1
                if place >= start:
                    self.origins[id_] = _Origin(place, self.files.relative(path))
                    yield Sample(id_, group, image)
        except DataError as error:
            self.leave_out(_Place(file, number), name, error)

    def know(self, problems: Sequence[tuple[_Place, Problem]]) -> None:
        """Take note of what an earlier call has left out."""
        found = [LeftOut(place.file, *problem) for place, problem in problems]
        self._leaving_out = LeavingOut(self.tolerance, len(self.files.paths), found, what="files")

    def leave_out(self, place: _Place, name: str, error: Exception) -> None:
        """Leave out a file or sample that cannot be used.

        Raises:
            Exception: Nothing may be left out, or not more.
        """
        if self.tolerance.on_error == "raise" and isinstance(error, InputError):
            raise DataError(f"{name}: {error}") from error
        self._leaving_out.leave_out(place.file, name, error)
        self._problems.append((place, Problem(name, reason_of(error))))

    def problems(self, start: _Place, end: _Place) -> list[tuple[_Place, Problem]]:
        """Return what was left out between two places, in order."""
        return sorted(item for item in self._problems if start <= item[0] < end)


class _Pass:
    """Scores what a reader reads, and stores it part by part.

    Args:
        predictor: Predicts.
        selector: Scores.
        reader: Reads the files.
        parts: What an interrupted call has stored; each notes where the next begins.
    """

    def __init__(
        self, predictor: Predictor, selector: Selector, reader: _Reader, parts: Parts
    ) -> None:
        self._predictor, self._selector = predictor, selector
        self._reader, self._parts = reader, parts
        notes = parts.notes()
        self._stored = self._done = _Place(*notes[-1]["next"]) if notes else _Place(0, 0)
        reader.know(self._known())
        self._schema = parts.schema

    def run(self, batch_size: int, progress: Progress | None) -> None:
        """Score what is not scored yet, and store it however this ends."""
        try:
            with (
                closing(self._reader.samples(self._done)) as samples,
                closing(batches(samples, batch_size=batch_size)) as stream,
            ):
                for batch, images in stream:
                    self._add(batch, images)
                    if progress is not None:
                        progress("score", self._done.file, self._reader.end.file)
            self._done = self._reader.end
        finally:
            self._store()
        if progress is not None:
            progress("score", self._reader.end.file, self._reader.end.file)

    def finish(self, output: Path, config: Mapping[str, Any]) -> list[Problem]:
        """Write the output, remove the parts, and return what was left out.

        Raises:
            DataError: Nothing could be used.
        """
        problems = [problem for _, problem in self._known()]
        schema = self._parts.schema
        if schema is None and "part" in config:  # another part may have rows
            schema = pa.schema([])
        if schema is not None:
            metadata = {METADATA: json.dumps(config, sort_keys=True)}
            write_scores(self._parts.tables(), output, schema.with_metadata(metadata))
        self._parts.remove()
        if schema is None:
            raise nothing_usable(problems, self._reader.files.root)
        return problems

    def _known(self) -> list[tuple[_Place, Problem]]:
        notes = [each for note in self._parts.notes() for each in note["problems"]]
        return [(_Place(*place), Problem(*problem)) for place, problem in notes]

    def _add(self, batch: Sequence[Sample], images: Array) -> None:
        for rows in self._scored(batch, images):
            self._schema = self._schema or rows.schema
            self._parts.add(rows)
        last = [self._reader.origins.pop(sample.id) for sample in batch][-1]
        self._done = _Place(last.place.file, last.place.number + 1)
        if self._parts.due:
            self._store()

    def _scored(self, batch: Sequence[Sample], images: Array) -> Iterator[pa.Table]:
        """Yield the rows of a batch; one that fails is tried sample by sample."""
        try:
            with guarded(self._reader.tolerance.seconds):
                rows = score(self._selector, batch, predict(self._predictor, batch, images))
            self._check(rows)
        except Exception as error:
            if not isinstance(error, InputError) and not self._reader.tolerance.skips(error):
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
        columns = rows.column_names
        if self._schema is None:
            return
        expected = [name for name in self._schema.names if name != "file"]
        if columns != expected:
            raise InputError(
                f"Its scores have the columns {columns}, those before it {expected}; predictions "
                "must have the same classes."
            )

    def _store(self) -> None:
        if self._done > self._stored:
            problems = self._reader.problems(self._stored, self._done)
            self._parts.write({"next": self._done, "problems": problems})
            self._stored = self._done


def write_scores(tables: Iterable[pa.Table], output: Path, schema: pa.Schema) -> int:
    """Write scores in row groups of one size, however the rows come; return how many there are."""
    count = 0
    with (
        atomic_write(output) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for rows in blocks(tables, _ROWS):
            writer.write_table(rows.cast(schema), row_group_size=_ROWS)
            count += len(rows)
    return count
