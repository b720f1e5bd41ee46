"""From an ONNX file in float32 to one in eight-bit integers, and what that costs in accuracy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.errors import InputError
from pladapt.functional.certainty import hard_labels
from pladapt.functional.overlap import confusion, dsc
from pladapt.onnx.files import write_model
from pladapt.onnx.predictor import OnnxPredictor
from pladapt.optional import needs
from pladapt.predictors.prediction import predictions
from pladapt.storage import atomic_write

with needs("onnx-export", "onnx"):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize_file
    from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from pladapt.onnx.contract import Contract
    from pladapt.types import Sample, Samples


@dataclass(frozen=True, slots=True)
class QuantizationRecord:
    """What was written, and how its probabilities compare with the float32 file's.

    Args:
        path: The file.
        contract: What stands in its metadata.
        images: How many images were compared.
        largest_difference: Of the probabilities, over all pixels.
        mean_difference: The mean absolute difference of the probabilities, over all pixels.
        dsc: Of the two files' masks, pooled over all images and foreground classes; 1 where both
            are empty.
        bytes: The file's size.
    """

    path: Path
    contract: Contract
    images: int
    largest_difference: float
    mean_difference: float
    dsc: float
    bytes: int


def quantize(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    calibration: Samples[Sample],
    *,
    check: Samples[Sample] | None = None,
    cutoff: float = 0.5,
    reduce_range: bool = True,
) -> QuantizationRecord:
    """Write an eight-bit version of a float32 ONNX file, for CPUs, and compare the two.

    Static quantisation: weights per output channel, activations by the ranges seen on the
    calibration images. The sigmoid or softmax stays in float32.

    Args:
        path: A file that `pladapt.onnx.export` made in ``fp32``.
        out: The file to write.
        calibration: Images like those that will be predicted; a few dozen do. Masks are not used.
        check: Images to compare the two files on; by default those of the calibration, which
            flatters a little.
        cutoff: The masks' cut-off, in (0, 1).
        reduce_range: Use seven bits of the weights, since sums of eight-bit products saturate on
            x86 processors without VNNI.

    Raises:
        InputError: The file is not in float32, or there are no images, or not of the kind that the
            model expects.
        DataError: The file is no ONNX model.
        MissingDependencyError: The extra ``onnx-export`` is missing (on import).
    """
    full = OnnxPredictor(path, device="cpu")
    if full.contract.precision != "fp32" or not len(calibration):
        raise InputError(
            f"{path} has the precision {full.contract.precision} and there are {len(calibration)} "
            "images; give a file exported in fp32, and images to calibrate with."
        )
    contract = replace(full.contract, precision="int8")
    with tempfile.TemporaryDirectory() as folder, atomic_write(Path(out)) as temporary:
        flat, raw = Path(folder, "flat.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(Path(path), flat, skip_symbolic_shape=True)
        quantize_file(
            flat,
            raw,
            _Reader(full, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_activations(flat),
        )
        write_model(onnx.load(raw), contract, temporary)
        small = OnnxPredictor(temporary, device="cpu")
        found = _compare(full, small, calibration if check is None else check, cutoff)
    return QuantizationRecord(Path(out), contract, *found, Path(out).stat().st_size)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # its library ships no types
    """Gives the calibration one image after the other."""

    def __init__(self, predictor: OnnxPredictor, samples: Samples[Sample]) -> None:
        self._feeds = _feeds(predictor, samples)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _feeds(predictor: OnnxPredictor, samples: Samples[Sample]) -> Iterator[dict[str, Any]]:
    for index in range(len(samples)):
        yield predictor.feed(samples[index].image[None, ...])


def _activations(path: Path) -> list[str]:
    nodes = onnx.load(path).graph.node
    return [node.name for node in nodes if node.op_type in ("Sigmoid", "Softmax")]


def _compare(
    full: OnnxPredictor, small: OnnxPredictor, samples: Samples[Sample], cutoff: float
) -> tuple[int, float, float, float]:
    """Return the images' number, the largest and the mean difference, and the DSC."""
    largest, total, pixels = 0.0, 0.0, 0
    counts = np.zeros(4, np.int64)
    for batch, prediction in predictions(full, samples, batch_size=1):
        expected = np.asarray(prediction.probabilities)
        found = np.asarray(small.predict(batch[0].image[None, ...]))
        difference = np.abs(found - expected)
        largest = max(largest, float(difference.max()))
        total += float(difference.sum(dtype=np.float64))
        pixels += difference.size
        counts += _agreement(hard_labels(found, cutoff), hard_labels(expected, cutoff))
    tp, fp, fn, _ = counts
    return len(samples), largest, total / pixels, float(dsc(tp, fp, fn))


def _agreement(found: Any, expected: Any) -> Any:
    classes = np.union1d(found, expected)
    return sum(confusion(found, expected, int(c)).sum(axis=0) for c in classes if c)
