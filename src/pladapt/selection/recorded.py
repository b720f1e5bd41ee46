"""The selector that a file of scores records in its metadata, by its name and options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import DataError, InputError
from pladapt.plugins.manager import selector as make_selector

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pladapt.typing import Selector

METADATA: Final = b"pladapt"
"""Under which name a file of scores says, as JSON, what made it."""

_SELECTOR: Final = "made_by"


def record(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file's metadata says of a selector, beside what else it says.

    Args:
        name: By which `pladapt.selector` makes it.
        options: What it is made with.
    """
    return {_SELECTOR: {"selector": name, "options": dict(options)}}


def recorded_selector(scores: pa.Table) -> tuple[str, Selector] | None:
    """Make the selector that scores are of, with its name; None where they record none.

    Only what an installed plugin offers by name is made.

    Raises:
        UnknownPluginError: No installed plugin offers it.
        DataError: The metadata cannot be read, or the selector does not take its options.
        InputError: The scores were made by a selector without a name.
    """
    text = (scores.schema.metadata or {}).get(METADATA)
    if text is None:
        return None
    try:
        said = json.loads(text)
        made = said.get(_SELECTOR)
        name, options = (made["selector"], made["options"]) if made else (None, {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"The scores do not say what made them ({error!r}); score again, or give a selector."
        ) from error
    if name is None:
        raise InputError(
            f"The scores are of a selector that has no name ({said.get('selector')}); give the "
            "selector itself."
        )
    try:
        return name, make_selector(name, **options)
    except TypeError as error:
        raise DataError(
            f"The scores are of the selector {name!r}, which cannot be made with {options}: "
            f"{error}. Score again with the version that is installed."
        ) from error


def recorded_model(scores: pa.Table) -> Any:
    """Return what a file's metadata says of what predicted; None where it says nothing.

    Probabilities that were scored are told apart by their files.
    """
    try:
        said = json.loads((scores.schema.metadata or {})[METADATA])
        return [said["predictor"], said["files"] if "Given" in str(said["predictor"]) else None]
    except (KeyError, TypeError, ValueError):
        return None


def final_scores(scores: pa.Table) -> pa.Table:
    """Return ``id`` and the ``score`` by which the recorded selector selects.

    It is another than that of each row where the selector compares samples with each other.
    """
    recorded = recorded_selector(scores)
    return scores if recorded is None else recorded[1].select(scores).table
