"""``pladapt predict``: masks of a folder of images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from pladapt.cli.modules import Device, NetworkOptions, look_at
from pladapt.cli.options import BatchSize, named_values, with_options
from pladapt.cli.printing import AsJson, named, print_json, print_line, show_problems
from pladapt.cli.progress import progress_bars
from pladapt.cli.reading import Reading
from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.storage import read_json

if TYPE_CHECKING:
    import pyarrow as pa

    from pladapt.files import Files
    from pladapt.torch import Network
    from pladapt.typing import Predictor

_AXES: Final = {"X": -1, "Y": -2, "Z": -3}
_LOOKED_AT: Final = 8
_ADAPTED: Final = "predictor.json"


@dataclass(frozen=True, kw_only=True)
class _How(NetworkOptions):
    """How a model is made."""

    network: Annotated[
        str | None,
        typer.Option(help="What makes the network of adapt's folder, where that is elsewhere now."),
    ] = None
    option: Annotated[
        list[str] | None,
        typer.Option(help="An option of OnnxPredictor as NAME=VALUE; may be repeated."),
    ] = None
    device: Device = "auto"

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse options that a kind of model does not take.

        Raises:
            InputError: One of them was given.
        """
        if given := [f"--{name}" for name in names if name in self.given]:
            raise InputError(f"The model is {kind}, which takes no {' or '.join(given)}.")


@with_options(without=["scale"])
def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="The network, as for pladapt adapt; or the run folder that adapt wrote, or its "
            "folder adapted; or an .onnx file."
        ),
    ],
    images: Annotated[Path, typer.Argument(help="A folder of images, or one.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The folder of masks; an interrupted command continues in it."
        ),
    ],
    how: _How,
    cutoff: Annotated[
        list[float] | None,
        typer.Option(
            help="The probability above which a pixel is foreground; one, or one a class.  "
            "[default: that of adapt's folder, or 0.5]"
        ),
    ] = None,
    label: Annotated[
        list[int] | None,
        typer.Option(
            help="The value of a class in the masks; repeat in order.  [default: 1, 2, ...; "
            "pictures of one class are bitmaps]"
        ),
    ] = None,
    probabilities: Annotated[
        Path | None, typer.Option(help="Write the probabilities as well, into this folder.")
    ] = None,
    flip: Annotated[
        str | None,
        typer.Option(
            help="Average over mirror images along these axes, such as X or XY (test-time "
            "augmentation)."
        ),
    ] = None,
    batch_size: BatchSize = 8,
    reading: Reading,
    as_json: AsJson = False,
) -> None:
    """Write a mask for each image, in its format, of its size and at its place.

    NIfTI, MGH, NRRD, MetaImage, TIFF and NPY stay what they are; a DICOM file or series becomes a
    DICOM-SEG, and any other picture a PNG. Of several classes the likeliest above its cut-off is
    marked. How adapt read its images is kept in its folder, and images are read likewise here.

    Given again, the command goes on where it was, and predicts what is new or has changed.
    """
    from pladapt.files import Files, write_masks  # noqa: PLC0415 - help must not wait for it

    files = Files.find(images)
    if (adapted := _adapted(model)) is not None:
        reading = reading.recorded(adapted)
    found = _found(model, how, files, reading)
    with progress_bars() as progress:
        table, problems = write_masks(
            _flipped(found.predictor, flip),
            files,
            output,
            layout=reading.image_layout(),
            grouping=reading.grouping(),
            cutoff=_cutoff(cutoff, found.cutoff),
            labels=label,
            classes=found.classes,
            probabilities=probabilities,
            batch_size=batch_size,
            readers=reading.readers,
            on_error=reading.on_error,
            max_errors=reading.tolerance.max_errors,
            progress=progress,
        )
    _warn_of_all_or_nothing(table)
    show_problems(problems, output, files)
    print_line(f"Masks of {len(table):,} images: {output}")
    if as_json:
        print_json(masks=output, images=table.to_pylist(), left_out=named(problems))


