from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pladapt.errors import InputError, LabelledTargetError
from pladapt.torch import TorchPredictor, recalibrate_batch_norm
from pladapt.torch.storage import state_sha256
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch


def deep() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.BatchNorm2d(2),
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4, momentum=None),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(4, 1, 1),
        )


def target(count: int = 10, *, size: int = 6, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Sample(f"t{size}-{i}", f"p{i // 3}", rng.normal(3 + i, 1 + i, (2, size, size)))
        for i in range(count)
    ]


def stacked(samples: list[Sample]) -> torch.Tensor:
    return torch.from_numpy(np.stack([s.image for s in samples])).float()


def recalibrated(samples: Any, module: nn.Module | None = None, **options: Any) -> nn.Module:
    predictor = TorchPredictor(module or deep(), device="cpu")
    return recalibrate_batch_norm(predictor, samples, device="cpu", **options).module


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
def test_the_first_layer_gets_the_statistics_of_all_pixels_whatever_the_batches(
    batch_size: int,
) -> None:
    images = np.stack([s.image for s in target()]).astype(np.float32)
    layer: Any = recalibrated(target(), batch_size=batch_size)[0]
    np.testing.assert_allclose(layer.running_mean, images.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, images.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_a_large_mean_costs_no_more_digits_of_the_variance_than_torch_loses() -> None:
    samples = [Sample(s.id, s.group, s.image + 1e3) for s in target()]
    layer: Any = recalibrated(samples, batch_size=2)[0]
    images = np.stack([s.image for s in samples]).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(layer.running_var, images.var((0, 2, 3), ddof=1), rtol=1e-5)


def test_one_batch_gives_what_torch_gives_with_a_momentum_of_one() -> None:
    theirs = deep().train()
    theirs[0].momentum = theirs[2].momentum = 1.0
    theirs[4].eval()
    theirs(stacked(target()))
    ours = recalibrated(target(), batch_size=10)
    for place in (0, 2):
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(ours[place], name), getattr(theirs[place], name))


def test_the_share_lies_between_source_and_target() -> None:
    source, full, half = deep(), recalibrated(target()), recalibrated(target(), momentum=0.25)
    assert state_sha256(recalibrated(target(), momentum=0)) == state_sha256(source)
    for name in ("running_mean", "running_var"):
        before, after = getattr(source[2], name), getattr(full[2], name)
        torch.testing.assert_close(getattr(half[2], name), 0.75 * before + 0.25 * after)


def test_nothing_but_the_statistics_changes() -> None:
    module = deep().train()
    before, modes = state_sha256(module), [m.training for m in module.modules()]
    predictor = TorchPredictor(module, device="cpu", batch_size=3)
    new = recalibrate_batch_norm(predictor, target(), device="cpu")
    assert state_sha256(module) == before
    assert [m.training for m in module.modules()] == modes
    assert (new.batch_size, type(new)) == (3, TorchPredictor)
    assert not any(m.training for m in new.module.modules())
    assert all(
        (m.track_running_stats, m.momentum) == (True, old.momentum)
        for m, old in zip(new.module.modules(), module.modules(), strict=True)
        if isinstance(m, nn.BatchNorm2d)
    )
    changed = {
        name
        for name, tensor in new.module.state_dict().items()
        if not torch.equal(tensor, module.state_dict()[name])
    }
    assert changed == {f"{i}.running_{what}" for i in (0, 2) for what in ("mean", "var")}
    images = stacked(target())
    assert torch.equal(new.predict(images), copy.deepcopy(new).predict(images)), "no hook is left"


@given(order=st.permutations(range(9)), batch_size=st.integers(1, 9))
def test_the_order_of_the_samples_changes_nothing(order: list[int], batch_size: int) -> None:
    samples = target(5) + target(4, size=4)
    module = recalibrated([samples[i] for i in order], batch_size=batch_size)
    assert state_sha256(module) == state_sha256(recalibrated(samples, batch_size=batch_size))


@given(scale=st.floats(0.5, 20), shift=st.floats(-50, 50))
def test_a_rescaled_target_is_predicted_as_before(scale: float, shift: float) -> None:
    samples = target()
    rescaled = [Sample(s.id, s.group, scale * s.image + shift) for s in samples]
    said = [
        TorchPredictor(recalibrated(part, batch_size=10), device="cpu").predict(stacked(part))
        for part in (samples, rescaled)
    ]
    torch.testing.assert_close(said[0], said[1], rtol=0, atol=1e-4)


def test_a_layer_that_is_used_twice_counts_both_and_an_unused_one_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.unused = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.norm(images)
            return self.norm(images + 10)

    module: Any = recalibrated(target(), Twice())
    mean = stacked(target()).mean((0, 2, 3))
    torch.testing.assert_close(module.norm.running_mean, mean + 5)
    assert torch.equal(module.unused.running_mean, torch.zeros(2))


def test_three_dimensions() -> None:
    rng = np.random.default_rng(0)
    samples = [Sample(f"v{i}", "p", rng.normal(i, 1, (1, 3, 4, 5))) for i in range(3)]
    module: Any = recalibrated(samples, nn.Sequential(nn.BatchNorm3d(1)))
    assert float(module[0].running_mean) == pytest.approx(
        np.mean([s.image for s in samples]), rel=1e-5
    )


def test_progress_is_told_of_every_image() -> None:
    told: list[tuple[str, int, int]] = []
    recalibrated(target(9), batch_size=4, progress=lambda *call: told.append(call))
    assert told == [("recalibrate", n, 9) for n in (3, 6, 9)]  # of nearly one size


def test_labelled_samples_are_refused(blobs: Callable[..., Any]) -> None:
    with pytest.raises(LabelledTargetError, match="'s0' has a mask"):
        recalibrated(blobs(3))


@pytest.mark.parametrize(
    ("samples", "options", "told"),
    [
        ([], {}, "no sample of the target"),
        (target(2), {"momentum": 1.5}, "momentum is 1.5"),
        (target(2), {"batch_size": 0}, "batch_size is 0"),
        (target(2), {"module": nn.Conv2d(2, 1, 1)}, "Conv2d has no batch normalisation"),
        (
            target(2),
            {"module": nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False))},
            "no batch normalisation that keeps statistics",
        ),
        (target(2, size=1), {"batch_size": 1}, "one value per channel"),
    ],
)
def test_what_cannot_be_recalibrated_is_said(samples: Any, options: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        recalibrated(samples, **options)


def test_a_predictor_without_a_module_is_refused() -> None:
    class Constant:
        def predict(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 1, *images.shape[2:]), 0.5)

    with pytest.raises(InputError, match="Constant has no module"):
        recalibrate_batch_norm(Constant(), target(2))
