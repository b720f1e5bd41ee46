"""What the contracts have in common: how they fail, and what they give to the parts."""

from __future__ import annotations

import copy
import importlib.util
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest

from pladapt.functional.arrays import to_numpy
from pladapt.runs.manifest import describe
from pladapt.types import IGNORE, LabelledSample, Prediction, PseudoLabelled

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import Array
    from pladapt.typing import Predictor

T = TypeVar("T")


def require(holds: object, message: str) -> None:
    """Fail with the message unless the condition holds."""
    if not holds:
        pytest.fail(message)


def same(one: Array, other: Array, message: str, tolerance: float = 0.0) -> None:
    """Fail with the message and both arrays where they differ; NaN equals itself."""
    np.testing.assert_allclose(
        to_numpy(one), to_numpy(other), rtol=tolerance, atol=tolerance, err_msg=message
    )


def check_description(part: object) -> None:
    """Fail where a run's manifest would tell another thing of the part each time."""
    told = json.dumps(describe(part))
    require(
        told == json.dumps(describe(part)),
        f"describe() tells another thing each time: {told}; a run could never be continued.",
    )


def fresh(part: T) -> T:
    """Return a part as a run that goes on in another process would make it: with no memory."""
    try:
        return copy.deepcopy(part)
    except Exception as error:  # noqa: BLE001 - whatever a part cannot be copied for
        pytest.skip(f"the part cannot be copied: {error}")


def some_images(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make images of normally distributed values, the same each time."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@dataclass(frozen=True)
class Sigmoid:
    """A predictor that takes an image's first channel for logits, raised by a bias."""

    bias: float = 0.0

    def predict(self, images: Array, /) -> NDArray[np.float32]:
        """Return one channel."""
        logits = to_numpy(images)[:, :1] + np.float32(self.bias)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def some_predictor() -> Predictor:
    """Make a predictor to retrain: a small torch network, or `Sigmoid` where there is no torch."""
    if importlib.util.find_spec("torch") is None:
        return Sigmoid()
    import torch  # noqa: PLC0415 - only where it is installed
    from torch import nn  # noqa: PLC0415 - the same

    from pladapt.torch import TorchPredictor  # noqa: PLC0415 - the same

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)
    return TorchPredictor(nn.Sequential(*layers), device="cpu")


def some_labelled() -> list[LabelledSample]:
    """Make six labelled samples ``(1, 32, 32)`` of three groups, with a bright lesion each."""
    made = [pseudo_labelled(index) for index in range(6)]
    return [
        LabelledSample(each.id, each.group, each.image, np.where(each.label == 1, 1, 0))
        for each in made
    ]


def some_prediction(shape: tuple[int, ...]) -> Prediction:
    """Make a prediction: of nothing, of certainty, and of random probabilities for the others."""
    values = np.random.default_rng(0).random(shape)
    values[:2] = 0
    values[1, -1] = 1
    if shape[1] > 1:
        values[0, 0] = 1
        values /= values.sum(axis=1, keepdims=True)
    return Prediction(tuple(f"s{index}" for index in range(shape[0])), values.astype(np.float32))


def part(prediction: Prediction, index: int) -> Prediction:
    """Return the prediction of one sample alone."""
    members = prediction.members
    return Prediction(
        prediction.ids[index : index + 1],
        prediction.probabilities[index : index + 1, ...],
        None if members is None else members[:, index : index + 1, ...],
    )


def pseudo_labelled(index: int) -> PseudoLabelled:
    """Make one of six samples ``(1, 32, 32)`` with a bright lesion, and a row to be ignored."""
    label = np.zeros((32, 32), np.uint8)
    label[8 : 16 + index, 8:24] = 1
    image = some_images((6, 1, 32, 32))[index] + label
    label[0] = IGNORE
    return PseudoLabelled(f"s{index}", f"p{index // 2}", image, label, 1 - index / 10)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder by its place in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
