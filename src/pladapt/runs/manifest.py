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
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import is_array_api_obj

from pladapt.errors import DataError, InputError, RunChangedError
from pladapt.functional.arrays import to_numpy
from pladapt.storage import atomic_write, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pladapt.types import Array


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
    if isinstance(value, functools.partial | types.MethodType):
        return [_describe(part) for part in _bound(value)]
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


def _bound(value: functools.partial[Any] | types.MethodType) -> tuple[object, ...]:
    """Return a function and what it is bound to."""
    if isinstance(value, types.MethodType):
        return value.__func__, value.__self__
    return value.func, value.args, value.keywords


def _public(value: object) -> dict[str, object]:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        names = list(getattr(value, "__dict__", ()))
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def environment() -> dict[str, Any]:
    """Return the versions of what is running: Python, the machine, and the packages loaded."""
    names = ("pladapt", "numpy", "pyarrow", "pluggy", "torch", "lightning", "onnxruntime", "timm")
    loaded = [name for name in names if name in sys.modules]
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: getattr(sys.modules[name], "__version__", "unknown") for name in loaded},
    }


def open_run(folder: Path, config: Mapping[str, Any]) -> None:
    """Start a run in an empty or new folder, or make sure that it continues the one there.

    Raises:
        RunChangedError: The folder holds a run that was asked for otherwise; says what differs.
    """
    path = folder / "run.json"
    manifest = {"config": json.loads(to_json(config)), "environments": []}
    if path.exists():
        manifest["environments"] = _continued(path, manifest["config"])
    if environment() not in manifest["environments"]:
        manifest["environments"].append(environment())
    with atomic_write(path) as temporary:
        temporary.write_text(to_json(manifest), encoding="utf-8")


def _continued(path: Path, config: Mapping[str, Any]) -> list[Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        before, environments = stored["config"], stored["environments"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no manifest of a run ({error!r}); use another folder."
        ) from error
    changes = list(_differences("", before, config))
    if changes:
        raise RunChangedError(
            f"{path.parent} holds a run made with other inputs or parameters: {'; '.join(changes)}."
            " Give the same again to continue it, or another folder to start anew."
        )
    return list(environments)


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(
                f"{name}.{key}".strip("."), before.get(key, "nothing"), now.get(key, "nothing")
            )
    elif json.dumps(before) != json.dumps(now):  # NaN equals itself in text
        yield f"{name} was {before!r} and is now {now!r}"
