"""A selector from another distribution is found by its entry point and used by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pladapt
from pladapt.plugins.manager import default_manager
from pladapt.testing import SelectorContract

pladapt_peak = pytest.importorskip(
    "pladapt_peak", reason="examples/plugins/peak is not installed; run tox -e plugin"
)


class AsGiven:
    """Predicts the image itself."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


class Recorder:
    """A retrainer that keeps what it is given."""

    def __init__(self) -> None:
        self.labels: list[pladapt.PseudoLabelled] = []

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Keep the labels, and give the same predictor back."""
        self.labels = [labels[index] for index in range(len(labels))]
        return predictor


def test_it_is_found_by_its_name() -> None:
    selector = pladapt.selector("peak", cutoff=0.4, top_k=3)
    assert selector == pladapt_peak.PeakSelector(cutoff=0.4, top_k=3)


def test_it_is_listed_with_its_provider() -> None:
    offered = {
        item.name: provider for provider, item in default_manager().registrations("selector")
    }
    assert offered["peak"] == "peak"
    assert offered["certainty-index"] == "pladapt.plugins.builtins"


def test_adapt_uses_it_and_tells_its_observer() -> None:
    images = np.random.default_rng(0).random((6, 1, 5, 5))
    target = [pladapt.Sample(f"s{i}", "p", image) for i, image in enumerate(images)]
    recorder = Recorder()
    pladapt_peak.kept_in_rounds.clear()
    result = pladapt.adapt(
        AsGiven(),
        target,
        selector=pladapt.selector("peak", min_pixels=1, top_k=2),
        retrainer=recorder,
    )
    best = [f"s{i}" for i in np.argsort(-images.max(axis=(1, 2, 3)))[:2]]
    assert list(result.rounds[0].selection.kept) == best
    assert [item.id for item in recorder.labels] == best
    assert pladapt_peak.kept_in_rounds == [2]


class TestContract(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        return pladapt.selector("peak", top_k=3)
