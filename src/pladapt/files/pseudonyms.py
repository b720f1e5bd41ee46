"""Names that tell whose an image is, replaced by salted hashes wherever they would be written."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from pladapt.errors import DataError, InputError

Hidden: TypeAlias = Literal["identifiers", "all", "none"]
"""Which parts of names become hashes."""

_UID: Final = re.compile(
    r"(?<!\d)(?<!\d\.)(?:2\.25\.\d{20,}|[0-2](?:\.\d+){4,})(?!\d|\.\d)", re.ASCII
)
_LAST: Final = 4
_DIGITS: Final = 16
_KEY_BYTES: Final = 32
_SHORTEST: Final = 16


@dataclass(frozen=True)
class Pseudonyms:
    """Replaces what tells whose an image is in names of files, folders and groups.

    DICOM UIDs, and persons' names as DICOM writes them (``DOE^JANE``), are identifiers by DICOM's
    own list. Each becomes a keyed hash (HMAC-SHA256): the same for the same name and key, so that
    runs, parts and masks still belong together, and not to be guessed without the key. The last
    component of a UID, of up to four digits, stays, since it often orders slices.

    Args:
        hidden: ``identifiers``: those; ``all``: every file's and folder's name; ``none``: nothing.
        key_file: The file of the key; it is made where there is none, readable by its owner alone.
            None: ``pladapt/pseudonyms.key`` in the folder of the user's configuration.

    Raises:
        InputError: There is no such choice.
    """

    hidden: Hidden = "identifiers"
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.hidden not in get_args(Hidden):
            raise InputError(f"hidden is {self.hidden!r}; give one of {get_args(Hidden)}.")

    def of(self, name: str) -> str:
        """Return a name, of parts between slashes and without an extension, as it is written.

        Raises:
            InputError: A key is needed, and cannot be read or made.
            DataError: The file of the key holds none.
        """
        if self.hidden == "none":
            return name
        return "/".join(self._part(part) for part in name.split("/"))

    def identifies(self, name: str) -> bool:
        """Return whether something in a name, or in a path, is hidden."""
        return any(self._is_hidden(part) for part in name.split("/"))

    def _is_hidden(self, part: str) -> bool:
        if self.hidden == "all":
            return part not in ("", ".", "..")
        return self.hidden != "none" and ("^" in part or _UID.search(part) is not None)

    def _part(self, part: str) -> str:
        if not self._is_hidden(part):
            return part
        if self.hidden == "all" or "^" in part:
            return f"name-{self._hash(part)}"
        return _UID.sub(self._uid, part)

    def _uid(self, found: re.Match[str]) -> str:
        root, _, last = found[0].rpartition(".")
        if len(last) > _LAST:
            return f"uid-{self._hash(found[0])}"
        return f"uid-{self._hash(root)}.{last}"

    def _hash(self, text: str) -> str:
        key = _key(self.key_file or _own_file())
        return hmac.digest(key, text.encode(), hashlib.sha256).hex()[:_DIGITS]


def _own_file() -> Path:
    place = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(place) / "pladapt" / "pseudonyms.key"


@cache
def _key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(
            f"Names of these files tell whose they are, and the key that hides them cannot be read "
            f"or made in {path} ({error}); give another file (--pseudonym-key), or have names "
            "written as they are (--pseudonyms none)."
        ) from error
    if len(key) < _SHORTEST:
        raise DataError(
            f"{path} holds {len(key)} bytes; a key has at least {_SHORTEST}. Give another file: "
            "where there is none, one is made."
        )
    return key


def _make_key(path: Path) -> None:
    """Write a key, unless another process has done so since."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    mode = stat.S_IRUSR | stat.S_IWUSR
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(_KEY_BYTES)}\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()
