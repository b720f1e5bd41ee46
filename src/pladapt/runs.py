"""The run folder: a manifest, and stages that are either whole or not there."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_api_compat import is_array_api_obj

from pladapt.arrays import to_numpy
from pladapt.errors import DataError, InputError, RunChangedError
from pladapt.types import EVIDENCE, Evaluation, Judgement, PseudoLabelled, Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import Array, Sample


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a place to write a file or folder to, and rename it to ``path`` once it is whole.

    Where the block raises, what it wrote is removed, and what was at ``path`` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    _remove(aside)
    try:
        yield aside
    except BaseException:
        _remove(aside)
        raise
    os.replace(aside, path)  # noqa: PTH105 - Path.replace cannot tell a folder from a file either


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as parquet, whole or not at all."""
    with written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a table.

    Raises:
        DataError: The file is not a whole parquet file.
    """
    with parquet_errors(path):
        return pq.read_table(path, memory_map=False, partitioning=None)


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Name the file that is read inside and is no whole parquet file.

    Raises:
        DataError: It is not.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no whole parquet file ({error}); delete it and run again."
        ) from error


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write an evaluation as ``samples.parquet``, ``summary.parquet`` and ``notes.json``."""
    with written_aside(folder) as aside:
        aside.mkdir()
        write_table(evaluation.samples, aside / "samples.parquet")
        write_table(evaluation.summary, aside / "summary.parquet")
        (aside / "notes.json").write_text(_json(dict(evaluation.notes)), encoding="utf-8")


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation that `write_evaluation` wrote."""
    return Evaluation(
        read_table(folder / "samples.parquet"),
        read_table(folder / "summary.parquet"),
        json.loads((folder / "notes.json").read_text(encoding="utf-8")),
    )


def write_judgement(judgements: Sequence[Judgement], folder: Path) -> None:
    """Write what several gates said of a round as one judgement: all must accept it.

    It becomes ``evidence.parquet`` and ``judgement.json``.
    """
    reasons = [reason for judgement in judgements for reason in judgement.reasons]
    with written_aside(folder) as aside:
        aside.mkdir()
        evidence = pa.concat_tables([each.evidence.cast(EVIDENCE) for each in judgements])
        write_table(evidence, aside / "evidence.parquet")
        said = {"accepted": not reasons, "reasons": reasons}
        (aside / "judgement.json").write_text(_json(said), encoding="utf-8")


def read_judgement(folder: Path) -> Judgement:
    """Read a judgement that `write_judgement` wrote."""
    said = json.loads((folder / "judgement.json").read_text(encoding="utf-8"))
    evidence = read_table(folder / "evidence.parquet")
    return Judgement(said["accepted"], tuple(said["reasons"]), evidence)


def write_labels(labels: Iterable[tuple[str, Mapping[str, NDArray[Any]]]], path: Path) -> None:
    """Write pseudo-labels by id, each compressed on its own so that one can be read alone.

    Args:
        labels: For each id the ``label`` ``(*S)`` uint8; and for all or none ``probabilities``
            ``(K, *S)``, ``weight`` ``(*S)``, or both, in [0, 1]. They are stored as uint8 in steps
            of 1/255, so that one read back is off by 1/510 at most.
        path: The file.
    """
    rows = [
        {"id": id_, "shape": list(arrays["label"].shape)}
        | {name: _packed(array) for name, array in arrays.items()}
        for id_, arrays in labels
    ]
    soft = [name for name in ("probabilities", "weight") if rows and name in rows[0]]
    schema = pa.schema(
        [("id", pa.string()), ("shape", pa.list_(pa.int64())), ("label", pa.binary())]
        + [(name, pa.binary()) for name in soft]
    )
    write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _packed(array: NDArray[Any]) -> bytes:
    levels = array if array.dtype == np.uint8 else np.rint(255 * array).astype(np.uint8)
    packed: bytes = pa.compress(np.ascontiguousarray(levels).tobytes(), "zstd", asbytes=True)
    return packed


class PseudoLabels(Samples[PseudoLabelled]):
    """The kept target samples with their stored labels, the surest first; images load lazily.

    Args:
        target: All target samples.
        positions: Where in ``target`` each kept sample stands.
        scores: The kept samples' scores.
        path: What `write_labels` wrote for all samples of the target, in their order.

    Raises:
        DataError: The file has labels of another number of samples.
    """

    def __init__(
        self, target: Samples[Sample], positions: Sequence[int], scores: Sequence[float], path: Path
    ) -> None:
        self._target, self._positions, self._scores = target, positions, scores
        self._labels = read_table(path)
        if len(self._labels) != len(target):
            raise DataError(
                f"{path} has labels of {len(self._labels)} samples, and the target has "
                f"{len(target)}; delete it and run again to make it anew."
            )

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int, /) -> PseudoLabelled:
        place = self._positions[index]
        sample = self._target[place]
        shape = self._labels["shape"][place].as_py()
        soft = {
            name: _unpacked(self._labels, name, place).reshape(given) / np.float32(255)
            for name, given in (("probabilities", [-1, *shape]), ("weight", shape))
            if name in self._labels.column_names
        }
        label = _unpacked(self._labels, "label", place).reshape(shape).copy()
        score = self._scores[index]
        return PseudoLabelled(sample.id, sample.group, sample.image, label, score, **soft)


def read_labels(path: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield each id with its ``label`` ``(*S)`` of what `write_labels` wrote."""
    labels = read_table(path)
    for index, id_ in enumerate(labels["id"].to_pylist()):
        yield id_, _unpacked(labels, "label", index).reshape(labels["shape"][index].as_py())


def _unpacked(labels: pa.Table, name: str, index: int) -> NDArray[np.uint8]:
    packed = pa.BufferReader(labels[name][index].as_buffer())
    return np.frombuffer(pa.CompressedInputStream(packed, "zstd").read(), np.uint8)


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
    """Return the versions of what is running: Python, the machine, and the packages loaded."""
    names = ("pladapt", "numpy", "pyarrow", "pluggy", "torch", "lightning", "onnxruntime", "timm")
    loaded = [name for name in names if name in sys.modules]
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "packages": {name: getattr(sys.modules[name], "__version__", "unknown") for name in loaded},
    }


def open_run(folder: Path, asked: Mapping[str, Any]) -> None:
    """Start a run in an empty or new folder, or make sure that it continues the one there.

    Raises:
        RunChangedError: The folder holds a run that was asked for otherwise; says what differs.
    """
    path = folder / "run.json"
    manifest = {"asked": json.loads(_json(asked)), "environments": []}
    if path.exists():
        manifest["environments"] = _continued(path, manifest["asked"])
    if environment() not in manifest["environments"]:
        manifest["environments"].append(environment())
    with written_aside(path) as aside:
        aside.write_text(_json(manifest), encoding="utf-8")


def _continued(path: Path, asked: Mapping[str, Any]) -> list[Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        before, environments = stored["asked"], stored["environments"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no manifest of a run ({error!r}); use another folder."
        ) from error
    changes = list(_differences("", before, asked))
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


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
