"""Weights from the files that people have: safetensors, and what ``torch.save`` wrote."""

from __future__ import annotations

import codecs
import pickle
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy._core import multiarray  # the name that numpy's pickles have

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch.storage import read_state

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

PICKLED: Final = (".pt", ".pth", ".ckpt", ".bin")
"""The suffixes of the files that `torch.load` reads."""

# under which trainers keep the weights beside the optimiser's state
_KEYS: Final = (
    "state_dict",
    "model_state_dict",
    "network_weights",
    "model",
    "network",
    "net",
    "module",
    "weights",
)
_PREFIXES: Final = ("module.", "model.", "net.", "network.")
_COMPILED: Final = "_orig_mod."
_UNSAFE: Final = re.compile(r"(?:GLOBAL|function|class) '?([\w.]+)")
_SHOWN: Final = 3


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of weights, without running any code that it may hold.

    Args:
        path: ``.safetensors``; or ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` with a state dict, or
            with a checkpoint that has one under a usual key: ``state_dict`` (Lightning),
            ``model_state_dict``, ``network_weights`` (nnU-Net), ``model``, ``network``, ``net``.

    Returns:
        The tensors by the names that the file gives them.

    Raises:
        MissingDataError: There is no such file.
        InputError: It is of another kind, holds no weights, or more than weights: a whole module,
            TorchScript, or objects that could run code.
        DataError: It is truncated or altered.
    """
    if not path.is_file():
        raise MissingDataError(f"There is no file of weights {path}.")
    if path.suffix == ".safetensors":
        return read_state(path)
    if path.suffix not in PICKLED:
        raise InputError(
            f"The weights are {path}; expected .safetensors, or one of {', '.join(PICKLED)} with a "
            "state dict. An exported program or an ONNX file can be run and not trained: save the "
            "module's state_dict() where it was made."
        )
    return _tensors(read_checkpoint(path), path)


def read_checkpoint(path: Path) -> Any:
    """Read what ``torch.save`` wrote, as far as it is tensors, numbers, strings and containers.

    numpy's scalars and arrays are read as well: trainers note a best score with them.

    Raises:
        InputError: It holds anything else, which could run code.
        DataError: It is truncated, or no such file.
    """
    try:
        with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*TorchScript archive", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe = _UNSAFE.search(str(error))
        if unsafe is None:
            raise _unreadable(path, error) from error
        raise InputError(_refusal(path, unsafe[1])) from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise InputError(_refusal(path, "a TorchScript program")) from error
        raise _unreadable(path, error) from error
    except (EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise _unreadable(path, error) from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Read a file of weights into a module of the same architecture, in place.

    The names may have any of the prefixes ``module.``, ``_orig_mod.``, ``model.``, ``net.`` and
    ``network.`` before the module's own, also several; then what lies beside them, such as the
    weights of a loss, is left out.

    Args:
        module: Gets the weights.
        path: As for `read_weights`.

    Raises:
        MissingDataError: There is no such file.
        InputError: As for `read_weights`.
        DataError: The file is truncated, or its names and shapes are not the module's.
    """
    put_weights(module, read_weights(path), path)


def put_weights(module: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Give a module the weights that a file holds, as `load_weights` does.

    Args:
        module: Gets the weights.
        state: The tensors by the file's names.
        path: The file, for messages.

    Raises:
        DataError: The names and shapes are not the module's.
    """
    own = {name: value for name, value in module.state_dict().items() if _is_tensor(value)}
    names = {name.replace(_COMPILED, ""): name for name in own}
    shapes = {plain: tuple(own[name].shape) for plain, name in names.items()}
    found = _unprefixed({k.replace(_COMPILED, ""): v for k, v in state.items()}, shapes)
    # counts of batches decide nothing, and files of old versions of torch lack them
    needed = {k: s for k, s in shapes.items() if k in found or not k.endswith("_batches_tracked")}
    if problems := _problems(needed, found):
        raise DataError(_mismatch(module, path, problems, fits=bool(found.keys() & shapes.keys())))
    module.load_state_dict({names[name]: value for name, value in found.items()}, strict=False)


def _tensors(loaded: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict that a checkpoint is, or holds under a usual key."""
    part = loaded
    while isinstance(part, Mapping):
        tensors = {str(name): value for name, value in part.items() if _is_tensor(value)}
        inner = [key for key in _KEYS if isinstance(part.get(key), Mapping)]
        if tensors and not inner:
            return tensors
        if not inner:
            break
        part = part[inner[0]]
    held = list(loaded)[:8] if isinstance(loaded, Mapping) else type(loaded).__name__
    raise InputError(
        f"{path} holds no weights under a usual key, but {held}; expected a state dict, or one "
        f"under {', '.join(_KEYS[:4])} or the like. Write that part to a file of its own: "
        f"torch.save(torch.load('{path.name}')[...], 'weights.pt')."
    )


def _unprefixed(
    state: dict[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    """Return the state without the prefix that makes most of its names the module's.

    Beside a prefix other things may lie; without one all there is counts.
    """
    prefixes = [""]
    for prefix in prefixes:  # which grows meanwhile
        longer = (prefix + more for more in _PREFIXES)
        prefixes += [p for p in longer if any(name.startswith(p) for name in state)]
    stripped = [
        {k.removeprefix(p): v for k, v in state.items() if k.startswith(p)} for p in prefixes
    ]
    return max(stripped, key=lambda found: sum(_fits(found, k, s) for k, s in shapes.items()))


def _fits(found: Mapping[str, torch.Tensor], name: str, shape: tuple[int, ...]) -> int:
    return 0 if name not in found else 1 + (tuple(found[name].shape) == shape)


def _problems(
    shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, torch.Tensor]
) -> dict[str, list[str]]:
    """Return what does not fit, by its kind; kinds without any are left out."""
    other = [
        f"{name} {tuple(found[name].shape)} for {shape}"
        for name, shape in shapes.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    kinds = {
        "missing": [name for name in shapes if name not in found],
        "unexpected": [name for name in found if name not in shapes],
        "of another shape": other,
    }
    return {kind: names for kind, names in kinds.items() if names}


def _mismatch(
    module: nn.Module, path: Path, problems: Mapping[str, list[str]], *, fits: bool
) -> str:
    told = "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if names[_SHOWN:] else ''})"
        for kind, names in problems.items()
    )
    start = f"{path} does not fit the {type(module).__name__}"
    start += ": " if fits else ", of whose weights it has none: "
    return (
        f"{start}{told}. Give the file of a module of the same architecture, or the arguments with "
        "which the module was made."
    )


def _refusal(path: Path, what: str) -> str:
    return (
        f"{path} holds more than weights ({what}), and reading that can run code. If you trust it, "
        "write the weights alone, once, where it was made: torch.save(module.state_dict(), "
        "'weights.pt'); or, for a checkpoint, torch.save(torch.load("
        f"'{path.name}', weights_only=False)['state_dict'], 'weights.pt')."
    )


def _unreadable(path: Path, error: Exception) -> DataError:
    said = (str(error).splitlines() or [""])[0]  # torch goes on with advice of its own
    return DataError(
        f"{path} cannot be read ({type(error).__name__}: {said}). It is truncated, or torch.save "
        "did not write it; make it anew."
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _numpy_globals() -> list[Any]:
    """Return what numpy's scalars and arrays of numbers and strings are pickled with."""
    known: list[Any] = [np.dtype, np.ndarray, codecs.encode]
    known += [type(np.dtype(code)) for code in "?bhilqBHILQefdUS"]
    for name in ("scalar", "_reconstruct"):
        function = getattr(multiarray, name)
        known += [function, (function, f"numpy.core.multiarray.{name}")]  # of numpy 1
    return known
