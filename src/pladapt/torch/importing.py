"""Python objects by name, from installed modules and those of the current folder."""

from __future__ import annotations

import pkgutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def imported(name: str, what: str) -> Any:
    """Return what ``package.module:name`` stands for.

    Args:
        name: The name.
        what: What it is for, in the error.

    Raises:
        InputError: There is no such thing.
    """
    with current_folder():
        try:
            return pkgutil.resolve_name(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"There is no {what} {name!r}: {error}. Give package.module:function; a module in "
                "the current folder counts."
            ) from error


@contextmanager
def current_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
