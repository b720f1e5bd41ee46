from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pladapt
from pladapt.functional.arrays import to_numpy
from pladapt.testing import RetrainerContract
from pladapt.testing.checks import pseudo_labelled, some_predictor


class TestContract(RetrainerContract):
    @pytest.fixture
    def retrainer(self) -> Any:
        return pladapt.retrainer("plain-loop", epochs=2)

    @pytest.fixture
    def predictor(self) -> Any:
        return some_predictor()


def test_it_learns_the_labels() -> None:
    labels = [pseudo_labelled(index) for index in range(6)]
    before = some_predictor()
    after = pladapt.retrainer("plain-loop", epochs=20, learning_rate=0.01).retrain(before, labels)
    images, truth = np.stack([s.image for s in labels]), np.stack([s.label for s in labels])
    errors = [
        np.abs(to_numpy(each.predict(images))[:, 0] - truth)[truth < 255].mean()
        for each in (before, after)
    ]
    assert errors[1] < errors[0] / 2
