"""Weights on disk, as safetensors: nothing in such a file can run code."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pladapt.errors import DataError, MissingDataError
from pladapt.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn


_BROKEN: Final = (SafetensorError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
_HEADER: Final = "pladapt"  # one key alone: safetensors writes several in no fixed order


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers: names, types, shapes and values."""
    return tensors_sha256(module.state_dict())


def tensors_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # as bytes, since numpy lacks bfloat16
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_module(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers to a safetensors file.

    The file's header has the SHA-256 of `state_sha256` and the version of torch.
    """
    state = module.state_dict()
    write_tensors(state, path, {"sha256": tensors_sha256(state), "torch": str(torch.__version__)})


def load_module(module: nn.Module, path: Path) -> None:
    """Read what `save_module` wrote into a module of the same architecture, in place.

    Raises:
        MissingDataError: There is no such file.
        DataError: The file is truncated or altered, or its names and shapes are not the module's.
    """
    state = read_state(path)
    _check_keys(module.state_dict(), state, path)
    module.load_state_dict(state)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of weights: what `save_module` wrote, or another program.

    Raises:
        MissingDataError: There is no such file.
        DataError: The file is truncated or altered.
    """
    state, header = read_tensors(path)
    if header.get("sha256", tensors_sha256(state)) != tensors_sha256(state):
        raise DataError(
            f"{path} does not have the weights that its own SHA-256 names; get it anew."
        )
    return state


def write_tensors(
    tensors: Mapping[str, torch.Tensor], path: Path, header: Mapping[str, Any]
) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    Args:
        tensors: What to write.
        path: The file.
        header: What to keep beside the tensors; JSON-able.
    """
    # a copy each: safetensors refuses tensors that share memory, such as tied weights
    copies = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(copies, metadata={_HEADER: json.dumps(header)}))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a safetensors file's tensors and header; the header is empty in a foreign file.

    Raises:
        MissingDataError: There is no such file.
        DataError: The file is truncated or not a safetensors file.
    """
    if not path.is_file():
        raise MissingDataError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, json.loads((file.metadata() or {}).get(_HEADER, "{}"))
    except _BROKEN as error:
        raise DataError(
            f"{path} cannot be read: {error}. It is truncated or no safetensors file; make it anew."
        ) from error


def _check_keys(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], path: Path
) -> None:
    shapes = [{name: tuple(t.shape) for name, t in state.items()} for state in (expected, found)]
    wrong = sorted(shapes[0].items() ^ shapes[1].items())
    if wrong:
        shown = ", ".join(f"{name} {shape}" for name, shape in wrong[:5])
        raise DataError(
            f"{path} does not fit the module: {len(wrong)} names or shapes are in one of the two "
            f"alone, first {shown}. Give the file of a module of the same architecture."
        )
