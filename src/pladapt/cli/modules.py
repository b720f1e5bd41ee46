"""Torch modules on the command line: a function that makes one, and a file of weights.

Files that hold a whole module are not read: pickled ones run code; and those that do not (exported
programs, ONNX) can be run and not trained.
"""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from pladapt.cli.options import named_values
from pladapt.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Factory: TypeAlias = Annotated[
    str, typer.Argument(help="What makes the torch module, as package.module:function.")
]
Weights: TypeAlias = Annotated[
    Path | None, typer.Option(help="The weights, as safetensors; else the function's own.")
]
Arguments: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(help="An argument of the function as NAME=VALUE; may be repeated."),
]


def build_module(reference: str, arguments: list[str] | None, weights: Path | None) -> nn.Module:
    """Make a module, and give it the weights of a file.

    Args:
        reference: ``package.module:function``; a module in the current folder counts.
        arguments: The function's, each as NAME=VALUE.
        weights: What `pladapt.torch.save_module` wrote, or None.

    Raises:
        InputError: That makes no torch module, or the weights are no safetensors file.
        MissingDataError: There is no file of weights.
        DataError: The weights are truncated, or not of this architecture.
    """
    from pladapt.torch import load_module  # noqa: PLC0415 - help must not wait for torch

    _refuse_file(reference)
    module = _called(reference, arguments or [])
    if weights is not None:
        _refuse_pickle(weights)
        load_module(module, weights)
    return module


def _called(reference: str, arguments: list[str]) -> nn.Module:
    from torch import nn  # noqa: PLC0415 - help must not wait for torch

    given = named_values(arguments, "--argument")
    sys.path.insert(0, str(Path.cwd()))  # as python -m does
    try:
        module = pkgutil.resolve_name(reference)(**given)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"{reference!r} with the arguments {given} makes no module: {error}. Give "
            "package.module:function, and its arguments with --argument NAME=VALUE."
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{reference!r} made a {type(module).__name__}; expected a torch module.")
    return module


def _refuse_file(reference: str) -> None:
    if ":" not in reference and Path(reference).is_file():
        raise InputError(
            f"{reference} is a file; expected what makes the torch module, as "
            "package.module:function, with its weights as --weights FILE.safetensors. A file that "
            "holds a whole module either runs code when it is read, or cannot be trained."
        )


def _refuse_pickle(weights: Path) -> None:
    if weights.suffix in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        raise InputError(
            f"The weights are {weights}; expected safetensors, since to read a "
            f"{weights.suffix} file can run code. If you trust it, write it anew, once: "
            "pladapt.torch.save_module(module, Path('model.safetensors'))."
        )
