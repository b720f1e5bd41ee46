"""What the options of every recipe have in common."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_names(options: type[Any], recipe: str, given: Iterable[str]) -> None:
    """Refuse names that are none of a recipe's options.

    Args:
        options: The dataclass of the options.
        recipe: The recipe's name.
        given: The names.

    Raises:
        TypeError: There is no such option; the message names the nearest.
    """
    known = [each.name for each in fields(options)]
    for name in given:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"{recipe} has no option {name!r}.{hint} Known: {', '.join(known)}.")


def single_cutoff(cutoff: Any) -> float:
    """Return the cut-off of all classes.

    Args:
        cutoff: One for all classes, or one for each.

    Raises:
        InputError: The classes have different ones.
    """
    if isinstance(cutoff, float | int):
        return float(cutoff)
    if len(set(cutoff)) == 1:
        return float(cutoff[0])
    raise InputError(
        f"The source has the cut-offs {cutoff}, one per class; give a cutoff for all of them."
    )
