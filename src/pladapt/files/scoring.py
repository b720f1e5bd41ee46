"""Scoring the images of a folder into one parquet file, in a way that can be interrupted."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pladapt.data.batches import batches
from pladapt.errors import DataError, InputError
from pladapt.files.ahead import read_ahead
from pladapt.files.folder import Problem, nothing_usable
from pladapt.predictors.prediction import predict
from pladapt.runs.manifest import describe, open_run
from pladapt.selection.recorded import METADATA
from pladapt.selection.scoring import score
from pladapt.storage import atomic_write, read_table, write_table
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import ImageLayout
    from pladapt.types import Array, Progress
    from pladapt.typing import Predictor, Selector

_WRITE_SECONDS: Final = 30.0  # what a killed call costs at the most, but for a volume
_PROBLEMS: Final = b"problems"


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
    strict: bool = False,
    recorded: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Problem]:
    """Score every image into a parquet file: ``id``, ``group``, ``file``, the selector's columns.

    Files are read ahead in threads while the predictor works. Finished rows are kept in a folder
    beside the output until they are all there, so that an interrupted call goes on where it was.

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
        strict: Raise for what cannot be used, instead of leaving it out.
        recorded: The name and options of the selector, as `pladapt.selection.recorded.record`
            returns them, so that `select_file` can make it again.
        progress: Called as files are finished.

    Returns:
        What was left out.

    Raises:
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
        RunChangedError: An interrupted call had other inputs or parameters.
    """
    folder = output.with_name(f"{output.name}.partial")
    config = {
        "predictor": describe(predictor),
        "selector": describe(selector),
        "files": files.fingerprint(),
        "layout": asdict(layout),
        "grouping": asdict(grouping),
    }
    open_run(folder, config)
    parts = _Parts(folder)
    job = _Job(predictor, selector, files, layout, grouping, strict, done=parts.done)
    total = len(files.paths)
    try:
        with (
            closing(job.samples(readers)) as samples,
            closing(batches(samples, batch_size=batch_size)) as stream,
        ):
            for batch, images in stream:
                for rows in job.score(batch, images):
                    parts.add(job.positions(rows), rows)
                job.finish(batch)
                if progress is not None:
                    progress("score", job.done, total)
                if time.monotonic() - parts.written > _WRITE_SECONDS:
                    parts.write(job.done, job.problems)
        job.done = total
    finally:
        parts.write(job.done, job.problems)
    if progress is not None:
        progress("score", total, total)
    problems = parts.problems()
    written = parts.merge(output, config | dict(recorded or {}))
    shutil.rmtree(folder)
    if not written:
        raise nothing_usable(problems, files.root)
    return problems


@dataclass(eq=False)
class _Job:
    """What is scored and how, and how far it has come.

    Args:
        done: How many files, in order, are finished.
        origin: The place and name of the file of each sample that was read and is not scored.
        problems: What was left out, with the place of its file.
    """

    predictor: Predictor
    selector: Selector
    files: Files
    layout: ImageLayout
    grouping: Grouping
    strict: bool
    done: int
    origin: dict[str, tuple[int, str]] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    schema: pa.Schema | None = None

    def samples(self, readers: int) -> Generator[Sample]:
        """Yield the samples of the files that are not finished."""
        paths = list(self.files.paths.items())[self.done :]
        loading = read_ahead(lambda item: self.layout.load(item[1]), paths, readers)
        with closing(loading):
            for place, ((name, path), loaded) in enumerate(loading, start=self.done):
                try:
                    group = self.grouping.group(name)
                    for id_, image in self.layout.items(name, loaded()):
                        self.origin[id_] = place, self.files.relative(path)
                        yield Sample(id_, group, image)
                except DataError as error:
                    self._skip(place, name, error)

    def score(self, batch: Sequence[Sample], images: Array) -> Iterator[pa.Table]:
        """Yield the rows of a batch; one that fails is tried sample by sample."""
        try:
            rows = score(self.selector, batch, predict(self.predictor, batch, images))
            self._check(rows)
        except InputError as error:
            if len(batch) == 1:
                self._skip(self.origin[batch[0].id][0], batch[0].id, error)
                return
            for index, sample in enumerate(batch):
                yield from self.score((sample,), images[index : index + 1])
        else:
            names = [self.origin[sample.id][1] for sample in batch]
            yield rows.add_column(2, "file", pa.array(names, pa.string()))

    def positions(self, rows: pa.Table) -> NDArray[np.int64]:
        """Return the place of each row's file."""
        return np.array([self.origin[id_][0] for id_ in rows["id"].to_pylist()], np.int64)

    def finish(self, batch: Sequence[Sample]) -> None:
        """Forget a batch that is scored; the files before its last one are finished."""
        self.done = self.origin[batch[-1].id][0]
        for sample in batch:
            del self.origin[sample.id]

    def _check(self, rows: pa.Table) -> None:
        self.schema = self.schema or rows.schema
        if rows.schema != self.schema:
            raise InputError(
                f"Its scores have the columns {rows.column_names}, those before it "
                f"{self.schema.names}; predictions must have the same classes."
            )

    def _skip(self, place: int, name: str, error: InputError) -> None:
        if self.strict:
            raise DataError(f"{name}: {error}") from error
        self.problems.append((place, Problem(name, str(error))))


class _Parts:
    """Finished rows and problems in a folder, a file for each stretch of finished files.

    Args:
        folder: Where they are; what an interrupted call left there counts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = sorted(folder.glob("part-*.parquet"))
        self._waiting: list[tuple[NDArray[np.int64], pa.Table]] = []
        self.done = int(self._paths[-1].stem.rpartition("-")[2]) if self._paths else 0
        self.written = time.monotonic()

    def add(self, positions: NDArray[np.int64], rows: pa.Table) -> None:
        """Take rows, with the place of each one's file."""
        self._waiting.append((positions, rows))

    def write(self, done: int, problems: Sequence[tuple[int, Problem]]) -> None:
        """Store what there is of the files before ``done``, the number of finished files."""
        if done <= self.done:
            return
        found = [problem for place, problem in problems if self.done <= place < done]
        rows = [table.filter(pa.array(places < done)) for places, table in self._waiting]
        table = pa.concat_tables(rows) if rows else pa.table({})
        path = self._folder / f"part-{self.done:010}-{done:010}.parquet"
        write_table(table.replace_schema_metadata({_PROBLEMS: json.dumps(found)}), path)
        self._paths.append(path)
        self._waiting = [
            (places[places >= done], table.filter(pa.array(places >= done)))
            for places, table in self._waiting
            if places[-1] >= done
        ]
        self.done, self.written = done, time.monotonic()

    def problems(self) -> list[Problem]:
        """Return what was left out of all finished files."""
        found = (json.loads(pq.read_schema(path).metadata[_PROBLEMS]) for path in self._paths)
        return [Problem(*problem) for part in found for problem in part]

    def merge(self, output: Path, config: Mapping[str, Any]) -> bool:
        """Write all rows to one file, and say whether there were any."""
        filled = [path for path in self._paths if pq.read_metadata(path).num_rows]
        if not filled:
            return False
        metadata = {METADATA: json.dumps(config, sort_keys=True)}
        schema = pq.read_schema(filled[0]).with_metadata(metadata)
        with (
            atomic_write(output) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            for path in filled:
                writer.write_table(read_table(path).replace_schema_metadata(metadata))
        return True
