"""That Tent, which the study compares with, does what its paper says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pladapt.types import Sample

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

pytestmark = pytest.mark.torch


@pytest.fixture
def tent(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks" / "adaptation")
    monkeypatch.delitem(sys.modules, "tent", raising=False)
    return __import__("tent")


@pytest.fixture
def predictor() -> Any:
    from pladapt.torch import TorchPredictor

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.Conv2d(4, 1, 1),
        )
    return TorchPredictor(module, device="cpu")


def target(count: int = 8) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [Sample(f"t{i}", "p", rng.normal(size=(1, 8, 8)) + 1) for i in range(count)]


def entropy(predictor: Any) -> float:
    p = predictor.predict(np.stack([s.image for s in target()])).double()
    return float(-(p * p.log() + (1 - p) * (1 - p).log()).mean())


def test_it_lowers_the_entropy_by_scales_and_shifts_alone(tent: Any, predictor: Any) -> None:
    from pladapt.torch import recalibrate_batch_norm

    given = {name: value.clone() for name, value in predictor.module.state_dict().items()}
    adapted = tent.tent(predictor, target(), learning_rate=1e-2, batch_size=4, device="cpu")
    assert all(torch.equal(predictor.module.state_dict()[name], given[name]) for name in given)
    found = adapted.module.state_dict()
    changed = {name for name, value in given.items() if not torch.equal(found[name], value)}
    assert changed == {f"1.{n}" for n in ("weight", "bias", "running_mean", "running_var")}
    assert entropy(adapted) < entropy(recalibrate_batch_norm(predictor, target(), device="cpu"))
    assert all(p.requires_grad and p.grad is None for p in adapted.module.parameters())


def test_the_order_of_the_samples_changes_nothing(tent: Any, predictor: Any) -> None:
    one, other = (
        tent.tent(predictor, samples, batch_size=3, device="cpu").module.state_dict()
        for samples in (target(), target()[::-1])
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_first_step_is_that_of_the_entropy_s_gradient(tent: Any, predictor: Any) -> None:
    adapted = tent.tent(predictor, target(), learning_rate=1e-3, batch_size=8, device="cpu")
    module = predictor.module.train()
    p = module(torch.from_numpy(np.stack([s.image for s in target()])).float()).sigmoid()
    (-(p * p.log() + (1 - p) * (1 - p).log()).mean()).backward()
    for name in ("weight", "bias"):
        layer, new = module[1], adapted.module[1]
        expected = getattr(layer, name) - 1e-3 * getattr(layer, name).grad.sign()  # Adam's first
        torch.testing.assert_close(getattr(new, name), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("classes", [1, 3])
def test_the_entropy_is_shannon_s(tent: Any, classes: int) -> None:
    logits = torch.randn(2, classes, 4, 4, generator=torch.Generator().manual_seed(0))
    if classes == 1:
        p = logits.sigmoid()
        p = torch.cat([p, 1 - p], 1)
    else:
        p = logits.softmax(1)
    expected = torch.distributions.Categorical(probs=p.movedim(1, -1)).entropy().mean()
    torch.testing.assert_close(tent.mean_entropy(logits), expected)


def test_without_batch_normalisation_there_is_nothing_to_learn(tent: Any) -> None:
    from pladapt.torch import TorchPredictor

    with pytest.raises(ValueError, match="no scale or shift"):
        tent.tent(TorchPredictor(torch.nn.Conv2d(1, 1, 1), device="cpu"), target())
