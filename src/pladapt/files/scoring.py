"""Scoring the images of a folder into one parquet file, in a way that can be interrupted."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.errors import InputError, OutputError
from pladapt.files.folder import Problem, nothing_usable
from pladapt.files.scorer import FoundAt, Place, ScoreTask
from pladapt.runs.engine import LocalEngine
from pladapt.runs.manifest import describe, open_run
from pladapt.runs.parts import Parts
from pladapt.selection.recorded import METADATA
from pladapt.storage import atomic_write, locked, sweep, write_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pladapt.data.tolerance import OnError
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout
    from pladapt.files.scorer import Scored
    from pladapt.runs.engine import Engine
    from pladapt.types import Array, Progress
    from pladapt.typing import Predictor, Selector


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
    engine: Engine | None = None,
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
        engine: Where the files are read and predicted; by default in this process. See
            `pladapt.ray.RayEngine`.
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
    files, engine = layout.arranged(files), engine or LocalEngine()
    config = {
        "predictor": engine.describe(predictor),
        "selector": describe(selector),
        "files": files.fingerprint(),
        "layout": asdict(layout),
        "grouping": asdict(grouping),
    }
    if part != (1, 1):
        config["part"] = list(part)
        files = files.part(*part)
    tolerance = Tolerance(on_error, max_errors, time_limit)
    with locked(output.with_name(f".{output.name}.lock")):
        folder = output.with_name(f"{output.name}.partial")
        if overwrite:
            Parts(folder).remove()
        sweep(folder)
        open_run(folder, config)
        scoring = _Pass(
            ScoreTask(selector, files, layout, grouping, tolerance, batch_size, readers),
            Parts(folder),
        )
        try:
            scoring.run(engine, predictor, progress)
        except OutputError:  # of every file: no row is worth going on from
            Parts(folder).remove()
            raise
        return scoring.finish(output, config | dict(recorded or {}))


class _Pass:
    """Has what is not scored yet scored, and stores it part by part.

    Args:
        task: What is scored, from the first file on.
        parts: What an interrupted call has stored; each notes where the next begins.
    """

    def __init__(self, task: ScoreTask, parts: Parts) -> None:
        self._task, self._parts = task, parts
        notes = parts.notes()
        self._stored = self._done = Place(*notes[-1]["next"]) if notes else task.start
        self._left_out: list[FoundAt] = []  # since what is stored
        self._columns: list[str] = [] if (known := parts.schema) is None else known.names
        self._end = Place(len(task.files.paths), 0)

    def run(self, engine: Engine, predictor: Predictor, progress: Progress | None) -> None:
        """Score what is not scored yet, and store it however this ends."""
        notify = partial(progress, "score") if progress is not None else _ignore
        task = self._remaining()
        leaving_out = task.leaving_out()
        work = engine.map(
            task.scorer,
            predictor,
            range(self._done.file, self._end.file),
            multiple_of=task.batch_size,
        )
        try:
            with closing(work) as each:
                for scored in each:
                    leaving_out.take(found.of_file() for found in scored.left_out)
                    self._add(scored)
                    notify(self._done.file, self._end.file)
        finally:
            self._store()
        notify(self._end.file, self._end.file)

    def finish(self, output: Path, config: Mapping[str, Any]) -> list[Problem]:
        """Write the output, remove the parts, and return what was left out.

        Raises:
            DataError: Nothing could be used.
        """
        problems = [each.problem for each in self._known()]
        schema = self._parts.schema
        if schema is None and "part" in config:  # another part may have rows
            schema = pa.schema([])
        if schema is not None:
            metadata = {METADATA: json.dumps(config, sort_keys=True)}
            write_scores(self._parts.tables(), output, schema.with_metadata(metadata))
        self._parts.remove()
        if schema is None:
            raise nothing_usable(problems, self._task.files.root)
        return problems

    def _remaining(self) -> ScoreTask:
        names = (name for name in self._columns if name != "file")
        found = tuple(each.of_file() for each in self._known())
        return replace(self._task, start=self._done, found=found, columns=tuple(names))

    def _known(self) -> list[FoundAt]:
        notes = [each for note in self._parts.notes() for each in note["problems"]]
        return [FoundAt(Place(*place), Problem(*problem)) for place, problem in notes]

    def _add(self, scored: Scored) -> None:
        for rows in scored.rows:
            self._columns = self._columns or rows.column_names
            if rows.column_names != self._columns:  # of two workers that do not predict the same
                raise InputError(
                    f"Scores have the columns {rows.column_names}, and those before them "
                    f"{self._columns}; every worker must have the same model."
                )
            self._parts.add(rows)
        self._left_out += scored.left_out
        self._done = scored.next
        if self._parts.due:
            self._store()

    def _store(self) -> None:
        if self._done > self._stored:
            self._parts.write({"next": self._done, "problems": self._left_out})
            self._stored, self._left_out = self._done, []


def _ignore(_done: int, _total: int) -> None:
    """Notify nobody."""


def write_scores(tables: Iterable[pa.Table], output: Path, schema: pa.Schema) -> int:
    """Write scores in row groups of one size, however the rows come; return how many there are."""
    with atomic_write(output) as temporary:
        return write_tables(tables, temporary, schema)
