from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt import LabelledSample
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.functional.arrays import to_numpy
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pladapt import PseudoLabelled, Sample
    from pladapt.typing import Samples


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.core)


@dataclass
class Centre:
    """A retrainer that shifts the mean brightness of the labelled pixels, and can resume."""

    rate: float = 0.25
    goal: float = 0.9

    def retrain(self, predictor: Any, labels: Samples[PseudoLabelled], /) -> Any:
        """Return a predictor moved towards its goal, by what the labels show."""
        bright = [
            float(to_numpy(item.image)[-1][item.label > 0].mean()) * item.score
            for item in _each(labels)
        ]
        gap = self.goal - predictor.shift - sum(bright) / len(bright)
        return replace(predictor, shift=predictor.shift + self.rate * gap)

    def save(self, predictor: Any, folder: Path, /) -> None:
        """Write the shift."""
        (folder / "shift.json").write_text(json.dumps(predictor.shift))

    def load(self, predictor: Any, folder: Path, /) -> Any:
        """Read the shift."""
        return replace(predictor, shift=json.loads((folder / "shift.json").read_text()))


def _each(labels: Samples[PseudoLabelled]) -> Iterator[PseudoLabelled]:
    return (labels[index] for index in range(len(labels)))


def _lesions(
    *, count: int = 7, shape: tuple[int, ...] = (6, 6), classes: int = 1, seed: int = 0
) -> list[LabelledSample]:
    """Make images with a bright lesion each, the later the fainter, of two patients."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(count):
        mask = np.zeros(shape, np.uint8)
        mask[1:4, 1:4] = 1 + index % classes
        image = generator.random((classes + 1, *shape)) * 0.2
        for class_ in range(classes + 1):
            image[class_][mask == class_] += 0.75 - 0.05 * index
        chosen = image[1:] if classes == 1 else image
        made.append(LabelledSample(f"s{index}", f"p{index % 2}", chosen, mask))
    return made


@pytest.fixture(scope="session")
def toy(brightness: Any) -> SimpleNamespace:
    """Parts that are nothing but small classes, and images for them."""

    def target(**options: Any) -> list[Sample]:
        return [sample.unlabelled() for sample in _lesions(**options)]

    def parts(**selection: Any) -> dict[str, Any]:
        options = {"cutoff": 0.5, "min_pixels": 3, "ci_limit": 0.6, "top_k": 3}
        return {
            "selector": CertaintyIndexSelector(**(options | selection)),
            "retrainer": Centre(),
            "evaluators": {"overlap": OverlapEvaluator(samples=_lesions(seed=1))},
        }

    return SimpleNamespace(
        Predictor=brightness, Retrainer=Centre, lesions=_lesions, target=target, parts=parts
    )
