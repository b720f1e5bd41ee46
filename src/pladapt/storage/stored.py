"""Stored files, which bear their SHA-256s and are checked when they are read."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.storage.whole import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT: Final = 2
"""The version of everything that is stored; another one is refused."""

_DIGESTS: Final = "digests.json"


def to_json(value: object) -> str:
    """Return a value as JSON with sorted keys and a final newline."""
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingDataError: There is no such file.
        DataError: It is not JSON, or nested too deep to be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingDataError(f"There is no file {path}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no whole JSON file ({error}); write it anew.") from error


@contextmanager
def stored_file(path: Path) -> Iterator[Path]:
    """Write a file as by `atomic_write`, and note its SHA-256 in the ``digests.json`` beside it."""
    with atomic_write(path) as temporary:
        yield temporary
        digest = _sha256(temporary)
    _write_digests(path.parent, {**(_digests(path.parent) or {}), path.name: digest})


@contextmanager
def stored_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` once it is whole, with its ``digests.json``.

    Raises:
        InputError: ``path`` has something that was not stored in this way.
    """
    if path.exists() and not (path.is_dir() and (is_stored(path) or not any(path.iterdir()))):
        raise InputError(f"{path} is there already and holds something else; give another folder.")
    with atomic_write(path) as temporary:
        temporary.mkdir()
        yield temporary
        files = sorted(found for found in temporary.rglob("*") if found.is_file())
        names = {found.relative_to(temporary).as_posix(): _sha256(found) for found in files}
        _write_digests(temporary, names)


def is_stored(path: Path) -> bool:
    """Return whether a stored file or folder is there and was finished.

    Raises:
        DataError: The ``digests.json`` that would say so is damaged, or of another version.
    """
    if path.is_dir():
        return _digests(path) is not None
    return path.exists() and path.name in (_digests(path.parent) or {})


def stored_names(folder: Path) -> list[str]:
    """Return the names of the files that were stored in a folder, sorted."""
    return sorted(_digests(folder) or {})


def check_stored(path: Path) -> None:
    """Make sure that a stored file, or all files of a stored folder, are as they were written.

    Raises:
        MissingDataError: There is no such file or folder, or it was never finished.
        DataError: It is damaged.
    """
    if not is_stored(path):
        raise MissingDataError(
            f"There is no {path}, or it was never finished; continue the run, or give the command, "
            "that writes it."
        )
    folder = path if path.is_dir() else path.parent
    digests = _digests(folder) or {}
    for name in digests if path.is_dir() else [path.name]:
        file = folder / name
        if not file.is_file() or _sha256(file) != digests[name]:
            what = "is not what was written" if file.is_file() else "is missing"
            raise DataError(
                f"{file} {what}: it is damaged. Delete {path}, and run the same again to make it "
                "anew; nothing else is lost."
            )


def write_sealed(value: Mapping[str, Any], path: Path) -> None:
    """Write a JSON object with the version of the format and a SHA-256 of the whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(_sealed(value), encoding="utf-8")


def _sealed(value: Mapping[str, Any]) -> str:
    said = {**value, "format": FORMAT}
    return to_json({**said, "sha256": hashlib.sha256(to_json(said).encode()).hexdigest()})


def read_sealed(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Args:
        path: The file.
        what: What it is, such as "manifest of a run", for the error.
        remedy: What to do where it is none.

    Raises:
        DataError: It is damaged, or of another version.
    """
    try:
        text = path.read_bytes().decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no {what} ({error}); {remedy}.") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is no {what}; {remedy}.")
    if (version := value.get("format")) != FORMAT:
        age = "a newer" if isinstance(version, int) and version > FORMAT else "an older or no"
        raise DataError(
            f"{path} is of {age} version of pladapt's files ({version!r}; {FORMAT} is read here). "
            f"Use the pladapt that wrote it, or {remedy}."
        )
    said = {key: item for key, item in value.items() if key not in ("format", "sha256")}
    if text != _sealed(said):
        raise DataError(f"{path} is no {what} as it was written: it is damaged; {remedy}.")
    return said


def _digests(folder: Path) -> dict[str, str] | None:
    path = folder / _DIGESTS
    if not path.exists():
        return None
    remedy = f"delete {folder} and run the same again to make it anew"
    files: dict[str, str] = read_sealed(path, "list of SHA-256s", remedy)["files"]
    return files


def _write_digests(folder: Path, files: Mapping[str, str]) -> None:
    write_sealed({"files": files}, folder / _DIGESTS)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
