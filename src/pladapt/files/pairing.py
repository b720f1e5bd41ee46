"""Which files of two folders belong together."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Self

from pladapt.errors import DataError, MissingDataError
from pladapt.files.folder import Problem
from pladapt.files.formats import extension
from pladapt.files.names import check_pattern, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pladapt.files.folder import Files

_COLUMNS = ("name", "truth")


@dataclass(frozen=True)
class Pairing:
    """Says which truth belongs to an image or a prediction: by default that of the same name.

    Args:
        by: A regular expression that is searched in the names on both sides, and whose first group
            is what a pair shares; a name that it does not match is taken whole. None: the name.
        table: The truth's names by the other side's, in place of ``by``.

    Raises:
        InputError: The regular expression is none, or has no group.
    """

    by: str | None = None
    table: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.by is not None:
            check_pattern(self.by, "put what both names of a pair share in parentheses.")

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table with the columns ``name`` and ``truth``, with or without extensions.

        Raises:
            MissingDataError: There is no such file.
            DataError: A column is missing, or a name or a truth stands twice.
        """
        if not path.is_file():
            raise MissingDataError(f"There is no table of pairs {path}.")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {*_COLUMNS} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path} has the columns {reader.fieldnames}; expected name and truth."
                )
            rows = [[_bare(row[column] or "") for column in _COLUMNS] for row in reader]
        for index, column in enumerate(_COLUMNS):
            each = [row[index] for row in rows]
            if twice := [name for name in each if each.count(name) > 1]:
                raise DataError(
                    f"{path} has the {column} {twice[0]!r} twice; give each one partner."
                )
        return cls(table=dict(rows))

    def match(self, files: Files, truth: Files, what: str) -> tuple[dict[str, str], list[Problem]]:
        """Return the truth's name for each name that has one, and who has no partner.

        A single file belongs to a single file, whatever their names.

        Args:
            files: Images or predictions.
            truth: The true masks.
            what: What the former are called: ``prediction``.
        """
        if files.root.is_file() and truth.root.is_file():
            return {next(iter(files.paths)): next(iter(truth.paths))}, []
        true_names = {**files.true_names, **truth.true_names}
        pairs, problems = self.match_names(files.paths, truth.paths, true_names)
        roots = {True: (truth.root, "truth"), False: (files.root, what)}
        return pairs, [
            Problem(name, reason or "There is no {1} of this name in {0}.".format(*roots[ours]))
            for name, ours, reason in problems
        ]

    def match_names(
        self,
        names: Iterable[str],
        truths: Iterable[str],
        true_names: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, str], list[tuple[str, bool, str]]]:
        """Return pairs, and each name without one, whether it is of ``names``, and why if known.

        Args:
            names: Of images or predictions.
            truths: Of true masks.
            true_names: How those are really called that have a pseudonym: what an expression and a
                table are about.
        """
        known = true_names or {}
        ours = self._keys(names, known, truths=False)
        theirs = self._keys(truths, known, truths=True)
        pairs: dict[str, str] = {}
        problems: list[tuple[str, bool, str]] = []
        for key in ours.keys() | theirs.keys():
            left, right = ours.get(key, []), theirs.get(key, [])
            if len(left) == len(right) == 1:
                pairs[left[0]] = right[0]
                continue
            reason = ""
            if left and right:
                reason = f"{', '.join(left)} would pair with {', '.join(right)}: expected one each."
            problems += [(name, True, reason) for name in left]
            problems += [(name, False, reason) for name in right]
        return dict(sorted(pairs.items())), sorted(
            problems, key=lambda each: (not each[1], each[0])
        )

    def _keys(
        self, names: Iterable[str], true_names: Mapping[str, str], *, truths: bool
    ) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(names):
            plain = self.by is None and not self.table
            true = name if plain else true_names.get(name, name)
            found.setdefault(self._key(true, truths=truths), []).append(name)
        return found

    def _key(self, name: str, *, truths: bool) -> str:
        if self.table:
            return name if truths else self.table.get(name, f"\0{name}")
        match = None if self.by is None else re.search(self.by, name)
        return name if match is None or match[1] is None else match[1]


def likely_pattern(names: Iterable[str], truths: Iterable[str]) -> str | None:
    """Return the pattern that would pair names that differ in how they begin or end, if any."""
    ours, theirs = sorted(names), sorted(truths)
    for backwards in (False, True):
        step = -1 if backwards else 1
        for name in ours[:20]:
            shared = max(
                (_common(name[::step], other[::step]) for other in theirs),
                key=len,
                default="",
            )
            ends = {name[::step][len(shared) :][::step]} | {
                other[::step][len(shared) :][::step]
                for other in theirs
                if shared and other[::step].startswith(shared)
            }
            either = "|".join(
                sorted((re.escape(end) for end in ends if end), key=len, reverse=True)
            )
            pattern = f"^(?:{either})?(.+)$" if backwards else f"^(.+?)(?:{either})?$"
            if shared and either and Pairing(pattern).match_names(ours, theirs)[0]:
                return pattern
    return None


def _common(one: str, other: str) -> str:
    """Return how both begin."""
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[: min(len(one), len(other)) if length is None else length]


def _bare(name: str) -> str:
    """Return a name of a table as files are called: without a known extension."""
    path = PurePath(name.strip())
    text = path.as_posix()
    return visible(text[: len(text) - len(extension(path))])
