"""Predictors on disk: the weights, and all else that an adapted predictor predicts with."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.predictors.ensembles import EnsemblePredictor, FlipPredictor, ScalePredictor
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.predictors.temperature import TemperaturePredictor
from pladapt.storage import check_stored, read_json, stored_folder, stored_names
from pladapt.torch.dropout import DropoutPredictor
from pladapt.torch.folds import predictor_of
from pladapt.torch.networks import remade
from pladapt.torch.outputs import as_logits
from pladapt.torch.predictor import TorchPredictor
from pladapt.torch.preparation import Preparation, Prepared
from pladapt.torch.storage import (
    load_module,
    save_module,
    state_sha256,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pladapt.typing import Predictor

_NAME: Final = "predictor.json"
_VERSION: Final = 1
_VIEWS: Final[Mapping[str, type[Any]]] = {
    "flip": FlipPredictor,
    "logit-shift": LogitShiftPredictor,
    "temperature": TemperaturePredictor,
    "scale": ScalePredictor,
    "dropout": DropoutPredictor,
}
_OPTIONS: Final = ("activation", "amp", "batch_size", "channels_last")


def save_predictor(predictor: Predictor, folder: Path, *, cutoff: float | None = None) -> None:
    """Write a predictor into a folder: what `pladapt.adapt` returned, say.

    ``predictor.json`` says how it is put together, what prepares its images, and what made its
    network, where `pladapt.torch.load_network` did: the name, the arguments, and how the output is
    read. The weights are safetensors files beside it. The network's architecture is code, and not
    in the folder.

    Args:
        predictor: A `TorchPredictor`, or any stack of flips, scales, dropout, ensembles, shifts
            and temperatures around such ones.
        folder: It is made; a predictor that it holds already is replaced.
        cutoff: The probability above which a pixel is foreground, to be kept beside it.

    Raises:
        InputError: A part of the predictor is of another kind, or the folder holds something else.
    """
    if folder.exists() and not (folder / _NAME).is_file():
        raise InputError(f"{folder} is there and holds no predictor; give another folder.")
    with stored_folder(folder) as temporary:
        told = {
            "version": _VERSION,
            "cutoff": cutoff,
            "predictor": _Writer(temporary).told(predictor),
        }
        (temporary / _NAME).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def load_predictor(
    folder: str | Path, module: nn.Module | None = None, *, device: str = "auto"
) -> Predictor:
    """Read what `save_predictor` wrote.

    Args:
        folder: Where it was written.
        module: Of the architecture of the one that was saved, with or without its preparation; it
            is not changed. None where the folder says what makes it; what a library saved must
            then still be where it was.
        device: Where it is to predict; see `TorchPredictor`.

    Raises:
        MissingDataError: A file is not there.
        DataError: A file is truncated or altered, of another version, or does not fit the module.
        InputError: There is no module, and the folder does not say what makes it; or as for
            `pladapt.torch.load_network`.
    """
    folder = Path(folder)
    path = folder / _NAME
    if not path.is_file():
        raise MissingDataError(f"There is no {path}; give the folder that save_predictor wrote.")
    check_stored(folder)
    try:
        told = read_json(path)
        if told["version"] != _VERSION:
            raise DataError(
                f"{path} is of version {told['version']}, and {_VERSION} is read here; save the "
                "predictor again."
            )
        return _Reader(folder, module, device).made(told["predictor"])
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is no whole predictor ({error!r}); save the predictor again."
        ) from error


class _Writer:
    """Says of what a predictor is made, and writes the arrays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._weights: dict[str, str] = {}

    def told(self, predictor: Predictor) -> dict[str, Any]:
        """Return a predictor as JSON-able values."""
        match predictor:
            case TorchPredictor():
                options = {name: getattr(predictor, name) for name in _OPTIONS}
                weights = self._stored(predictor.module)
                return {"kind": "torch", "weights": weights, **_front(predictor), **options}
            case EnsemblePredictor():
                each = [self.told(inner) for inner in predictor.predictors]
                return {"kind": "ensemble", "predictors": each}
        return self._view(predictor)

    def _view(self, predictor: Any) -> dict[str, Any]:
        kind = next((name for name, type_ in _VIEWS.items() if type(predictor) is type_), None)
        if kind is None:
            raise InputError(
                f"{type(predictor).__name__} cannot be stored; expected a TorchPredictor, or "
                f"{', '.join(_VIEWS)} and ensembles around one. Keep it in code "
                "that makes it anew, and its weights with save_module."
            )
        own = {f.name: getattr(predictor, f.name) for f in fields(predictor)}
        return {"kind": kind, **own, "predictor": self.told(predictor.predictor)}

    def _stored(self, module: nn.Module) -> str:
        """Write weights, each only once, and return the file's name."""
        digest = state_sha256(module)
        if digest not in self._weights:
            number = f"-{len(self._weights) + 1}" if self._weights else ""
            self._weights[digest] = f"model{number}.safetensors"
            save_module(module, self._folder / self._weights[digest])
        return self._weights[digest]


def _front(predictor: TorchPredictor) -> dict[str, Any]:
    """Return what makes a predictor's network, and what prepares its images."""
    module = predictor.module
    told = {"preparation": module.preparation.describe()} if isinstance(module, Prepared) else {}
    try:
        json.dumps(predictor.origin)
    except TypeError:  # an argument that is a Python object: the module must then be given
        return told
    return {"network": predictor.origin, **told}


class _Reader:
    """Puts a predictor together from what `_Writer` said."""

    def __init__(self, folder: Path, module: nn.Module | None, device: str) -> None:
        self._folder, self._module, self._device = folder, module, device
        self._loaded: dict[str, nn.Module] = {}

    def made(self, told: Mapping[str, Any]) -> Predictor:
        """Return the predictor."""
        kind = told["kind"]
        if kind == "torch":
            options = {name: told[name] for name in _OPTIONS}
            module = self._read(told["weights"], told)
            return predictor_of(module, self._device, origin=told.get("network"), **options)
        if kind == "ensemble":
            return EnsemblePredictor([self.made(inner) for inner in told["predictors"]])
        inner = self.made(told["predictor"])
        own = {k: _frozen(v) for k, v in told.items() if k not in ("kind", "predictor")}
        made: Predictor = _VIEWS[kind](inner, **own)
        return made

    def _read(self, name: str, told: Mapping[str, Any]) -> nn.Module:
        if name not in self._loaded:
            module = self._made(told.get("network"))
            if told["activation"] == "none":
                module = as_logits(module)
            if "preparation" in told and not isinstance(module, Prepared):
                module = Prepared(module, Preparation.of(told["preparation"]))
            load_module(module, self._path(name))
            self._loaded[name] = module.eval()
        return self._loaded[name]

    def _made(self, origin: Mapping[str, Any] | None) -> nn.Module:
        """Return a module of the architecture."""
        if self._module is not None:
            return copy.deepcopy(self._module)
        if not origin:
            raise InputError(
                f"{self._folder} does not say what makes its network, since load_network did not; "
                "give load_predictor(folder, module), the module of the same architecture."
            )
        return remade(origin).module

    def _path(self, name: str) -> Path:
        """Return a file of the folder; no name may lead out of it."""
        if name not in stored_names(self._folder):
            raise DataError(
                f"{self._folder / _NAME} names {name!r}, which is no file of its folder; save the "
                "predictor again."
            )
        return self._folder / name


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
