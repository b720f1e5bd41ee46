"""Names of files, which strangers choose, where they are shown."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")
_TURNING: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    r"""Return text whose control characters are escapes: ``\x1b`` moves no cursor.

    Those that turn the direction of writing, and bytes that are not UTF-8, are escaped as well;
    letters with accents have one form.
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(_escaped(each) if _is_unseen(each) else each for each in composed)


def visible_lines(text: str) -> str:
    """Return the same of each line."""
    return "\n".join(visible(line) for line in text.split("\n"))


def as_cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN or character in _TURNING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
