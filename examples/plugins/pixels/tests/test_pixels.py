from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pladapt_pixels import Refit

import pladapt
from pladapt.testing import PredictorContract, RetrainerContract

if TYPE_CHECKING:
    from pathlib import Path


def lesions(brightness: float, seed: int) -> list[pladapt.LabelledSample]:
    """Make noisy images with a square lesion each, one brightness a scanner."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(6):
        mask = np.zeros((32, 32), np.uint8)
        mask[8 : 14 + index, 8:20] = 1
        image = rng.normal(0, 0.1, (1, 32, 32)) + brightness * mask
        made.append(pladapt.LabelledSample(f"s{index}", f"p{index}", image, mask))
    return made


@pytest.fixture(scope="module")
def source() -> Any:
    return Refit().fit(lesions(1.0, 0))


class TestPredictor(PredictorContract):
    @pytest.fixture
    def predictor(self, source: Any) -> Any:
        return source


class TestRetrainer(RetrainerContract):
    @pytest.fixture
    def retrainer(self) -> Any:
        return pladapt.retrainer("refit-pixels")

    @pytest.fixture
    def predictor(self, source: Any) -> Any:
        return source


def test_what_is_saved_is_found_by_its_name(source: Any, tmp_path: Path) -> None:
    source.save(tmp_path / "model.npz")
    loaded = pladapt.predictor("pixels", path=tmp_path / "model.npz")
    images = np.stack([sample.image for sample in lesions(1.0, 1)])
    assert np.array_equal(loaded.predict(images), source.predict(images))


def adapted(source: Any, brightness: float, **options: Any) -> tuple[float, float]:
    """Return the DSC before and after two rounds on lesions of a brightness."""
    target = lesions(brightness, 2)
    result = pladapt.adapt(
        source,
        pladapt.unlabelled(target),
        selector=pladapt.selector("soft-dice", min_pixels=1),
        retrainer=pladapt.retrainer("refit-pixels"),
        evaluators={"truth": pladapt.OverlapEvaluator(samples=target)},
        rounds=2,
        **options,
    )
    before, after = (each["truth"].value("dsc") for each in (result.before, result.after))
    return before, after


def test_it_is_adapted_to_another_scanner(source: Any, tmp_path: Path) -> None:
    before, after = adapted(source, 0.65, workdir=tmp_path / "run")
    assert after > before


def test_faint_lesions_are_lost_as_the_readme_says(source: Any) -> None:
    before, after = adapted(source, 0.45, gates=[pladapt.DoNoHarm()])
    assert before > after + 0.01
