"""``pladapt onnx``: ONNX files from torch models."""

from __future__ import annotations

import warnings
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console

from pladapt.cli.model import ADAPTED, adapted_folder
from pladapt.cli.modules import Factory, NetworkOptions
from pladapt.cli.options import with_options
from pladapt.errors import InputError
from pladapt.storage import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PARTS: Final[Mapping[str, str]] = {
    "flip": "mirror images",
    "logit-shift": "shift of the logits",
    "temperature": "temperature",
    "scale": "other scales",
    "dropout": "dropout",
    "ensemble": "other networks",
}

app = typer.Typer(no_args_is_help=True, help="Make ONNX files of torch models.")


@app.callback()
def _group() -> None:
    """Make ONNX files of torch models."""


@app.command()
@with_options(without=["force"])
def export(
    factory: Factory,
    path: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    *,
    example: Annotated[
        str, typer.Option(help="An image's shape, channels first, such as 1,512,512.")
    ],
    how: NetworkOptions,
    output: Annotated[
        Literal["probabilities", "logits"], typer.Option(help="What the file shall give.")
    ] = "probabilities",
    precision: Annotated[
        Literal["fp32", "fp16"], typer.Option(help="Of weights and computing.")
    ] = "fp32",
    opset: Annotated[int, typer.Option(help="The version of ONNX's operators.")] = 20,
    normalisation: Annotated[
        str, typer.Option(help="How images are prepared, in words; kept in the file.")
    ] = "",
    multiple_of: Annotated[
        int, typer.Option(help="Heights and widths must be multiples of this.", min=1)
    ] = 32,
    fixed_size: Annotated[
        bool, typer.Option("--fixed-size", help="Take images of the example's size alone.")
    ] = False,
) -> None:
    """Write a torch model to one ONNX file, and compare the two on random images.

    In place of a network, the run folder of adapt, or its folder adapted, may be given: mirror
    images and a shift of all logits go into the file as well. What cannot go in is an error.
    """
    from pladapt.onnx import export as write  # noqa: PLC0415 - help must not wait for it

    if (folder := adapted_folder(factory)) is not None:
        if how.given:
            raise InputError(
                "The folder of an adapted predictor says what its network is; give no --weights, "
                "--argument, --prepare, --activation or --channel."
            )
        from pladapt.onnx.stacks import module_of_stack  # noqa: PLC0415 - for help
        from pladapt.torch import load_predictor  # noqa: PLC0415 - the same

        module = module_of_stack(load_predictor(folder, device="cpu"))
    else:
        if how.weights is not None and (lost := parts_beside(how.weights)):
            warnings.warn(
                f"{how.weights} is the network alone of an adapted predictor, whose "
                f"{', '.join(lost)} will not be in the file. To have all of it, export the folder: "
                f"pladapt onnx export {how.weights.parent} {path} --example {example}",
                stacklevel=2,
            )
        module = how.module(factory)
    record = write(
        module,
        path,
        example=(1, *_shape(example)),
        opset=opset,
        output=output,
        precision=precision,
        normalisation=normalisation,
        multiple_of=multiple_of,
        fixed_size=fixed_size,
    )
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{record.path}: {record.bytes / 1e6:.1f} MB, {precision}, opset {record.opset}")
    console.print(f"Largest difference from torch: {record.largest_difference:.3g} ({output})")


def parts_beside(weights: Path) -> list[str]:
    """Return what an adapted predictor consists of beside the network whose weights these are.

    Args:
        weights: The file of weights; ``predictor.json`` beside it says the rest, where there is
            any.
    """
    path = weights.parent / ADAPTED
    told = read_json(path).get("predictor") if path.is_file() else None
    found: list[str] = []
    while isinstance(told, dict) and (part := _PARTS.get(str(told.get("kind")))) is not None:
        found.append(part)
        told = told.get("predictor")
    return found


def _shape(text: str) -> Sequence[int]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--example is {text!r}; give whole numbers, channels first, such as 1,512,512."
        ) from error
