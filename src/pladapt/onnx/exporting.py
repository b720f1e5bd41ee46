"""From a torch module to an ONNX file that has been compared with it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from pladapt.optional import needs

with needs("onnx-export", "onnx", "onnxscript", "onnxconverter_common"):
    import onnxscript  # noqa: F401 - torch's exporter needs it and says so less clearly
    from onnxconverter_common import float16

with needs("torch", "torch"):
    import torch

from pladapt.errors import DataError, InputError
from pladapt.onnx.contract import Contract
from pladapt.onnx.files import write_model
from pladapt.onnx.predictor import OnnxPredictor
from pladapt.storage import atomic_write
from pladapt.torch.predictor import ModulePredictor
from pladapt.torch.preparation import Prepared

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import onnx
    from torch import nn

    from pladapt.onnx.contract import Output
    from pladapt.types import Array

_TOLERANCE: Final = {"fp32": 1e-4, "fp16": 5e-2}
_MAX_BATCH: Final = 65_536


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """What was written, and how it compares with torch.

    Args:
        path: The file.
        contract: What stands in its metadata.
        opset: The version of ONNX's operators.
        largest_difference: The largest absolute difference of the outputs, on random images in
            batches of one, two and three, and of two sizes unless the size is fixed.
        bytes: The file's size.
    """

    path: Path
    contract: Contract
    opset: int
    largest_difference: float
    bytes: int


def export(
    model: nn.Module | ModulePredictor,
    path: str | os.PathLike[str],
    *,
    example: Array | Sequence[int],
    opset: int = 20,
    output: Output = "probabilities",
    precision: Literal["fp32", "fp16"] = "fp32",
    normalisation: str = "",
    multiple_of: int = 32,
    fixed_size: bool = False,
    tolerance: float | None = None,
) -> ExportRecord:
    """Write a torch model to one ONNX file for any number of images.

    The file is compared with torch on random images of a normal distribution before it is put in
    its place. The model given is not changed.

    Args:
        model: A module that gives logits ``(B, K, *S)``, or a predictor around one. What prepares
            its images goes into the file, but for padding, which `OnnxPredictor` does, a sliding
            window, and a transform by name, which is refused.
        path: The file to write.
        example: Images ``(B, C, *S)`` as the model is used with, or their shape; the values do not
            matter.
        opset: The version of ONNX's operators.
        output: ``probabilities`` (a sigmoid of one channel, a softmax of several), or ``logits``.
        precision: What weights are stored and computed in: ``fp32``, or ``fp16`` for GPUs. Inputs
            and outputs are float32 either way.
        normalisation: How images are prepared, in words; kept in the file.
        multiple_of: Spatial lengths must be multiples of this, and of what the network's own
            preparation pads to.
        fixed_size: Whether images must have the example's spatial shape.
        tolerance: The largest difference from torch that is accepted; by default 1e-4, and 0.05
            for ``fp16``.

    Returns:
        What was written, with the largest difference seen.

    Raises:
        InputError: The example does not fit, an option is unknown, or torch cannot export the
            module.
        DataError: The file differs from torch by more than the tolerance; nothing is written.
        MissingDependencyError: torch or the extra ``onnx-export`` is missing (on import).
    """
    module = model.module if isinstance(model, ModulePredictor) else model
    if isinstance(module, Prepared):
        module = module.at_once()
        multiple_of = math.lcm(multiple_of, module.preparation.multiple_of)
    shape = image_shape(example, multiple_of)
    if precision not in _TOLERANCE:
        raise InputError(f"precision is {precision!r}; expected one of {tuple(_TOLERANCE)}.")
    contract = Contract(
        channels=shape[1],
        multiple_of=multiple_of,
        normalisation=normalisation,
        output=output,
        precision=precision,
    )
    network = _Network(module, output).eval()
    exported = _exported(network, shape, multiple_of, opset, fixed_size=fixed_size)
    if precision == "fp16":
        exported = _halved(exported)
    path = Path(path)
    with atomic_write(path) as temporary:
        write_model(exported, contract, temporary)
        step = 0 if fixed_size else multiple_of
        difference = _largest_difference(network, temporary, shape, step)
        _check_difference(difference, _TOLERANCE[precision] if tolerance is None else tolerance)
    return ExportRecord(path, contract, opset, difference, path.stat().st_size)


class _Network(torch.nn.Module):
    """A copy of a module on the CPU, with the activation that the file shall have."""

    def __init__(self, module: nn.Module, output: Output) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).cpu().float()
        self.output = output

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(images)
        if self.output == "logits":
            return logits
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def image_shape(example: Array | Sequence[int], multiple_of: int) -> tuple[int, ...]:
    """Return the shape of example images, given as such or as their shape.

    Raises:
        InputError: Another rank, or a spatial length that is no multiple of ``multiple_of``.
    """
    shape = tuple(int(length) for length in getattr(example, "shape", example))
    if len(shape) not in (4, 5) or any(size < 1 or size % multiple_of for size in shape[2:]):
        raise InputError(
            f"The example has shape {shape}; expected (batch, channel, *spatial) with two or three "
            f"spatial lengths that are multiples of {multiple_of}. Give another example, or "
            "multiple_of=1 for a network that takes any size."
        )
    return shape


def _exported(
    network: _Network, shape: tuple[int, ...], multiple_of: int, opset: int, *, fixed_size: bool
) -> onnx.ModelProto:
    # torch takes a length of one for a constant, so that the traced lengths must be larger
    sizes = [size if fixed_size else max(size, 2 * multiple_of) for size in shape[2:]]
    images = torch.zeros(2, shape[1], *sizes)
    dimensions: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=_MAX_BATCH)}
    if not fixed_size:
        for axis, name in enumerate(("height", "width", "depth")[: len(sizes)], start=2):
            dimensions[axis] = multiple_of * torch.export.Dim(name, min=1)
    try:
        program: Any = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=(dimensions,),
            input_names=["images"],
            output_names=[network.output],
            external_data=False,
            verbose=False,
        )
    except Exception as error:
        raise InputError(
            f"torch cannot export {type(network.module).__name__}: {error}. Where it says that a "
            "size is fixed by the network, give fixed_size=True or another multiple_of."
        ) from error
    return _without_traces(program.model_proto)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what torch notes at each node: the lines and paths of the code that was exported."""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del item.metadata_props[:]
    return model


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in half precision; the activation stays precise near 0 and 1."""
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, "Sigmoid", "Softmax"]
    halved: onnx.ModelProto = float16.convert_float_to_float16(
        model, keep_io_types=True, op_block_list=blocked
    )
    return halved


def _largest_difference(network: _Network, path: Path, shape: tuple[int, ...], step: int) -> float:
    predictor = OnnxPredictor(path, device="cpu")
    rng = np.random.default_rng(0)
    differences = []
    for batch in (1, 2, 3):
        sizes = [size + step * (batch % 2) for size in shape[2:]]
        images = rng.normal(size=(batch, shape[1], *sizes)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        differences.append(float(np.max(np.abs(predictor.run(images) - expected))))
    return max(differences)


def _check_difference(difference: float, tolerance: float) -> None:
    if not difference <= tolerance:  # NaN is no small difference
        raise DataError(
            f"The exported model differs from torch by {difference:.3g}, more than "
            f"{tolerance:.3g}, and was not kept. Export with another opset or precision, or give a "
            "larger tolerance."
        )
