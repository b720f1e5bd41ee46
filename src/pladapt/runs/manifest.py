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
from types import CodeType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from array_api_compat import is_array_api_obj

from pladapt.errors import DataError, InputError, MissingDataError, RunChangedError
from pladapt.functional.arrays import to_numpy
from pladapt.storage import READ_ONLY, locked, read_sealed, sweep, to_json, write_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pladapt.types import Array

_PLAIN: Final = (
    enum.Enum,
    bytes,
    bytearray,
    Mapping,
    set,
    frozenset,
    functools.partial,
    list,
    tuple,
)
_KNOWN: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
_NAME: Final = "run.json"
_STAGES: Final = (
    "digests.json",
    "round-*/**/digests.json",
    "recalibration/digests.json",
    "choice/digests.json",
)


def fingerprint(image: Array) -> str:
    """Return the SHA-256 of an image's shape, dtype and bytes."""
    array = np.ascontiguousarray(to_numpy(image))
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()


def describe(value: object) -> Any:
    """Return what a run's manifest says of a value: JSON that changes when the value does.

    A part may say it itself with ``describe()``. Otherwise its class and its attributes count, but
    for those that a dataclass neither compares nor shows (a cache, say). Arrays count by their
    SHA-256, samples by that of their ids, images and masks, and what has a ``state_dict``, such as
    a torch module, by that of its weights. Functions and classes count by name; those of a package
    without a version, such as a script of one's own, by their code as well.

    Raises:
        InputError: The value refers to itself.
    """
    return _describe(value, ())


