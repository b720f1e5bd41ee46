"""What every loader shares: the data set it returns, what it skips, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pladapt.errors import DataError, MissingDataError
from pladapt_covid_ct.slices import Slices, Volumes, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pladapt_covid_ct.slices import Row, Source


class Counts(NamedTuple):
    """How much a data set holds; None for what is not stated."""

    patients: int | None
    slices: int | None
    infected: int | None


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was left out.

    Args:
        path: The file, as found under the folder that was read; ``archive.zip/member`` for a
            member of an archive.
        reason: Why, and what would mend it.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known of a data set before it is read.

    Args:
        letter: Its name in the paper and on the command line.
        name: Its own name.
        page: Where it is downloaded.
        licence: The licence its page or its users state.
        citation: The paper that describes it.
        archives: The files of the download and their SHA-256, None where it is not known.
        paper: The counts of Table I and Section III of the paper.
        classes: What the values of its lesion masks mean.
        load: Reads it from a folder.
    """

    letter: str
    name: str
    page: str
    licence: str
    citation: str
    archives: Mapping[str, str | None]
    paper: Counts
    classes: Mapping[int, str]
    load: Callable[..., Dataset]

    def missing(self, folder: Path, files: str) -> MissingDataError:
        """Return the error for a folder that lacks the files that are looked for."""
        return MissingDataError(
            f"There is no data set {self.letter} in {folder}: no {files}. {self.how_to_obtain()}"
        )

    def how_to_obtain(self) -> str:
        """Return the sentence that ends every message about missing data."""
        archives = ", ".join(self.archives)
        return (
            f"Download {archives} from {self.page} (licence: {self.licence}) and put them, "
            f"unpacked or not, into one folder or into its subfolder {self.letter}/."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A data set that was read.

    Args:
        name: Its letter, or the name of the folder for data of no registered set.
        slices: The usable slices, by patient and from the feet up.
        classes: What the values of the lesion masks mean.
        problems: What was left out, and why.
        notes: What a reader of results must know, such as patients missing or options taken.
    """

    name: str
    slices: Slices
    classes: Mapping[int, str]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def counts(self) -> Counts:
        """The patients, slices and infected slices that can be used."""
        rows = self.slices.rows
        infected = [row.lesion_pixels for row in rows if row.lesion_pixels is not None]
        return Counts(
            len({row.group for row in rows}),
            len(rows),
            sum(pixels > 0 for pixels in infected) if infected else None,
        )


class Problems:
    """Collects what is left out, or raises at the first.

    Args:
        strict: Raise instead of collecting.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.found: list[Problem] = []

    def skip(self, path: str, reason: str) -> None:
        """Leave ``path`` out.

        Raises:
            DataError: The reading is strict.
        """
        problem = Problem(path, reason)
        if self.strict:
            raise DataError(f"{problem} (strict=False leaves such files out and goes on.)")
        self.found.append(problem)


def locate(folder: Path | str, info: DatasetInfo) -> Path:
    """Return the data set's own folder: ``folder/<letter>`` if there is one, else ``folder``.

    Raises:
        MissingDataError: The folder does not exist.
    """
    folder = Path(folder)
    own = folder / info.letter
    if own.is_dir():
        return own
    if folder.is_dir():
        return folder
    raise MissingDataError(f"There is no folder {folder}. {info.how_to_obtain()}")


def assemble(
    name: str,
    sources: Sequence[Source],
    classes: Mapping[int, str],
    problems: Problems,
    notes: Sequence[str] = (),
) -> Dataset:
    """Read every volume once, and make a data set of those that can be used.

    Args:
        name: The data set's.
        sources: The volumes, in the order of the data set.
        classes: What the values of the lesion masks mean.
        problems: What was left out so far; volumes that cannot be read are added.
        notes: What a reader of results must know.

    Raises:
        DataError: No slice can be used, or one cannot and the reading is strict.
    """
    volumes = Volumes(sources)
    rows: list[Row] = []
    for number, source in enumerate(sources):
        try:
            rows += rows_of(volumes[number], number)
        except DataError as error:
            problems.skip(source.path, str(error))
    if not rows:
        raise DataError(_nothing_usable(name, problems.found))
    return Dataset(name, Slices(volumes, rows), classes, tuple(problems.found), tuple(notes))


def _nothing_usable(name: str, problems: Sequence[Problem], shown: int = 10) -> str:
    lines = [f"  {problem}" for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  and {len(problems) - shown} more")
    return "\n".join([f"Data set {name} has no slice that can be used:", *lines])
