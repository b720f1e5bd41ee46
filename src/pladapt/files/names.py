"""Names of files, which strangers choose, where they are shown."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from pladapt.errors import InputError

_UNSEEN: Final = ("Cc", "Cs", "Zl", "Zp")
_TURNING: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def check_pattern(pattern: str, advice: str) -> None:
    """Refuse what is no regular expression with a group.

    Args:
        pattern: What a user gave.
        advice: What to put in parentheses, for the message.

    Raises:
        InputError: It is none, or has no group.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}.") from error
    if groups == 0:
        raise InputError(f"The regular expression {pattern!r} has no group; {advice}")


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
