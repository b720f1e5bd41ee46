"""How far a training has come, kept in one file so that it can be continued."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from pladapt.errors import DataError, RunChangedError
from pladapt.storage import FORMAT
from pladapt.torch.storage import read_tensors, tensors_sha256, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

State: TypeAlias = dict[str, torch.Tensor]
Row: TypeAlias = dict[str, float]
"""An epoch: ``epoch`` (from 1), ``train_loss``, ``val_loss``, ``val_dsc`` and ``seconds``.

``val_loss`` and ``val_dsc`` are missing where nothing validates.
"""


@dataclass
class TrainingState:
    """A training after an epoch.

    There is no state of a random generator: each epoch is seeded anew.

    Args:
        module: The weights after the last epoch.
        average: The moving average of the weights, and of how many steps; empty without one.
        best: The weights of the best epoch so far; empty before the first.
        best_epoch: Its number, from 1; 0 before the first.
        history: A row per epoch.
        optimizer: The optimiser's state, or None before the first epoch.
        scaler: The loss scaler's state, for float16.
        stopping: The early stopping's state.
        finished: Whether training ended, by its last epoch or early.
    """

    module: State = field(default_factory=dict)
    average: State = field(default_factory=dict)
    best: State = field(default_factory=dict)
    best_epoch: int = 0
    history: list[Row] = field(default_factory=list)
    optimizer: dict[str, Any] | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    stopping: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


def save_state(state: TrainingState, path: Path, fingerprint: Mapping[str, Any]) -> None:
    """Write the state, whole or not at all, with a SHA-256 of the whole.

    Args:
        state: What to write.
        path: The file.
        fingerprint: What the training depends on; JSON-able.
    """
    weights = {"module": state.module, "average": state.average, "best": state.best}
    tensors = {k: v for name, part in weights.items() for k, v in _prefixed(name, part).items()}
    slots: dict[str, dict[str, Any]] = {}
    optimizer = state.optimizer or {"state": {}, "param_groups": []}
    for index, entries in optimizer["state"].items():
        kept = {k: v for k, v in entries.items() if isinstance(v, torch.Tensor)}
        tensors |= _prefixed(f"optimizer.{index}", kept)
        slots[str(index)] = {k: v for k, v in entries.items() if k not in kept}
    header = {
        "best_epoch": state.best_epoch,
        "history": state.history,
        "slots": slots,
        "param_groups": optimizer["param_groups"],
        "scaler": state.scaler,
        "stopping": state.stopping,
        "finished": state.finished,
        "fingerprint": fingerprint,
    }
    write_tensors(tensors, path, {**header, "sha256": _sha256(tensors, header)})


def _sha256(tensors: State, header: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(header))  # as it is read back, with text for keys
    said = json.dumps([FORMAT, tensors_sha256(tensors), plain], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def load_state(path: Path, fingerprint: Mapping[str, Any]) -> TrainingState:
    """Read what `save_state` wrote.

    Raises:
        DataError: The file is damaged, or not of a training or of this version.
        RunChangedError: The training in the file depends on something else.
    """
    tensors, header = read_tensors(path)
    if header.pop("sha256", None) != _sha256(tensors, header):
        raise DataError(
            f"{path} has no training's state as this version of pladapt writes it: it is damaged, "
            "or another file. Remove it to train anew, or give another path."
        )
    _check_fingerprint(header["fingerprint"], json.loads(json.dumps(fingerprint)), path)
    slots: dict[int, dict[str, Any]] = {int(k): v for k, v in header["slots"].items()}
    for name, tensor in _stripped("optimizer", tensors).items():
        index, key = name.split(".", 1)
        slots[int(index)][key] = tensor
    return TrainingState(
        module=_stripped("module", tensors),
        average=_stripped("average", tensors),
        best=_stripped("best", tensors),
        best_epoch=header["best_epoch"],
        history=header["history"],
        optimizer={"state": slots, "param_groups": header["param_groups"]},
        scaler=header["scaler"],
        stopping=header["stopping"],
        finished=header["finished"],
    )


def _check_fingerprint(found: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    changed = sorted(k for k in found.keys() | given.keys() if found.get(k) != given.get(k))
    if changed:
        told = "; ".join(f"{k} was {found.get(k)!r} and is {given.get(k)!r}" for k in changed)
        raise RunChangedError(
            f"The training in {path} cannot be continued: {told}. Remove the file to begin anew."
        )


def _prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> State:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _stripped(prefix: str, tensors: Mapping[str, torch.Tensor]) -> State:
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
