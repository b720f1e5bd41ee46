"""The run folder: a manifest, and stages that are either whole or not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pladapt.errors import DataError
from pladapt.storage import atomic_write, read_table, to_json, write_table
from pladapt.types import EVIDENCE, Evaluation, Judgement, PseudoLabelled, Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import Sample


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write an evaluation as ``samples.parquet``, ``summary.parquet`` and ``notes.json``."""
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        write_table(evaluation.samples, temporary / "samples.parquet")
        write_table(evaluation.summary, temporary / "summary.parquet")
        (temporary / "notes.json").write_text(to_json(dict(evaluation.notes)), encoding="utf-8")


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
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        evidence = pa.concat_tables([each.evidence.cast(EVIDENCE) for each in judgements])
        write_table(evidence, temporary / "evidence.parquet")
        said = {"accepted": not reasons, "reasons": reasons}
        (temporary / "judgement.json").write_text(to_json(said), encoding="utf-8")


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
