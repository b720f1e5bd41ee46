"""Files by name: finding them, and telling what belongs together."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.files.formats import extension, is_dicom, is_image
from pladapt.files.names import as_cell, check_pattern, visible
from pladapt.files.pseudonyms import Pseudonyms
from pladapt.files.series import Series, files_of, join_series
from pladapt.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pladapt.files.series import Source


_KINDS: Final = (
    "NIfTI, DICOM, NRRD, MetaImage, MGH, PNG, TIFF, JPEG, GIF, WebP, PNM, BMP, NPY or NPZ"
)


_OWN: Final = ("masks.parquet", "run.json")
"""What is written beside masks."""


class Problem(NamedTuple):
    """What was left out.

    Args:
        name: The file's name, or the id of a sample in it.
        reason: Why, and what would mend it.
    """

    name: str
    reason: str


def nothing_usable(
    problems: Sequence[Problem], where: Path, shown: int = 10, hint: str = ""
) -> DataError:
    """Return the error for a folder of which all was left out, with every reason there was."""
    alike: dict[str, list[str]] = {}
    for name, reason in problems:
        alike.setdefault(reason, []).append(name)
    kinds = sorted(alike.items(), key=lambda item: len(item[1]))  # of one file: what went wrong
    lines = []
    for reason, names in kinds[:shown]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  {names[0]}{more}: {reason}")
    if len(kinds) > shown:
        lines.append(f"  and {sum(len(names) for _, names in kinds[shown:])} more")
    lines += [hint] if hint else []
    return DataError("\n".join([f"Nothing in {where} can be used:", *lines]))


def write_problems(problems: Sequence[Problem], path: Path) -> None:
    """Write what was left out as CSV; where nothing was, there is no file."""
    if not problems:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = ([as_cell(visible(cell)) for cell in problem] for problem in problems)
        csv.writer(file).writerows([Problem._fields, *rows])


@dataclass(frozen=True, slots=True, eq=False)
class Files:
    """The images below a folder, or one image, by name.

    Args:
        root: The folder, or the file.
        paths: The files; a name is the path below the folder without the extension, in which what
            tells whose an image is has been hidden.
        unread: The files that were not looked at, since their kind is not known.
        pseudonyms: What hides it.
        true_names: How those are called whose name has been changed, by the changed name.
    """

    root: Path
    paths: Mapping[str, Source]
    unread: tuple[Path, ...] = ()
    pseudonyms: Pseudonyms = field(default_factory=partial(Pseudonyms, "none"))
    true_names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, root: Path, pseudonyms: Pseudonyms | None = None) -> Self:
        """Find the images; hidden files are passed over, and other kinds are not looked at.

        Links to files and to folders are followed, but for those to a folder that they lie in.

        Args:
            root: A folder, or a file.
            pseudonyms: What hides in names whose an image is; by default DICOM UIDs and persons'
                names as DICOM writes them become salted hashes.

        Raises:
            MissingDataError: There is no such folder or file, or no image in it.
            DataError: Two files would share ids, such as a.png and a.npy; the one file is of no
                kind that is read; or a folder cannot be read.
            InputError: A key for pseudonyms is needed, and cannot be read or made.
        """
        hiding = pseudonyms or Pseudonyms()
        if root.is_file():
            if not is_image(root):
                raise DataError(f"{root} is of no kind that is read; expected {_KINDS}.")
            return cls(root, {}, (), hiding).named({_name(root, root.parent): root})
        if not root.is_dir():
            raise MissingDataError(f"There is no folder or file {root}.")
        shown = sorted(_visible_below(root))
        found = [path for path, whole in shown if whole and is_image(path)]
        own = {*found, *(root / name for name in _OWN)}
        unread = tuple(path for path, _ in shown if path not in own)
        if not found:
            others = f"; it has {kinds(unread)}" if unread else ""
            raise MissingDataError(f"There is no image in {root}; expected {_KINDS} files{others}.")
        paths: dict[str, Path] = {}
        for path in found:
            _refuse_twin(path, paths.setdefault(_name(path, root), path), _name(path, root))
        for name, path in paths.items():
            # a/z007.png beside a.nii would be called what a slice of that is called
            _refuse_twin(path, paths.get(re.sub(r"/z\d{3,}$", "", name), path), name)
        return cls(root, {}, unread, hiding).named(paths)

    def named(self, paths: Mapping[str, Source]) -> Self:
        """Return the same with other files, given by their true names.

        Raises:
            DataError: Two would have one pseudonym.
        """
        hidden = {self.pseudonyms.of(name): name for name in paths}
        if len(hidden) < len(paths):
            raise DataError(f"Two files in {self.root} would have one pseudonym; rename one.")
        true = {name: true for name, true in hidden.items() if name != true}
        named = {name: paths[own] for name, own in hidden.items()}
        return replace(self, paths=named, true_names=true)

    def true_name(self, name: str) -> str:
        """Return how a file is really called: its path below the folder without the extension."""
        return self.true_names.get(name, name)

    def group(self, name: str, grouping: Grouping) -> str:
        """Return a file's group, in which what tells whose it is has been hidden.

        Raises:
            DataError: As for `Grouping.group`.
        """
        return self.pseudonyms.of(grouping.group(self.true_name(name)))

    def volumes(self) -> Self:
        """Return the same with each DICOM series in a folder as one volume.

        Raises:
            DataError: A volume would share its id with a file.
        """
        if self.root.is_file():
            return self
        paths = {self.true_name(name): source for name, source in self.paths.items()}
        joined = join_series(paths, self.root, is_dicom)
        return self.named({name: self._shown(source) for name, source in joined.items()})

    def _shown(self, source: Source) -> Source:
        """Have a series' files called in messages as `relative` calls them."""
        if not isinstance(source, Series):
            return source
        names = tuple(self.relative(path).rpartition("/")[2] for path in source.paths)
        return source._replace(shown=names)

    def part(self, number: int, count: int) -> Self:
        """Return one of ``count`` parts, as many files each: number 1 has the first ones by name.

        Raises:
            InputError: There is no such part.
        """
        if not 1 <= number <= count:
            raise InputError(
                f"The part is {number}/{count}; expected 1/{count} to {count}/{count}."
            )
        names, total = list(self.paths), len(self.paths)
        chosen = names[total * (number - 1) // count : total * number // count]
        return replace(self, paths={name: self.paths[name] for name in chosen})

    def relative(self, source: Source) -> str:
        """Return where a file lies below the folder, with its extension; or a series' folder.

        What tells whose it is has been hidden.
        """
        path = source.paths[0].parent if isinstance(source, Series) else source
        root = self.root if self.root.is_dir() else self.root.parent
        if path == root:
            return "."
        ending = "" if isinstance(source, Series) else extension(path)
        name = visible(path.relative_to(root).as_posix())
        bare = name[: len(name) - len(ending)]
        return f"{self.pseudonyms.of(bare)}{name[len(bare) :]}"

    def fingerprint(self) -> str:
        """Return a SHA-256 of the names, sizes and times of change: cheap, and does not read."""
        digest = hashlib.sha256()
        for name, source in self.paths.items():
            for path in files_of(source):
                status = path.stat()
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


def not_looked_at(files: Files) -> list[Problem]:
    """Return what is said of the files whose kind is not known, and of links to no file."""
    kind = "It was not looked at: files of its kind are not read."
    link = (
        "It is a link to a file that is not there: fetch that (git annex get, datalad get), or "
        "mend the link."
    )
    return [
        Problem(files.relative(path), link if _is_broken(path) else kind) for path in files.unread
    ]


def kinds(paths: Sequence[Path]) -> str:
    """Return how many files there are of each extension, such as ``2 .txt, 1 .xml``."""
    counted = Counter(map(_kind, paths))
    return ", ".join(f"{count:,} {kind}" for kind, count in counted.most_common(10))


def _kind(path: Path) -> str:
    if _is_broken(path):
        return "behind a broken link"
    return visible(path.suffix.lower()) or "without extension"


def _refuse_twin(path: Path, other: Path, name: str) -> None:
    if path != other:
        raise DataError(
            f"{path} and {other} would share the id {name!r}; ids must be unique. Keep one of "
            "them, or rename it."
        )


def _visible_below(
    folder: Path, above: frozenset[Path] = frozenset()
) -> Iterator[tuple[Path, bool]]:
    """Yield the files below a folder but for hidden ones, and False with links to no file.

    Raises:
        DataError: A folder cannot be read.
    """
    own = folder.resolve()
    if own in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read: {error.strerror}. See that you may read it, or "
            "give one that does not hold it."
        ) from error
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink() and not path.exists():  # to nothing, or to itself
            yield path, False
        elif entry.is_dir():
            yield from _visible_below(path, above | {own})
        elif entry.is_file():
            yield path, True


