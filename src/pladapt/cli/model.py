"""What predicts on the command line: a network, an adapted predictor, or an ONNX file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from pladapt.cli.modules import Device, NetworkOptions, look_at
from pladapt.cli.options import named_values
from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.storage import read_json

if TYPE_CHECKING:
    from pladapt.cli.reading import Reading
    from pladapt.files import Files
    from pladapt.torch import Network
    from pladapt.types import Sample, Samples
    from pladapt.typing import Predictor

_AXES: Final = {"X": -1, "Y": -2, "Z": -3}
_LOOKED_AT: Final = 16
ADAPTED: Final = "predictor.json"

ModelName = Annotated[
    str,
    typer.Argument(
        help="The network, as for pladapt adapt; or the run folder that adapt wrote, or its "
        "folder adapted; or an .onnx file."
    ),
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """How a model is made."""

    network: Annotated[
        str | None,
        typer.Option(help="What makes the network of adapt's folder, where that is elsewhere now."),
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of OnnxPredictor as NAME=VALUE; may be repeated."),
    ] = None
    flip: Annotated[
        str | None,
        typer.Option(
            help="Average over mirror images along these axes, such as X or XY (test-time "
            "augmentation)."
        ),
    ] = None
    device: Device = "auto"

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse options that a kind of model does not take.

        Raises:
            InputError: One of them was given.
        """
        if given := [f"--{name}" for name in names if name in self.given]:
            raise InputError(f"The model is {kind}, which takes no {' or '.join(given)}.")


class Model(NamedTuple):
    """What predicts, its own cut-off, and the names of its classes but the background."""

    predictor: Predictor
    cutoff: float | None = None
    classes: tuple[str, ...] = ()


def adapted_folder(model: str) -> Path | None:
    """Return the folder of an adapted predictor, if that is what a name means."""
    places = (Path(model), Path(model) / "adapted")
    return next((place for place in places if (place / ADAPTED).is_file()), None)


def find_model(model: str, how: ModelOptions, files: Files, reading: Reading) -> Model:
    """Return what a command's MODEL names, with the mirror images that --flip adds.

    Raises:
        InputError: There is no such model, or it does not take an option that was given.
        MissingDataError: There is no such file.
    """
    found, network = _found(model, how)
    if network is not None:
        _look_at_some(network, found.predictor, files, reading, force=how.force)
    return found._replace(predictor=_flipped(found.predictor, how.flip))


def make_predictor(model: str, how: ModelOptions) -> Predictor:
    """Return what `find_model` finds to predict with, as a worker makes it: nobody looks again."""
    return _flipped(_found(model, how)[0].predictor, how.flip)


def reading_of(model: str, reading: Reading) -> Reading:
    """Return how images are read: as given, or as those were that a predictor was adapted to."""
    folder = adapted_folder(model)
    return reading if folder is None else reading.recorded(folder)


def _found(model: str, how: ModelOptions) -> tuple[Model, Network | None]:
    """Return the model, and its network where it is one that nobody has looked at."""
    if Path(model).suffix.lower() == ".onnx":
        how.refuse("an ONNX file", "weights", "argument", "prepare", "network")
        return _onnx(Path(model), how), None
    if (folder := adapted_folder(model)) is not None:
        how.refuse("adapt's folder", "weights", "option", "prepare")
        if how.network is None:
            how.refuse("adapt's folder without --network", "argument", "activation", "channel")
        return _of_adapt(folder, how), None
    how.refuse("a network", "option", "network")
    made = how.build(model)
    predictor = made.predictor(how.device)
    names = made.classes[1:] if len(made.classes) > 1 else made.classes
    return Model(predictor, None, names), made


def _onnx(path: Path, how: ModelOptions) -> Model:
    from pladapt.plugins.manager import predictor  # noqa: PLC0415 - for help

    if not path.is_file():
        raise MissingDataError(f"There is no file {path}.")
    given = {name: getattr(how, name) for name in ("activation", "channel") if name in how.given}
    chosen = {"device": how.device} | given | named_values(how.option or (), "--option")
    try:
        return Model(predictor("onnx", path=path, **chosen))
    except TypeError as error:
        raise InputError(f"OnnxPredictor does not take {sorted(chosen)}: {error}.") from error


def _of_adapt(folder: Path, how: ModelOptions) -> Model:
    from pladapt.torch import load_predictor  # noqa: PLC0415 - for help

    module = None
    if how.network is not None:
        module = how.module(how.network)
    predictor = load_predictor(folder, module, device=how.device)
    cutoff = read_json(folder / ADAPTED).get("cutoff")
    return Model(predictor, None if cutoff is None else float(cutoff))


def _look_at_some(
    network: Network, predictor: Predictor, files: Files, reading: Reading, *, force: bool
) -> None:
    """Look at a few images before the work; those that cannot be read are left out later."""
    if (samples := a_few(files, reading)) is not None:
        look_at(network, predictor, samples, force=force)


def a_few(files: Files, reading: Reading) -> Samples[Sample] | None:
    """Return the images of a few files, spread over all; None where none of them can be read."""
    names = list(files.paths)[:: max(1, len(files.paths) // _LOOKED_AT)]
    few = replace(files, paths={name: files.paths[name] for name in names})
    try:
        return replace(reading, on_error="skip", max_errors="100%").samples(few, _ignore)[0]
    except DataError:
        return None


def _ignore(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""


def _flipped(predictor: Predictor, axes: str | None) -> Predictor:
    from pladapt.predictors import FlipPredictor  # noqa: PLC0415 - for help

    if not axes:
        return predictor
    if not {*axes.upper()} <= _AXES.keys():
        raise InputError(f"--flip is {axes!r}; give one or more of {', '.join(_AXES)}.")
    return FlipPredictor(predictor, tuple(_AXES[axis] for axis in axes.upper()), combine=True)