class _Model(NamedTuple):
    """What predicts, its own cut-off, and the names of its classes but the background."""

    predictor: Predictor
    cutoff: float | None = None
    classes: tuple[str, ...] = ()


def _adapted(model: str) -> Path | None:
    """Return the folder of an adapted predictor, if that is what a name means."""
    places = (Path(model), Path(model) / "adapted")
    return next((place for place in places if (place / _ADAPTED).is_file()), None)


def _found(model: str, how: _How, files: Files, reading: Reading) -> _Model:
    if Path(model).suffix.lower() == ".onnx":
        how.refuse("an ONNX file", "weights", "argument", "prepare", "network")
        return _onnx(Path(model), how)
    if (folder := _adapted(model)) is not None:
        how.refuse("adapt's folder", "weights", "option", "prepare")
        if how.network is None:
            how.refuse("adapt's folder without --network", "argument", "activation", "channel")
        return _of_adapt(folder, how)
    how.refuse("a network", "option", "network")
    made = how.build(model)
    predictor = made.predictor(how.device)
    _look_at_some(made, predictor, files, reading)
    names = made.classes[1:] if len(made.classes) > 1 else made.classes
    return _Model(predictor, None, names)


def _onnx(path: Path, how: _How) -> _Model:
    from pladapt.plugins.manager import predictor  # noqa: PLC0415 - for help

    if not path.is_file():
        raise MissingDataError(f"There is no file {path}.")
    given = {name: getattr(how, name) for name in ("activation", "channel") if name in how.given}
    chosen = {"device": how.device} | given | named_values(how.option or (), "--option")
    try:
        return _Model(predictor("onnx", path=path, **chosen))
    except TypeError as error:
        raise InputError(f"OnnxPredictor does not take {sorted(chosen)}: {error}.") from error


def _of_adapt(folder: Path, how: _How) -> _Model:
    from pladapt.torch import load_predictor  # noqa: PLC0415 - for help

    module = None
    if how.network is not None:
        module = how.module(how.network)
    predictor = load_predictor(folder, module, device=how.device)
    cutoff = read_json(folder / _ADAPTED).get("cutoff")
    return _Model(predictor, None if cutoff is None else float(cutoff))


def _look_at_some(network: Network, predictor: Predictor, files: Files, reading: Reading) -> None:
    """Look at a few images before the work; those that cannot be read are left out later."""
    names = list(files.paths)[:: max(1, len(files.paths) // _LOOKED_AT)]
    few = replace(files, paths={name: files.paths[name] for name in names})
    try:
        samples, _ = replace(reading, on_error="skip", max_errors="100%").samples(few, _ignore)
    except DataError:
        return
    look_at(network, predictor, samples)


def _ignore(_stage: str, _done: int, _total: int) -> None:
    """Show no progress."""


def _flipped(predictor: Predictor, axes: str | None) -> Predictor:
    from pladapt.predictors import FlipPredictor  # noqa: PLC0415 - for help

    if not axes:
        return predictor
    if not {*axes.upper()} <= _AXES.keys():
        raise InputError(f"--flip is {axes!r}; give one or more of {', '.join(_AXES)}.")
    return FlipPredictor(predictor, tuple(_AXES[axis] for axis in axes.upper()), combine=True)


def _cutoff(given: list[float] | None, own: float | None) -> float | tuple[float, ...]:
    if not given:
        return 0.5 if own is None else own
    return given[0] if len(given) == 1 else tuple(given)


def _warn_of_all_or_nothing(table: pa.Table) -> None:
    """Warn of masks that are alike everywhere, as they are where images are not as in training."""
    fractions = table["foreground"].to_numpy()
    what = "nothing" if not fractions.any() else "everything" if (fractions == 1).all() else None
    if what is not None:
        warnings.warn(
            f"In every mask ({len(fractions):,}) {what} is foreground. If that is not so, see that "
            "the images are prepared as in the network's training (--window, --prepare), and that "
            "the cut-off is the model's.",
            stacklevel=2,
        )
