from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pladapt
from pladapt import InputError, Sample, SourceStatistics
from pladapt.errors import LabelledTargetError, RunChangedError, UnknownPluginError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.plugins import PluginManager
from pladapt.runs.manifest import describe
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing.checks import contents
from pladapt.torch import FineTune, RandomAffine, TorchPredictor, TrainingOptions, module_of
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from pladapt.types import LabelledSample

pytestmark = pytest.mark.torch

QUICK = TrainingOptions(epochs=1, batch_size=4, device="cpu", augmentation=RandomAffine())
SMALL: dict[str, Any] = {
    "epochs": 1,
    "min_steps": 0,
    "batch_size": 4,
    "device": "cpu",
    "fractions": (0.8, 1.0),
}
QUIET = PluginManager()


@pytest.fixture(scope="module")
def predictor() -> TorchPredictor:
    """Make a network of batch normalisation that sees brightness, and chance."""
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module: Any = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1)
        )
    with torch.no_grad():
        first, last = module[0], module[3]
        first.weight[0] = 1 / 9
        last.weight[0, 0], last.bias[0] = 8.0, -3.0
    return TorchPredictor(module, device="cpu")


@pytest.fixture
def target(blobs: Callable[..., list[LabelledSample]]) -> list[Sample]:
    return [
        Sample(s.id, s.group, np.asarray(s.image * 0.8 - 0.1, np.float32))
        for s in blobs(8, "t", seed=1)
    ]


@pytest.fixture
def source(blobs: Callable[..., list[LabelledSample]], predictor: Any) -> SourceStatistics:
    return SourceStatistics.measure(blobs(6), predictor, cutoff=0.4, region=None)


def hashes(result: pladapt.AdaptationResult, images: Any) -> tuple[str, bytes]:
    probabilities = np.asarray(result.predictor.predict(images))
    return state_sha256(module_of(result.predictor)), probabilities.tobytes()


def stacked(target: list[Sample]) -> Any:
    return np.stack([sample.image for sample in target])


# The paper's


def test_the_paper_s_recipe_is_the_call_that_one_would_write(
    predictor: Any, target: list[Sample], tmp_path: Path
) -> None:
    recipe = pladapt.recipe(
        "paper", cutoff=0.4, min_pixels=1, top_k=4, validation=0.5, options=QUICK, batch_size=4
    )
    made = recipe.adapt(predictor, target, workdir=tmp_path / "recipe", plugins=QUIET)
    by_hand = pladapt.adapt(
        predictor,
        target,
        selector=CertaintyIndexSelector(cutoff=0.4, min_pixels=1, top_k=4),
        retrainer=FineTune(validation=0.5, options=QUICK),
        batch_size=4,
        workdir=tmp_path / "by hand",
        plugins=QUIET,
    )
    assert len(made.rounds) == 1
    assert made.rounds[0].selection.kept
    assert hashes(made, stacked(target)) == hashes(by_hand, stacked(target))
    assert contents(tmp_path / "recipe") == contents(tmp_path / "by hand")


def test_the_paper_s_recipe_keeps_to_the_paper_by_default() -> None:
    recipe = pladapt.recipe("paper")
    assert isinstance(recipe.selector, CertaintyIndexSelector)
    assert recipe.selector.min_pixels == 50
    assert (recipe.recalibrator, recipe.gates, recipe.rounds) == (None, (), 1)


def test_the_paper_s_recipe_takes_seed_and_device_alone_or_in_options() -> None:
    options = TrainingOptions(augmentation=RandomAffine(), seed=3, device="cpu")
    alone = pladapt.recipe("paper", seed=3, device="cpu").retrainer
    assert isinstance(alone, FineTune)
    assert (alone.options.seed, alone.options.device) == (3, "cpu")
    inside = pladapt.recipe("paper", options=options).retrainer
    assert describe(alone) == describe(inside)
    for given in ({"seed": 3}, {"device": "cpu"}, {"seed": 0, "device": "cpu"}):
        with pytest.raises(InputError, match=f"{' and '.join(given)} beside them"):
            pladapt.recipe("paper", options=options, **given)


# The one we recommend


class Killed(BaseException):
    """The process ends here."""


def dying(at: str) -> pladapt.typing.Progress:
    """End the process in this stage."""

    def progress(stage: str, _done: int, _total: int, /) -> None:
        if stage == at:
            raise Killed

    return progress


@pytest.fixture(params=[True, False], ids=["with the source", "without it"])
def known(request: pytest.FixtureRequest, source: SourceStatistics) -> SourceStatistics | None:
    """What is known of the source."""
    return source if request.param else None


@pytest.fixture
def adapt(
    predictor: Any,
    target: list[Sample],
    blobs: Callable[..., list[LabelledSample]],
    known: SourceStatistics | None,
) -> Callable[..., pladapt.AdaptationResult]:
    def run(folder: Path, progress: Any = None, **options: Any) -> pladapt.AdaptationResult:
        recipe = pladapt.recipe("robust", **{"source": known} | SMALL | options)
        evaluator = OverlapEvaluator(samples=blobs(4, "e", seed=2))
        return recipe.adapt(
            predictor,
            target,
            evaluators=[evaluator],
            workdir=folder,
            plugins=QUIET,
            progress=progress,
        )

    return run