def _is_broken(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _name(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return visible(relative[: len(relative) - len(extension(path))])


@dataclass(frozen=True)
class Grouping:
    """Says what a file belongs to, usually a patient.

    Args:
        by: ``file`` (each by itself: the slices of a volume are a group), ``folder`` (the folder
            that it lies in), or a regular expression that is searched in the file's name and
            whose first group is the answer.
        table: The groups by name, in place of ``by``.

    Raises:
        InputError: The regular expression is none, or has no group.
    """

    by: str = "file"
    table: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.by not in ("file", "folder"):
            advice = "put what tells the patient in parentheses, or give 'file' or 'folder'."
            check_pattern(self.by, advice)

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table with the columns ``name`` and ``group``.

        Raises:
            MissingDataError: There is no such file.
            DataError: A column is missing, or a name stands twice.
        """
        if not path.is_file():
            raise MissingDataError(f"There is no table of groups {path}.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"name", "group"} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path} has the columns {reader.fieldnames}; expected name and group."
                )
            rows = list(reader)
        table = {visible(row["name"]): visible(row["group"]) for row in rows}
        if len(table) < len(rows):
            twice = Counter(row["name"] for row in rows).most_common(1)[0][0]
            raise DataError(f"{path} names {twice!r} twice; give each file one group.")
        return cls(table=table)

    def group(self, name: str) -> str:
        """Return a file's group.

        Raises:
            DataError: The table does not have it, or the expression does not match.
        """
        if self.table:
            if name not in self.table:
                raise DataError("The table of groups does not name it.")
            return self.table[name]
        if self.by == "file":
            return name
        if self.by == "folder":
            return name.rpartition("/")[0]
        match = re.search(self.by, name)
        if match is None or match[1] is None:
            raise DataError(f"Its name does not match {self.by!r}, which tells the group.")
        return match[1]
