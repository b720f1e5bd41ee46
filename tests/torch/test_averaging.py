from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

import pladapt
from pladapt import EnsemblePredictor, FlipPredictor, InputError, Sample
from pladapt.functional.arrays import to_numpy
from pladapt.predictors import LogitShiftPredictor, ScalePredictor, TemperaturePredictor
from pladapt.predictors.prediction import predictions
from pladapt.runs.manifest import describe
from pladapt.selection.pairwise_dice import PairwiseDiceSelector
from pladapt.testing import PredictorContract
from pladapt.torch import (
    DropoutPredictor,
    FineTune,
    ModulePredictor,
    TorchPredictor,
    TrainingOptions,
    module_of,
    recalibrate_batch_norm,
    with_module,
)
from pladapt.torch.storage import state_sha256
from pladapt.typing import WrappingPredictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

QUICK = TrainingOptions(epochs=1, batch_size=4, device="cpu")


def cpu(module: nn.Module, **options: Any) -> TorchPredictor:
    return TorchPredictor(module, device="cpu", **options)


def small(classes: int = 1, *, spatial: int = 2, dropout: type[nn.Module] = nn.Dropout) -> Any:
    """Make a network of batch normalisation and dropout, the same each time."""
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[spatial - 2]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            conv(1, 6, 3, padding=1), norm(6), nn.ReLU(), dropout(0.3), conv(6, classes, 1)
        )


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape or (3, 1, 16, 24)).astype(np.float32)


def averages(classes: int = 1) -> dict[str, Any]:
    plain = cpu(small(classes), batch_size=2)
    dropped = DropoutPredictor(plain, members=3)
    return {
        "scales": ScalePredictor(plain),
        "scales of flips": ScalePredictor(FlipPredictor(plain), (1.5,)),
        "dropout": dropped,
        "flips of dropout": FlipPredictor(dropped),
        "dropout of flips": DropoutPredictor(FlipPredictor(plain), members=2),
        "flips": FlipPredictor(plain),
        "ensemble": EnsemblePredictor([ScalePredictor(plain, (0.5,)), dropped, plain]),
        "temperature": TemperaturePredictor(dropped, 2.0),
        "shifted": LogitShiftPredictor(dropped, 0.2),
        "shifted by group": LogitShiftPredictor(FlipPredictor(plain), 0.0, {"": -2.0, "p": 0.1}),
    }


@pytest.mark.parametrize("classes", [1, 3])
class TestContract(PredictorContract):
    @pytest.fixture(params=averages())
    def predictor(self, request: pytest.FixtureRequest, classes: int) -> Any:
        return averages(classes)[request.param]


# Scales