def _describe(value: object, outer: tuple[int, ...]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(method := getattr(value, "describe", None)) and not inspect.isclass(value):
        return method()
    if inspect.isroutine(value) or inspect.isclass(value):
        return _describe_code(value, outer)
    if id(value) in outer:
        raise InputError(
            f"A {type(value).__qualname__} refers to itself and cannot be described for the run's "
            "manifest; give it a method describe()."
        )
    return _describe_object(value, (*outer, id(value)))


def _describe_object(value: object, outer: tuple[int, ...]) -> Any:
    if is_array_api_obj(value):
        return {"sha256": fingerprint(value)}
    if callable(state := getattr(value, "state_dict", None)):
        return _described_as(value, weights=_sha256([state(), _structure(value)], outer))
    if hasattr(first := _first(value), "image"):
        return _samples(value)
    if isinstance(value, _PLAIN):
        return _describe_plain(value, outer)
    if first is not None:
        items = [value[index] for index in range(len(value))]  # type: ignore[arg-type,index]
        return _described_as(value, items=_sha256(items, outer))
    return _described_as(value) | {
        name: _describe(item, outer) for name, item in _attributes(value).items()
    }


def _describe_plain(value: Any, outer: tuple[int, ...]) -> Any:
    match value:
        case enum.Enum():
            return str(value)
        case bytes() | bytearray():
            return {"sha256": hashlib.sha256(value).hexdigest()}
        case Mapping():
            return {str(key): _describe(item, outer) for key, item in value.items()}
        case set() | frozenset():
            return sorted((_describe(item, outer) for item in value), key=str)
        case functools.partial():
            value = value.func, value.args, value.keywords
    return [_describe(item, outer) for item in value]


def _described_as(value: object, **more: object) -> dict[str, Any]:
    return {"type": _describe_code(type(value), ()), **more}


def _sha256(value: object, outer: tuple[int, ...]) -> str:
    return hashlib.sha256(to_json(_describe(value, outer)).encode()).hexdigest()


def _structure(module: Any) -> list[Any]:
    """Return what a torch module computes with beside weights: each part's class and options."""
    named = getattr(module, "named_modules", None)
    if named is None:
        return []
    hidden = ("_", "training")  # what torch itself keeps, and a mode that predicting sets
    return [
        [name, type(part), {k: v for k, v in vars(part).items() if not k.startswith(hidden)}]
        for name, part in named()
    ]


def _first(value: Any) -> Any:
    """Return the first item of what can be counted and indexed, or None."""
    try:
        return value[0] if len(value) and not isinstance(value, Mapping) else None
    except (TypeError, LookupError, AttributeError):
        return None


def _samples(samples: Any) -> dict[str, Any]:
    """Describe samples; a lazy view is read once in a process."""
    try:
        known = _KNOWN.get(samples)
    except TypeError:  # a list, of which there is no weak reference
        return _read_samples(samples)
    if known is None:
        known = _KNOWN[samples] = _read_samples(samples)
    return known


def _read_samples(samples: Any) -> dict[str, Any]:
    digest = hashlib.sha256()
    for index in range(len(samples)):
        sample = samples[index]
        names = ("image", "mask", "label", "probabilities", "weight")
        held = [getattr(sample, name, None) for name in names]
        said = [None if array is None else fingerprint(array) for array in held]
        digest.update(to_json([sample.id, sample.group, said]).encode())
    return {"samples": len(samples), "sha256": digest.hexdigest()}


def _attributes(value: object) -> dict[str, object]:
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.compare or f.repr]
    else:
        slots = (getattr(kind, "__slots__", ()) for kind in type(value).__mro__)
        names = [n for each in slots for n in ([each] if isinstance(each, str) else each)]
        names += [n for n in getattr(value, "__dict__", ()) if not _is_cache(value, n)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _is_cache(value: object, name: str) -> bool:
    return isinstance(getattr(type(value), name, None), functools.cached_property)


def _describe_code(value: Any, outer: tuple[int, ...]) -> Any:
    """Describe a function, a method with what it is bound to, or a class."""
    name = f"{value.__module__}.{value.__qualname__}"
    if id(value) in outer:
        return name
    outer = (*outer, id(value))
    if inspect.ismethod(value):
        return [_describe_code(value.__func__, outer), _describe(value.__self__, outer)]
    if inspect.isclass(value):
        kinds = [kind for kind in value.__mro__ if _is_own(kind)]
        held = [[k, _member(v)] for kind in kinds for k, v in vars(kind).items() if _counts(v)]
    elif inspect.isfunction(value):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        known: list[Any] = [cells, value.__defaults__, value.__kwdefaults__]
        held = [each for each in known if each]
        held += [_code(value.__code__)] if _is_own(value) else []
    else:
        held = []
    if not held:
        return name
    return f"{name}@{_sha256(held, outer)[:16]}"


def _counts(member: object) -> bool:
    """Return whether a member of a class is code, or a plain value."""
    return inspect.isfunction(member) or isinstance(member, bool | int | float | str)


def _member(member: Any) -> Any:
    return _code(member.__code__) if inspect.isfunction(member) else member


def _is_own(value: Any) -> bool:
    """Return whether a class or function is of a package that has no version to tell it by."""
    top = value.__module__.partition(".")[0]
    return top not in sys.stdlib_module_names and not hasattr(sys.modules.get(top), "__version__")


def _code(code: CodeType) -> list[Any]:
    constants = [
        _code(constant)
        if isinstance(constant, CodeType)
        else sorted(map(repr, constant))
        if isinstance(constant, frozenset)
        else repr(constant)
        for constant in code.co_consts
    ]
    return [code.co_code, code.co_names, constants]


def environment() -> dict[str, Any]:
    """Return what is running: the versions of Python and of the packages loaded, and the machine.

    With another number of threads or of processes that train together, or on another machine, sums
    are added up in another order, so that a run which continues there need not end with the same
    bytes.
    """
    names = ("pladapt", "numpy", "pyarrow", "pluggy", "torch", "lightning", "onnxruntime", "timm")
    loaded = [name for name in names if name in sys.modules]
    torch = sys.modules.get("torch")
    size = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
    return {
        **({"processes": int(size)} if size != "1" else {}),
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
    stored: dict[str, Any] = {}
    if (folder / _NAME).exists():
        stored = _continued(folder, config)
    elif stages := [path for pattern in _STAGES for path in folder.glob(pattern)]:
        raise DataError(
            f"{folder} has {stages[0].relative_to(folder)} of a run, and no {_NAME} that says of "
            "which; give another folder, or empty this one to start anew."
        )
    known = stored.get("environments", [])
    if environment() not in known:
        made = {"config": config, "environments": [*known, environment()]}
        with _read_only(stored):
            write_sealed(stored | made, folder / _NAME)


@contextmanager
def _read_only(stored: Mapping[str, Any]) -> Iterator[None]:
    """Let a run that is there be read where nothing can be written."""
    try:
        yield
    except OSError as error:
        if not stored or error.errno not in READ_ONLY:
            raise


def note_reviews(folder: Path, reviews: Sequence[Mapping[str, Any]]) -> None:
    """Note who reviewed before a round, once: as ``reviews`` in ``run.json``.

    Args:
        folder: The run folder.
        reviews: A row for each person.
    """
    _note(folder, "reviews", reviews)


def note_environments(folder: Path, environments: Sequence[Mapping[str, Any]]) -> None:
    """Note where else something of a run was made, once: in ``environments`` of ``run.json``."""
    _note(folder, "environments", environments)


def _note(folder: Path, name: str, values: Sequence[Mapping[str, Any]]) -> None:
    manifest = read_manifest(folder)
    known = manifest.get(name, [])
    if new := [value for value in values if value not in known]:
        write_sealed(manifest | {name: [*known, *new]}, folder / _NAME)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a run's ``run.json``: its ``config``, and the ``environments`` that it ran in.

    Where people reviewed its masks there are ``reviews``: who, what and how long before which
    round.

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


def _continued(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    stored = read_manifest(folder)
    changes = list(_differences("", stored["config"], config))
    if changes:
        raise RunChangedError(
            f"{folder} holds a run made with other inputs or parameters: {'; '.join(changes)}."
            " Give the same again to continue it, or another folder to start anew."
        )
    return stored


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(
                f"{name}.{key}".strip("."), before.get(key, "nothing"), now.get(key, "nothing")
            )
    elif json.dumps(before) != json.dumps(now):  # NaN equals itself in text
        yield f"{name} was {before!r} and is now {now!r}"
