from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pladapt_area import AreaEvaluator

import pladapt
from pladapt.testing import EvaluatorContract
from pladapt.testing.checks import Sigmoid, some_labelled


class TestContract(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Any:
        return pladapt.evaluator("area", samples=some_labelled())

    @pytest.fixture
    def predictor(self) -> Any:
        return Sigmoid()


def test_an_area_is_counted_in_pixels() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :3] = 1
    samples = [pladapt.LabelledSample("a", "p", mask[None].astype(float), mask)]
    six = (np.arange(16) < 6).reshape(1, 1, 4, 4).astype(float)
    marks_six = SimpleNamespace(predict=lambda images: six)
    found = AreaEvaluator(samples=samples).evaluate(marks_six)
    assert found.value("area_error", aggregation="sample") == 3
    assert found.value("area_error_abs", aggregation="group") == 3
