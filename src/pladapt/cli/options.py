"""Reading what options hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def named_values(items: Iterable[str], option: str) -> dict[str, Any]:
    """Return the values of a repeated option NAME=VALUE, by name.

    A value that is JSON is read as such; another is a string.

    Raises:
        InputError: An item has no equals sign.
    """
    found: dict[str, Any] = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise InputError(f"{option} {item!r} has no '='; give NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def errors_of(text: str) -> int | float:
    """Return what --max-errors says: a number as an integer, a percentage as a fraction.

    Raises:
        InputError: It is neither.
    """
    number, percent, rest = text.strip().partition("%")
    try:
        if percent and not rest:
            return float(number) / 100
        return int(text)
    except ValueError as error:
        raise InputError(
            f"--max-errors is {text!r}; give a number from 0, or a percentage such as 5%."
        ) from error


def part_of(text: str) -> tuple[int, int]:
    """Return what --part says: ``2/8`` as ``(2, 8)``.

    Raises:
        InputError: It is no part.
    """
    number, slash, count = text.partition("/")
    if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise InputError(f"--part is {text!r}; give a number and how many parts there are, as 2/8.")


def amount(text: str, option: str) -> int | float:
    """Return a number from 1 as an integer, or a fraction in (0, 1] as a float.

    Raises:
        InputError: It is no number.
    """
    try:
        return int(text) if text.strip().isdecimal() else float(text)
    except ValueError as error:
        raise InputError(
            f"{option} is {text!r}; give a number from 1, or a fraction such as 0.5."
        ) from error
