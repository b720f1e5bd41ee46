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
