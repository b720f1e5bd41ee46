"""What a run was asked for, and whether it is the same when it continues."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from array_api_compat import is_array_api_obj

from pladapt.errors import DataError, InputError, MissingDataError, RunChangedError
from pladapt.functional.arrays import to_numpy
from pladapt.storage import locked, read_sealed, sweep, to_json, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pladapt.types import Array

_NAME: Final = "run.json"
_STAGES: Final = ("digests.json", "round-*/**/digests.json", "recalibration/digests.json")


def fingerprint(image: Array) -> str:
    """Return the SHA-256 of an image's shape, dtype and bytes."""
    array = np.ascontiguousarray(to_numpy(image))
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def describe(value: object) -> Any:
    """Return what a run's manifest says of a value: JSON that changes when the value does.

    A part may say it itself with ``describe()``. Otherwise its class and public attributes count;
    arrays count by their SHA-256, samples by their number, and functions by their names.

    Raises:
        InputError: The value refers to itself.
    """
    try:
        return _describe(value)
    except RecursionError as error:
        raise InputError(
            f"A {type(value).__qualname__} refers to itself and cannot be described for the run's "
            "manifest; give it a method describe(), or name the attribute with an underscore."
        ) from error


def _describe(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(method := getattr(value, "describe", None)) and not inspect.isclass(value):
        return method()
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and not _are_samples(value):
        items = [_describe(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    return _describe_object(value)


def _are_samples(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and hasattr(value[0], "image")


def _describe_object(value: object) -> Any:
    if isinstance(value, functools.partial):
        return [_describe(part) for part in (value.func, value.args, value.keywords)]
    if is_array_api_obj(value):
        return {"sha256": fingerprint(value)}
    if isinstance(value, enum.Enum):
        return str(value)
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "__getitem__") and hasattr(value, "__len__"):
        return {"samples": len(value)}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    return {"type": name} | {key: _describe(item) for key, item in _public(value).items()}


def _public(value: object) -> dict[str, object]:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        names = list(getattr(value, "__dict__", ()))
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def environment() -> dict[str, Any]:
    """Return what is running: the versions of Python and of the packages loaded, and the machine.

    With another number of threads, or on another machine, sums are added up in another order, so
    that a run which continues there need not end with the same bytes.
    """
    names = ("pladapt", "numpy", "pyarrow", "pluggy", "torch", "lightning", "onnxruntime", "timm")
    loaded = [name for name in names if name in sys.modules]
    torch = sys.modules.get("torch")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.node()}: {platform.system()} {platform.machine()}",
        "threads": None if torch is None else torch.get_num_threads(),
        "packages": {name: getattr(sys.modules[name], "__version__", "unknown") for name in loaded},
    }


@contextmanager
def locked_run(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Hold a run folder for this process alone: a new run, or the one there if it is the same.

    Args:
        folder: The run folder; it is made if need be.
        config: What the run depends on; JSON-able.

    Yields:
        The folder.

    Raises:
        RunChangedError: As for `open_run`.
        DataError: The same.
        BusyError: Another process works in the folder.
    """
    with locked(folder / ".lock"):
        sweep(folder)
        open_run(folder, config)
        yield folder


def open_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Start a run in an empty or new folder, or make sure that it continues the one there.

    Raises:
        RunChangedError: The folder holds a run that was asked for otherwise; says what differs.
        DataError: The manifest is damaged, of another version, or missing although there are
            stages.
    """
    config = json.loads(to_json(config))
    known: list[Any] = []
    if (folder / _NAME).exists():
        known = _continued(folder, config)
    elif stages := [path for pattern in _STAGES for path in folder.glob(pattern)]:
        raise DataError(
            f"{folder} has {stages[0].relative_to(folder)} of a run, and no {_NAME} that says of "
            "which; give another folder, or empty this one to start anew."
        )
    if environment() not in known:
        made = {"config": config, "environments": [*known, environment()]}
        write_sealed(made, folder / _NAME)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a run's ``run.json``: its ``config``, and the ``environments`` that it ran in.

    Raises:
        MissingDataError: There is none.
        DataError: It is damaged, or of another version of the format.
    """
    path = folder / _NAME
    if not path.exists():
        raise MissingDataError(f"{folder} has no {_NAME}; give the folder of a run.")
    manifest = read_sealed(path, "manifest of a run", "use another folder")
    if not isinstance(manifest.get("config"), dict):
        raise DataError(f"{path} is no manifest of a run; use another folder.")
    return manifest


def _continued(folder: Path, config: Mapping[str, Any]) -> list[Any]:
    stored = read_manifest(folder)
    changes = list(_differences("", stored["config"], config))
    if changes:
        raise RunChangedError(
            f"{folder} holds a run made with other inputs or parameters: {'; '.join(changes)}."
            " Give the same again to continue it, or another folder to start anew."
        )
    return list(stored["environments"])


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(
                f"{name}.{key}".strip("."), before.get(key, "nothing"), now.get(key, "nothing")
            )
    elif json.dumps(before) != json.dumps(now):  # NaN equals itself in text
        yield f"{name} was {before!r} and is now {now!r}"