def test_robust_recalibrates_retrains_and_judges(
    adapt: Any, known: SourceStatistics | None, predictor: Any, tmp_path: Path
) -> None:
    before = state_sha256(predictor.module)
    result = adapt(tmp_path)
    assert state_sha256(predictor.module) == before
    assert result.rounds[0].selection.kept
    assert result.rounds[0].judgement is not None
    adjustments = result.recalibration.evidence["adjustment"].to_pylist()
    assert ("aligned" in adjustments) == (known is not None)
    assert {"none", "batch norm"} <= set(adjustments)
    assert result.after.keys() == {"OverlapEvaluator"}
    read = pladapt.read_run(tmp_path)
    assert read.stopped == result.stopped
    assert read.recalibration is not None


def test_an_interrupted_run_ends_with_the_same_bytes(
    adapt: Any, target: list[Sample], tmp_path: Path
) -> None:
    whole = adapt(tmp_path / "whole")
    for stage in ("recalibrate", "score", "judge"):
        with pytest.raises(Killed):
            adapt(tmp_path / "killed", dying(stage))
    again = adapt(tmp_path / "killed")
    assert hashes(again, stacked(target)) == hashes(whole, stacked(target))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    with pytest.raises(RunChangedError, match="seed was 0 and is now 1"):
        adapt(tmp_path / "whole", seed=1)


def test_robust_without_rounds_only_recalibrates(predictor: Any, target: list[Sample]) -> None:
    result = pladapt.recipe("robust", rounds=0, **SMALL).adapt(predictor, target, plugins=QUIET)
    assert result.rounds == ()
    assert result.recalibration is not None
    assert np.asarray(result.predictor.predict(stacked(target))).shape == (8, 1, 16, 16)


def test_robust_takes_the_source_s_cut_off_unless_another_is_given(
    source: SourceStatistics,
) -> None:
    def cutoff(**options: Any) -> Any:
        return pladapt.recipe("robust", **options).recalibrator.cutoff  # type: ignore[union-attr]  # robust has one

    assert cutoff(source=source) == 0.4
    assert cutoff(source=source, cutoff=0.3) == 0.3
    assert cutoff(cutoff=0.3) == 0.3


def test_the_options_of_robust_reach_its_parts(source: SourceStatistics) -> None:
    plain = pladapt.recipe("robust", source=source, **SMALL)
    assert len(plain.selector) == plain.rounds == 2  # type: ignore[arg-type]  # one for each round
    described = {name: json.dumps(describe(getattr(plain, name))) for name in vars(plain)}
    for options, part in (
        ({"epochs": 2}, "retrainer"),
        ({"min_steps": 9}, "retrainer"),
        ({"learning_rate": 1e-2}, "retrainer"),
        ({"ema": None}, "retrainer"),
        ({"vary": False}, "retrainer"),
        ({"seed": 3}, "retrainer"),
        ({"align": False}, "recalibrator"),
        ({"batch_norm": False}, "recalibrator"),
        ({"fraction": False}, "recalibrator"),
        ({"groups": False}, "recalibrator"),
        ({"flip": (-1, -2)}, "recalibrator"),
        ({"tta_scales": ()}, "recalibrator"),
        ({"fractions": (0.5, 1.0)}, "selector"),
        ({"rounds": 1}, "rounds"),
        ({"cutoff": 0.3}, "gates"),
    ):
        other = pladapt.recipe("robust", **{"source": source} | SMALL | options)
        assert json.dumps(describe(getattr(other, part))) != described[part], options


@pytest.mark.parametrize("rounds", [-1, 3])
def test_more_rounds_than_fractions_are_refused(rounds: int) -> None:
    with pytest.raises(InputError, match=rf"rounds is {rounds}; .* between 0 and 2"):
        pladapt.recipe("robust", rounds=rounds, **SMALL)


@pytest.mark.parametrize("cutoff", [(0.4, 0.4), (0.4, 0.5)])
def test_cut_offs_of_several_classes_must_be_one(
    cutoff: tuple[float, ...], net: Callable[..., nn.Module]
) -> None:
    images = [Sample(f"s{i}", "p", np.full((1, 8, 8), float(i), np.float32)) for i in range(4)]
    classes = TorchPredictor(net(3), device="cpu")
    source = SourceStatistics.measure(images, classes, cutoff=cutoff, region=None)
    if len(set(cutoff)) == 1:
        assert pladapt.recipe("robust", source=source).recalibrator.cutoff == 0.4  # type: ignore[union-attr]  # robust has one
    else:
        with pytest.raises(InputError, match="one per class; give a cutoff"):
            pladapt.recipe("robust", source=source)


@pytest.mark.parametrize("name", ["paper", "robust"])
def test_masks_are_refused(name: str, predictor: Any, blobs: Callable[..., Any]) -> None:
    with pytest.raises(LabelledTargetError, match="has a mask"):
        pladapt.recipe(name).adapt(predictor, blobs(4), plugins=QUIET)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match=r"no recipe 'robst'\. Did you mean 'robust'\?"):
        pladapt.recipe("robst")
