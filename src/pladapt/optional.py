"""Importing a framework that comes with an extra."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pladapt.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def needs(extra: str, *modules: str) -> Iterator[None]:
    """Name the extra to install if one of ``modules`` is missing from the imports inside.

    Only the absence of these very modules is translated; an import that fails inside one of them
    says what is wrong there and is left as it is.

    Args:
        extra: The extra of pladapt that brings the modules.
        modules: The top-level modules that are imported inside.

    Raises:
        MissingDependencyError: One of the modules is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        raise MissingDependencyError(
            f"The module {error.name!r} is not installed. Run: pip install 'pladapt[{extra}]'",
            name=error.name,
        ) from error
