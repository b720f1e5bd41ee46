"""What the loaders of folders share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError, InputError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def folder_with(target: str, wanted: Sequence[str], library: str) -> Path:
    """Return a folder that has these files.

    Raises:
        MissingDataError: There is no such folder, or it lacks one of them.
    """
    folder = Path(target).expanduser()
    if not folder.is_dir():
        raise MissingDataError(
            f"There is no folder {folder}; give the one that {library} wrote. Models of a hub are "
            "not fetched: download it first."
        )
    if lacking := [name for name in wanted if not (folder / name).is_file()]:
        raise MissingDataError(
            f"{folder} has no {' and no '.join(lacking)}; give the folder that {library} wrote."
        )
    return folder


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); get it anew.") from error


def no_weights(weights: Path | None, target: Path) -> None:
    """Refuse weights beside a folder that has its own.

    Raises:
        InputError: There are some.
    """
    if weights is not None:
        raise InputError(
            f"The weights are {weights}, and {target} has weights of its own; give one of the two."
        )
