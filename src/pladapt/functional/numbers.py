"""The numbers that options hold: Python's own, or numpy's and torch's, made Python's."""

from __future__ import annotations

import operator
from typing import Any

from pladapt.errors import InputError


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number as an `int`.

    Args:
        name: The option's, for the error.
        value: A number of any library that Python takes for an index.
        least: The lowest that is allowed.

    Raises:
        InputError: It is no whole number, or lower.
    """
    try:
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} is {value!r}; give a whole number from {least}.") from None
    if number < least:
        raise InputError(f"{name} is {number}; it must be at least {least}.")
    return number


def plain(value: Any) -> Any:
    """Return a number of another library, or an array of a single one, as Python's own.

    Everything else comes back as it is.
    """
    if isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins":
        return value
    single = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if single else value


def real(name: str, value: Any) -> float:
    """Return a number as a `float`.

    Raises:
        InputError: It is no number.
    """
    number = plain(value)
    if not isinstance(number, int | float):
        raise InputError(f"{name} is {value!r}; give a number.")
    return float(number)
