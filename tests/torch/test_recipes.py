from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from torch.optim import Adam

import pladapt
from pladapt import InputError, Sample, SourceStatistics, Verdict
from pladapt.errors import LabelledTargetError, RunChangedError, UnknownPluginError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.plugins import PluginManager
from pladapt.predictors import Views
from pladapt.recipes.paper import PaperOptions
from pladapt.recipes.robust import RobustOptions
from pladapt.runs.manifest import describe
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing.checks import contents
from pladapt.torch import FineTune, RandomAffine, TorchPredictor, TrainingOptions, module_of
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from pladapt.types import LabelledSample, Progress

pytestmark = pytest.mark.torch

QUICK = TrainingOptions(epochs=1, batch_size=4, device="cpu", augmentation=RandomAffine())
SMALL: dict[str, Any] = {"epochs": 1, "min_steps": 0, "batch_size": 4, "device": "cpu"}
QUIET = PluginManager()


def hashes(result: pladapt.AdaptationResult, images: Any) -> tuple[str, bytes]:
    probabilities = np.asarray(result.predictor.predict(images))
    return state_sha256(module_of(result.predictor)), probabilities.tobytes()


def stacked(target: list[Sample]) -> Any:
    return np.stack([sample.image for sample in target])


# The paper's


def test_the_paper_s_recipe_is_the_call_that_one_would_write(
    trained: TorchPredictor, shifted: Callable[..., list[Sample]], tmp_path: Path
) -> None:
    recipe = pladapt.recipe(
        "paper", cutoff=0.4, min_pixels=1, top_k=4, validation=0.5, options=QUICK, batch_size=4
    )
    target = shifted()
    made = recipe.adapt(trained, target, workdir=tmp_path / "recipe", plugins=QUIET)
    by_hand = pladapt.adapt(
        trained,
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


def test_the_paper_s_recipe_takes_the_source_s_cut_off_unless_another_is_given(
    source: SourceStatistics,
) -> None:
    def cutoff(**options: Any) -> Any:
        recipe: Any = pladapt.recipe("paper", **options)
        return recipe.selector.cutoff

    assert cutoff() == 0.5
    assert cutoff(source=replace(source, cutoff=0.4)) == 0.4
    assert cutoff(source=replace(source, cutoff=0.4), cutoff=0.3) == 0.3


def test_the_options_of_the_paper_s_recipe_reach_its_parts(source: SourceStatistics) -> None:
    plain = pladapt.recipe("paper", gate=True)
    described = {name: json.dumps(describe(getattr(plain, name))) for name in vars(plain)}
    reached: dict[str, set[str]] = {}
    for options in (
        {"cutoff": 0.3},
        {"source": replace(source, cutoff=0.3)},
        {"min_pixels": 3},
        {"ci_limit": 0.8},
        {"top_k": 3},
        {"gate": False},
        {"validation": 0.2},
        {"options": QUICK},
        {"seed": 3},
        {"batch_size": 3},
    ):
        (name,) = options
        other = pladapt.recipe("paper", **{"gate": True} | options)
        reached[name] = {
            part
            for part in described
            if json.dumps(describe(getattr(other, part))) != described[part]
        }
    assert reached == {
        **{name: {"selector", "gates"} for name in ("cutoff", "source")},
        **{name: {"selector"} for name in ("min_pixels", "ci_limit", "top_k")},
        **{name: {"retrainer"} for name in ("validation", "options", "seed")},
        "gate": {"gates"},
        "batch_size": {"gates", "batch_size"},
    }
    machine = {"device", "checkpoints", "progress"}
    assert set(reached) | machine == {each.name for each in fields(PaperOptions)}


@pytest.mark.parametrize("options", [{}, {"gate": True}], ids=["alone", "with a gate"])
def test_with_a_gate_the_paper_s_recipe_refuses_to_replace_a_model_where_it_harms(
    trained: TorchPredictor, shifted: Callable[..., list[Sample]], options: dict[str, bool]
) -> None:
    # such steps leave nothing of what the network knew
    wild = TrainingOptions(epochs=3, batch_size=4, optimizer=partial(Adam, lr=10.0), device="cpu")
    made = pladapt.recipe(
        "paper", min_pixels=1, validation=0.5, options=wild, batch_size=4, **options
    ).adapt(trained, shifted(), plugins=QUIET)
    gated = "gate" in options
    assert (made.predictor is trained) == gated
    assert made.verdict.outcome == ("unchanged" if gated else "adapted")
    assert ("round 1 refused" in made.verdict.reason) == gated


# The one we recommend


class Killed(BaseException):
    """The process ends here."""


def dying(at: str) -> Progress:
    """End the process in this stage."""

    def progress(stage: str, _done: int, _total: int, /) -> None:
        if stage.startswith(at):
            raise Killed

    return progress


def silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""


@pytest.fixture
def adapt(
    trained: TorchPredictor,
    source: SourceStatistics,
    shifted: Callable[..., list[Sample]],
    truth: Callable[..., list[LabelledSample]],
) -> Callable[..., pladapt.AdaptationResult]:
    """Adapt a network to fainter and smaller lesions, whose cores alone it marks."""

    def run(
        folder: Path | None = None,
        progress: Progress = silent,
        target: list[Sample] | None = None,
        **options: Any,
    ) -> pladapt.AdaptationResult:
        given: dict[str, Any] = {"source": source, "progress": progress} | SMALL | options
        evaluator = OverlapEvaluator(samples=truth("t", edge=0.4, core=0.6, size=7))
        return pladapt.recipe("robust", **given).adapt(
            trained,
            shifted(7) if target is None else target,
            evaluators=[evaluator],
            workdir=folder,
            plugins=QUIET,
            progress=progress,
        )

    return run


def dsc(evaluations: Any) -> float:
    return float(evaluations["OverlapEvaluator"].value("dsc"))


def test_robust_adapts_where_it_helps(adapt: Any, trained: TorchPredictor, tmp_path: Path) -> None:
    before = state_sha256(trained.module)
    result = adapt(tmp_path)
    assert state_sha256(trained.module) == before
    assert result.verdict == Verdict("adapted", "trained in 1 round")
    assert result.recalibration.evidence["adjustment"].to_pylist() == [
        "none",
        "batch norm",
        "source",
    ]
    assert result.recalibration.judgement.accepted
    (only,) = result.rounds
    assert only.selection.counts == {"kept": 6}
    assert only.judgement.accepted
    assert (
        state_sha256(module_of(result.predictor)) != state_sha256(module_of(result.first)) != before
    )
    assert dsc(result.before) < 0.5
    assert dsc(result.recalibration.evaluations) > 0.8
    assert dsc(result.after) > 0.8
    read = pladapt.read_run(tmp_path)
    assert read.verdict == result.verdict
    assert read.rounds[0].selection.kept == only.selection.kept
    assert read.recalibration is not None
    assert read.recalibration.evidence.equals(result.recalibration.evidence)


@pytest.mark.parametrize("stage", ["agreement", "recalibrate", "score", "train", "judge"])
def test_an_interrupted_run_ends_with_the_same_bytes(
    adapt: Any, shifted: Callable[..., list[Sample]], stage: str, tmp_path: Path
) -> None:
    whole = adapt(tmp_path / "whole")
    with pytest.raises(Killed):
        adapt(tmp_path / "killed", dying(stage))
    again = adapt(tmp_path / "killed")
    assert again.verdict == whole.verdict
    assert hashes(again, stacked(shifted(7))) == hashes(whole, stacked(shifted(7)))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_run_is_not_continued_with_other_options(adapt: Any, tmp_path: Path) -> None:
    adapt(tmp_path, train=False)
    with pytest.raises(RunChangedError, match=r"margin was 0\.005 and is now 0\.01"):
        adapt(tmp_path, train=False, margin=0.01)


def test_without_training_robust_only_recalibrates(adapt: Any, tmp_path: Path) -> None:
    result = adapt(tmp_path, train=False)
    assert result.rounds == ()
    assert result.verdict == Verdict("adapted", "recalibrated")
    assert result.predictor is result.first
    assert dsc(result.after) > 0.8 > dsc(result.before)
    assert pladapt.read_run(tmp_path).verdict == result.verdict


def test_without_the_source_robust_does_not_train(adapt: Any) -> None:
    # without the source's fraction this is nine times as much as is usual
    result = adapt(source=None, factor=9.0)
    assert result.rounds == ()
    assert result.verdict.outcome == "adapted"
    assert "batch normalisation's statistics" in result.verdict.reason
    assert dsc(result.after) > 0.8 > dsc(result.before)


@pytest.fixture
def targets(
    lesions: Callable[..., list[Sample]],
    shifted: Callable[..., list[Sample]],
    source: SourceStatistics,
) -> dict[str, dict[str, Any]]:
    """Make targets on which nothing surely helps, with what else the recipe is given."""
    plain = lesions("t")
    inverted, blank = (
        [replace(each, image=a + b * each.image) for each in plain] for a, b in ((1, -1), (0, 0))
    )
    little = replace(source, foreground_fraction=np.array([16 / 1024]))
    return {
        "the source's": {"target": plain},
        "inverted": {"target": inverted},
        "blank": {"target": blank, "source": None},
        # nine times as much would be marked as before and on the source
        "rewritten": {"target": shifted(12), "source": little, "factor": 9.0},
    }


@pytest.mark.parametrize(
    "case",
    [
        ("the source's", "unchanged", "the images are like the source's"),
        ("inverted", "unfit", "the other way round"),
        ("blank", "unchanged", "finds no foreground"),
        ("rewritten", "unchanged", "the recalibration was refused: foreground fraction"),
    ],
    ids=lambda case: case[0],
)
def test_robust_returns_the_very_predictor_where_nothing_surely_helps(
    case: tuple[str, str, str], adapt: Any, targets: Any, trained: TorchPredictor, tmp_path: Path
) -> None:
    kind, outcome, reason = case
    options = targets[kind]
    result = adapt(tmp_path, **options)
    assert result.predictor is result.first is trained
    assert result.rounds == ()
    assert result.verdict.outcome == outcome
    assert reason in result.verdict.reason
    assert dsc(result.after) == dsc(result.before)
    assert pladapt.read_run(tmp_path).verdict == result.verdict
    stored = contents(tmp_path)
    assert adapt(tmp_path, **options).verdict == result.verdict
    assert contents(tmp_path) == stored


def test_robust_takes_the_source_s_cut_off_and_views_unless_others_are_given(
    trained: TorchPredictor, lesions: Callable[..., list[Sample]]
) -> None:
    def found(**options: Any) -> tuple[float, Views]:
        recipe: Any = pladapt.recipe("robust", **options)
        return recipe.recalibrator.cutoff, recipe.recalibrator.views

    views = Views((-2,), (0.5,))
    source = SourceStatistics.measure(lesions("s"), trained, cutoff=0.4, region=None, views=views)
    assert found(source=source) == (0.4, views)
    assert found(source=source, cutoff=0.4) == (0.4, views)
    with pytest.raises(InputError, match=r"cut-off is 0\.3, .* were measured at 0\.4; leave out"):
        found(source=source, cutoff=0.3)
    assert found(source=source, axes=(-1, -2)) == (0.4, Views((-1, -2), (0.5,)))
    assert found(source=source, scales=()) == (0.4, Views((-2,), ()))
    assert found() == (0.5, Views())


def test_the_options_of_robust_reach_its_parts(source: SourceStatistics) -> None:
    moved = replace(source, cutoff=0.3)
    plain = pladapt.recipe("robust", source=source, **SMALL)
    described = {name: json.dumps(describe(getattr(plain, name))) for name in vars(plain)}
    reached: dict[str, set[str]] = {}
    for options in (
        {"cutoff": 0.3},
        {"source": None},
        {"train": False},
        {"axes": (-1, -2)},
        {"scales": ()},
        {"margin": 0.1},
        {"factor": 2.0},
        {"shift": 0.1},
        {"recalibration_shift": 0.1},
        {"min_agreement": 0.1},
        {"foreground_fraction": (0.0, 0.1)},
        {"epochs": 2},
        {"min_steps": 9},
        {"learning_rate": 1e-2},
        {"ema": None},
        {"seed": 3},
        {"batch_size": 3},
    ):
        (name,) = options
        known = moved if name == "cutoff" else source
        other = pladapt.recipe("robust", **{"source": known} | SMALL | options)
        reached[name] = {
            part
            for part in described
            if json.dumps(describe(getattr(other, part))) != described[part]
        }
    assert reached == {
        **{
            name: {"retrainer", "restart"}
            for name in ("epochs", "min_steps", "learning_rate", "ema", "seed")
        },
        **{name: {"recalibrator"} for name in ("scales", "margin", "factor", "shift")},
        "recalibration_shift": {"recalibrator"},
        "min_agreement": {"recalibrator"},
        "source": {"recalibrator", "gates"},
        "cutoff": {"selector", "retrainer", "recalibrator", "gates", "restart"},
        "axes": {"retrainer", "recalibrator", "restart"},
        "foreground_fraction": {"recalibrator", "gates", "restart"},
        "train": {"rounds"},
        "batch_size": {"retrainer", "gates", "restart", "batch_size"},
    }
    machine = {"device", "checkpoints", "progress"}
    labels = {"labelled", "labelled_margin", "train_on_labelled"}  # these make another recipe
    assert set(reached) | machine | labels == {each.name for each in fields(RobustOptions)}


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"paper has no option 'topk'\. Did you mean 'top_k'\?"):
        pladapt.recipe("paper", topk=3)
    with pytest.raises(TypeError, match=r"no option 'epoch'\. Did you mean 'epochs'\? .* margin"):
        pladapt.recipe("robust", epoch=3)
    with pytest.raises(TypeError, match=r"no option 'zzz'\. Known: cutoff, source, train"):
        pladapt.recipe("robust", zzz=3)


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
def test_masks_are_refused(
    name: str, trained: TorchPredictor, truth: Callable[..., list[LabelledSample]]
) -> None:
    labelled: Any = truth("t")
    with pytest.raises(LabelledTargetError, match="has a mask"):
        pladapt.recipe(name).adapt(trained, labelled, plugins=QUIET)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match=r"no recipe 'robst'\. Did you mean 'robust'\?"):
        pladapt.recipe("robst")