class Nearest:
    """Predicts a fixed function of each pixel, and notes the sizes that it is given."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def predict(self, images: Any, /) -> Any:
        self.sizes.append(tuple(images.shape[2:]))
        return images.clip(0, 1)


@pytest.mark.parametrize("spatial", [2, 3])
def test_a_scaled_image_is_about_the_centre_and_brought_back(spatial: int, members_of: Any) -> None:
    shape = (12, 16, 20)[:spatial]
    ramp = np.add.reduce(np.indices(shape)).astype(np.float32)
    batch = (0.2 + 0.5 * ramp / ramp.max())[None, None]
    seen: list[np.ndarray] = []

    class Watched(Nearest):
        def predict(self, images: Any, /) -> Any:
            seen.append(np.asarray(images))
            return super().predict(images)

    members = members_of(ScalePredictor(Watched(), scales=(2.0, 0.5)), batch)
    assert members.shape == (3, 1, 1, *shape)
    assert [image.shape for image in seen] == [batch.shape] * 3, "never of another size"
    middle = float(batch.mean())
    for image, scale in zip(seen, (1.0, 2.0, 0.5), strict=True):
        assert float(image.mean()) == pytest.approx(middle, abs=1e-5), "the ramp's own middle"
        steps = np.diff(image[0, 0], axis=-1)[*(slice(5, 7),) * spatial]
        step = float((batch[0, 0, ..., 1] - batch[0, 0, ..., 0]).mean())
        np.testing.assert_allclose(steps, step / scale, rtol=1e-4)
    inside = (slice(None),) * 3 + (slice(5, -5),) * spatial
    np.testing.assert_allclose(members[inside], np.stack([batch] * 3)[inside], atol=1e-6)


def test_what_a_magnified_image_leaves_out_has_the_plain_prediction(members_of: Any) -> None:
    class Counting(Nearest):
        """Predicts 0.1 for the first image that it is given, then 0.9."""

        def predict(self, images: Any, /) -> Any:
            level = 0.9 if self.sizes else 0.1
            return np.full(super().predict(images).shape, level, np.float32)

    _, magnified = members_of(ScalePredictor(Counting(), scales=(2.0,)), images(1, 1, 8, 8))
    expected = np.full((8, 8), 0.1)
    expected[2:6, 2:6] = 0.9
    np.testing.assert_allclose(magnified[0, 0], expected, atol=1e-6)


def test_a_member_is_what_another_library_magnifies(
    net: Callable[..., nn.Module], members_of: Any
) -> None:
    plain, batch = cpu(net()), images(1, 1, 16, 16)

    def scaled(plane: np.ndarray, factor: float) -> np.ndarray:
        centre = (len(plane) - 1) / 2
        return ndimage.affine_transform(
            plane, np.full(2, 1 / factor), centre - centre / factor, order=1, mode="nearest"
        )

    shown = plain.predict(scaled(batch[0, 0], 1.25)[None, None])[0, 0].numpy()
    member = members_of(ScalePredictor(plain, (1.25,)), batch)[1, 0, 0]
    np.testing.assert_allclose(member[3:-3, 3:-3], scaled(shown, 0.8)[3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize("scales", [(), (0.0,), (-1.0,), (1.2, 1.0), (float("inf"),)])
def test_scales_that_show_nothing_new_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="scales is"):
        ScalePredictor(Nearest(), scales)


# Dropout


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("channels", [False, True])
def test_the_members_average_to_evaluation_in_a_linear_network(
    spatial: int, *, channels: bool, members_of: Any
) -> None:
    dropout = (nn.Dropout2d, nn.Dropout3d)[spatial - 2](0.4) if channels else nn.Dropout(0.4)
    conv = (nn.Conv2d, nn.Conv3d)[spatial - 2]
    module = nn.Sequential(conv(1, 8, 1), dropout, conv(8, 1, 1))
    for weights in module[2].parameters():
        nn.init.normal_(weights, std=0.05)  # where a sigmoid is nearly linear
    batch = images(2, 1, *(4, 5, 6)[:spatial])
    found = members_of(DropoutPredictor(cpu(module), members=400), batch)
    error = (found.mean(0) - cpu(module).predict(batch)).abs()
    assert bool((error < 5 * found.std(0) / 400**0.5).all())  # standard errors of the mean
    assert float(found.std(0).mean()) > 0.005


@pytest.mark.parametrize("kind", ["", "2d"])
def test_a_member_is_the_network_with_units_dropped(kind: str, members_of: Any) -> None:
    module = nn.Sequential(getattr(nn, f"Dropout{kind}")(0.25))
    logits = torch.ones(2, 6, 40, 40)
    members = members_of(DropoutPredictor(cpu(module), members=5), logits)
    kept = torch.softmax(torch.tensor([4 / 3, 0.0]), 0)
    ratios = members / members.amax(2, keepdim=True)
    levels = np.unique(ratios.numpy().round(4))
    assert levels.tolist() == pytest.approx([float(kept[1] / kept[0]), 1], abs=1e-4)
    dropped = (ratios < 0.99).float()
    assert bool((dropped == dropped[:, :, :, :1, :1]).all()) == (kind == "2d")
    if not kind:
        assert float(dropped.mean()) == pytest.approx(0.25, abs=0.01)


def test_dropout_is_on_and_batch_normalisation_and_the_modes_are_untouched(members_of: Any) -> None:
    module = small().train()
    module[3].eval()
    modes, before = [m.training for m in module.modules()], state_sha256(module)
    members = members_of(DropoutPredictor(cpu(module), members=4), images())
    assert len({member.numpy().tobytes() for member in members}) == 4
    assert [m.training for m in module.modules()] == modes
    assert state_sha256(module) == before
    plain = cpu(module).predict(images())
    assert torch.equal(cpu(small()).predict(images()), plain), "a hook stayed behind"


def test_the_seed_alone_draws_the_masks(members_of: Any) -> None:
    one, again, other = (
        DropoutPredictor(cpu(small()), members=2, seed=seed).predict(images()) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    longer = members_of(DropoutPredictor(cpu(small()), members=3), images())
    assert torch.equal(longer[:2].mean(0), one), "more members change the first ones"


def test_hooks_go_after_an_error() -> None:
    module = small()
    with pytest.raises(InputError):
        DropoutPredictor(cpu(module)).predict(images(1, 5, 8, 8))
    assert torch.equal(cpu(module).predict(images()), cpu(small()).predict(images()))


def test_a_module_without_dropout_is_refused() -> None:
    for part in (nn.Identity, lambda p: nn.Dropout(0.0)):
        with pytest.raises(InputError, match="no layer nn"):
            DropoutPredictor(cpu(small(dropout=part)))  # type: ignore[arg-type]  # makes a module
    with pytest.raises(InputError, match="members is 0"):
        DropoutPredictor(cpu(small()), members=0)
    with pytest.raises(InputError, match="no module"):
        DropoutPredictor(Nearest())


def test_a_predictor_that_leaves_its_module_aside_is_refused() -> None:
    class Elsewhere(TorchPredictor):
        """Computes with a copy, as an exported file does."""

        def predict(self, images: Any, /) -> torch.Tensor:
            return cpu(small()).predict(images)

    with pytest.raises(InputError, match="Elsewhere did not compute with"):
        DropoutPredictor(Elsewhere(small(), device="cpu")).predict(images())


# All


@given(
    name=st.sampled_from(sorted(averages())),
    order=st.permutations(range(4)),
    size=st.integers(1, 4),
)
def test_a_sample_is_scored_the_same_in_every_batch(name: str, order: list[int], size: int) -> None:
    predictor, selector = averages()[name], PairwiseDiceSelector(cutoff=0.5)
    samples = [Sample(f"s{i}", "p", image) for i, image in enumerate(images(4, 1, 16, 24))]

    def scores(samples: list[Sample], size: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for _, prediction in predictions(predictor, samples, batch_size=size):
            column = to_numpy(selector.score(prediction)["score"])
            found |= dict(zip(prediction.ids, column, strict=True))
        return found

    expected = scores(samples, 4)
    assert scores([samples[i] for i in order], size) == pytest.approx(expected, abs=1e-3)
    assert not all(value == 1 for value in expected.values())


def test_descriptions_tell_what_changes_the_probabilities() -> None:
    said = [json.dumps(describe(predictor)) for predictor in averages().values()]
    assert len(set(said)) == len(said)
    seeds = [describe(DropoutPredictor(cpu(small()), seed=seed)) for seed in (0, 1)]
    assert seeds[0] != seeds[1]


# The module inside


def stack() -> TemperaturePredictor:
    scales = ScalePredictor(cpu(small()), (1.5,))
    return TemperaturePredictor(FlipPredictor(scales, axes=(-1, -2)), 1.5)


def test_the_module_inside_is_found_and_replaced() -> None:
    predictor, module = stack(), small(2)
    assert isinstance(predictor, WrappingPredictor)
    assert not isinstance(predictor, ModulePredictor)
    changed = with_module(predictor, module)
    assert isinstance(changed, TemperaturePredictor)
    assert module_of(changed) is module
    assert module_of(predictor) is not module
    assert describe(changed)["predictor"]["axes"] == describe(predictor)["predictor"]["axes"]
    assert changed.predict(images(1, 1, 16, 16)).shape == (1, 2, 16, 16)
    assert module_of(cpu(module)) is module


@pytest.mark.parametrize("predictor", [EnsemblePredictor([cpu(small())]), Nearest()])
def test_what_has_not_one_module_is_refused(predictor: Any) -> None:
    for wrapped in (predictor, FlipPredictor(predictor)):
        with pytest.raises(InputError, match=f"{type(predictor).__name__} has no module"):
            module_of(wrapped)
        with pytest.raises(InputError, match="no module to train"):
            with_module(wrapped, small())


def test_fine_tuning_labels_with_the_average_and_trains_the_module_inside(
    blobs: Callable[..., list[Any]], tmp_path: Path
) -> None:
    target = [sample.unlabelled() for sample in blobs(6)]

    def adapted(folder: Path) -> Any:
        return pladapt.adapt(
            stack(),
            target,
            selector=PairwiseDiceSelector(cutoff=0.3, min_pixels=1),
            retrainer=FineTune(options=QUICK),
            rounds=2,
            workdir=folder,
        )

    result = adapted(tmp_path / "run")
    assert result.rounds[1].selection.kept
    assert isinstance(result.predictor, TemperaturePredictor)
    trained, given_ = (state_sha256(module_of(p)) for p in (result.predictor, stack()))
    assert trained != given_
    read = adapted(tmp_path / "run").predictor
    assert describe(read) == describe(result.predictor), "continuing reads the stack back"


def test_recalibration_reaches_the_module_inside(blobs: Callable[..., list[Any]]) -> None:
    target = [sample.unlabelled() for sample in blobs(4)]
    changed = recalibrate_batch_norm(stack(), target, device="cpu")
    assert isinstance(changed, TemperaturePredictor)
    expected = recalibrate_batch_norm(cpu(small()), target, device="cpu")
    assert state_sha256(module_of(changed)) == state_sha256(expected.module)
