"""Where a few images of the target are labelled, they decide, and teach nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import pladapt
from pladapt import InputError, Sample
from pladapt.errors import RunChangedError
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.plugins import PluginManager
from pladapt.review import Review
from pladapt.runs.manifest import read_manifest
from pladapt.runs.reviewed import CANDIDATES
from pladapt.storage import read_stored_table
from pladapt.testing.checks import contents
from pladapt.torch import TorchPredictor, load_predictor, module_of, save_predictor
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pladapt import LabelledSample, SourceStatistics

pytestmark = pytest.mark.torch

SMALL: dict[str, Any] = {"epochs": 1, "min_steps": 0, "batch_size": 4, "device": "cpu"}
QUIET = PluginManager()


@pytest.fixture
def faint(truth: Callable[..., list[LabelledSample]]) -> list[LabelledSample]:
    """Make fainter and smaller lesions, of which the network marks the cores alone."""
    return truth("t", edge=0.4, core=0.6, size=7)


@pytest.fixture
def few(truth: Callable[..., list[LabelledSample]]) -> list[LabelledSample]:
    """Make three labelled images of their kind that are not among them."""
    return truth("l", edge=0.4, core=0.6, size=7)[:3]


@pytest.fixture
def adapt(
    trained: TorchPredictor,
    source: SourceStatistics,
    faint: list[LabelledSample],
    few: list[LabelledSample],
) -> Callable[..., pladapt.AdaptationResult]:
    """Adapt to the faint images, with a few labelled ones."""

    def run(
        folder: Path | None = None,
        labelled: list[LabelledSample] | None = None,
        target: list[Sample] | None = None,
        **options: Any,
    ) -> pladapt.AdaptationResult:
        given = {"source": source, "labelled": labelled or few} | SMALL | options
        return pladapt.recipe("robust", **given).adapt(
            trained,
            [sample.unlabelled() for sample in faint] if target is None else target,
            evaluators=[OverlapEvaluator(samples=faint)],
            workdir=folder,
            plugins=QUIET,
        )

    return run


def dsc(evaluations: Any) -> float:
    return float(evaluations["OverlapEvaluator"].value("dsc"))


def trained_weights(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all that was trained in a run folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("model.safetensors")}


def test_labels_choose_what_is_better(
    adapt: Any, trained: TorchPredictor, faint: list[LabelledSample], tmp_path: Path
) -> None:
    before = state_sha256(trained.module)
    result = adapt(tmp_path)
    assert state_sha256(trained.module) == before
    assert result.verdict.outcome == "adapted"
    assert "on the 3 labelled images" in result.verdict.reason
    assert dsc(result.before) < 0.5
    assert dsc(result.after) > 0.8
    tried = set(result.choice.choice.evidence["candidate"].to_pylist())
    assert tried == {"none", "batch-norm", "robust"}
    assert "selected none" in result.choice.dropped["paper"]  # lesions below 50 pixels
    assert result.choice.chose == ("l0", "l1", "l2")
    assert result.choice.taught == ()
    read = pladapt.read_run(tmp_path)
    assert read.verdict == result.verdict
    assert read.choice is not None
    assert read.choice.chose == result.choice.chose
    assert read.choice.choice.evidence.equals(result.choice.choice.evidence)
    assert dsc(read.after) == dsc(result.after)
    assert [each.number for each in read.rounds] == [each.number for each in result.rounds]
    save_predictor(result.predictor, tmp_path / "adapted")
    loaded = load_predictor(tmp_path / "adapted", module_of(trained))
    image = faint[0].image[None]
    assert np.array_equal(loaded.predict(image), result.predictor.predict(image))


def test_labelled_images_take_no_part_in_any_candidate_s_run(
    adapt: Any, faint: list[LabelledSample], tmp_path: Path
) -> None:
    adapt(tmp_path, faint[:3], train_on_labelled=True)
    for name in ("trained", "batch-norm-trained", "paper"):
        (only,) = pladapt.read_run(tmp_path / CANDIDATES / name).rounds
        assert only.scores["id"].to_pylist() == ["t3", "t4", "t5"]
    for name in ("robust", "batch-norm"):
        stored = tmp_path / CANDIDATES / name / "recalibration/target.parquet"
        assert read_stored_table(stored)["id"].to_pylist() == ["t3", "t4", "t5"]


def test_the_labels_reach_the_chooser_alone(
    adapt: Any, few: list[LabelledSample], tmp_path: Path
) -> None:
    flipped = [replace(sample, mask=1 - sample.mask) for sample in few]
    true, false = adapt(tmp_path / "true"), adapt(tmp_path / "false", flipped)
    assert trained_weights(tmp_path / "true") == trained_weights(tmp_path / "false") != {}
    candidates = [contents(tmp_path / kind / CANDIDATES) for kind in ("true", "false")]
    assert candidates[0] == candidates[1]
    assert not true.choice.choice.evidence.equals(false.choice.choice.evidence)


def test_the_very_model_stays_where_the_labels_say_that_it_is_right(
    adapt: Any,
    trained: TorchPredictor,
    truth: Callable[..., list[LabelledSample]],
    lesions: Callable[..., list[Sample]],
    tmp_path: Path,
) -> None:
    labelled = truth("l")[:3]
    result = adapt(tmp_path, labelled, lesions("t"))
    assert result.predictor is trained
    assert result.verdict.outcome == "unchanged"
    assert "nothing is clearly better" in result.verdict.reason
    assert dsc(result.after) == dsc(result.before)
    assert result.rounds == ()
    read = pladapt.read_run(tmp_path)
    assert read.verdict == result.verdict
    assert dsc(read.after) == dsc(read.before)


def test_labels_teach_where_that_is_asked_for(
    adapt: Any, few: list[LabelledSample], tmp_path: Path
) -> None:
    taught = adapt(tmp_path / "taught", train_on_labelled=True)
    flipped = [replace(sample, mask=1 - sample.mask) for sample in few]
    adapt(tmp_path / "flipped", flipped, train_on_labelled=True)
    one, other = (trained_weights(tmp_path / kind) for kind in ("taught", "flipped"))
    assert one.keys() == other.keys()
    changed = {name.split("/")[1] for name in one if one[name] != other[name]}
    assert changed == {"trained", "batch-norm-trained"}
    assert taught.choice.taught == taught.choice.chose == ("l0", "l1", "l2")
    assert "taught as well as chose" in taught.verdict.reason
    assert pladapt.read_run(tmp_path / "taught").verdict == taught.verdict


def test_a_run_goes_on_with_the_same_bytes_and_refuses_other_labels(
    adapt: Any, few: list[LabelledSample], tmp_path: Path
) -> None:
    first = adapt(tmp_path)
    stored = contents(tmp_path)
    assert adapt(tmp_path).verdict == first.verdict
    assert contents(tmp_path) == stored
    with pytest.raises(RunChangedError, match="chooser"):
        adapt(tmp_path, [replace(s, mask=1 - s.mask) for s in few])


def test_people_s_answers_teach_a_candidate_and_the_labels_choose_again(
    adapt: Any, faint: list[LabelledSample], tmp_path: Path
) -> None:
    first = adapt(tmp_path)
    review = Review(tmp_path, who="Ann")
    for sample in faint[:3]:
        review.correct(sample.id, sample.mask, seconds=20)
    result = adapt(tmp_path)
    taught = pladapt.read_run(tmp_path / CANDIDATES / "robust").rounds[-1]
    assert taught.reviewed is not None
    assert taught.reviewed["id"].to_pylist() == ["t0", "t1", "t2"]
    assert result.choice.chose == first.choice.chose
    assert result.choice.rounds == first.choice.rounds + 1
    read = pladapt.read_run(tmp_path)
    assert read.choice is not None
    assert read.choice.rounds == result.choice.rounds
    assert read.verdict == result.verdict
    assert dsc(read.after) == dsc(result.after)
    (noted,) = read_manifest(tmp_path)["reviews"]
    assert (noted["who"], noted["corrected"], noted["seconds"]) == ("Ann", 3, 60)
    stored = contents(tmp_path)
    assert adapt(tmp_path).verdict == result.verdict
    assert contents(tmp_path) == stored


def test_all_images_labelled_leaves_none_to_adapt_to(
    adapt: Any, faint: list[LabelledSample]
) -> None:
    with pytest.raises(InputError, match="All 6 target images are labelled"):
        adapt(labelled=faint)


def test_the_margin_is_the_one_given(adapt: Any) -> None:
    result = adapt(labelled_margin=0.9, source=None)
    assert "robust" in result.choice.dropped  # nine times as much would be marked
    assert result.verdict.outcome == "unchanged"
    assert max(result.choice.choice.evidence["gain"].to_pylist()) > 0.3


def test_training_on_labels_needs_labels() -> None:
    with pytest.raises(InputError, match="train_on_labelled is given, and no labelled images"):
        pladapt.recipe("robust", train_on_labelled=True)


# The fraction that a user expects


def test_candidates_that_mark_another_fraction_than_given_are_refused(adapt: Any) -> None:
    result = adapt(foreground_fraction=(0.5, 0.9))
    assert result.verdict.outcome == "unchanged"
    would = "of all pixels would be foreground, and given was 0.5 to 0.9"
    assert would in result.choice.dropped["batch-norm"]
    assert "given was 0.5 to 0.9" in result.choice.dropped["robust"]


@pytest.fixture
def unlabelled_run(
    trained: TorchPredictor, source: SourceStatistics, faint: list[LabelledSample]
) -> Callable[..., pladapt.AdaptationResult]:
    """Adapt without any label."""

    def run(**options: Any) -> pladapt.AdaptationResult:
        given = {"source": source} | SMALL | options
        target = [sample.unlabelled() for sample in faint]
        return pladapt.recipe("robust", **given).adapt(trained, target, plugins=QUIET)

    return run


def test_without_labels_a_fraction_that_holds_changes_nothing(unlabelled_run: Any) -> None:
    assert unlabelled_run(foreground_fraction=(0, 0.2)).verdict == unlabelled_run().verdict


def test_without_labels_another_fraction_is_refused_with_the_reason(unlabelled_run: Any) -> None:
    # the network marks 1.6 % of all pixels, and with the target's statistics 4.8 %
    result = unlabelled_run(foreground_fraction=(0.0, 0.02))
    assert "the model with the target's statistics marks" in result.verdict.reason
    assert "given was 0 to 0.02" in result.verdict.reason
    assert result.verdict.outcome == "unchanged"


def test_a_model_that_stays_and_marks_another_fraction_is_warned_of(unlabelled_run: Any) -> None:
    result = unlabelled_run(foreground_fraction=(0.3, 0.6))
    assert result.verdict.outcome == "unchanged"
    assert "the model marks 0.0156 of all pixels, and given was 0.3 to 0.6" in (
        result.verdict.reason
    )


@pytest.mark.parametrize("ends", [(0.1, 0.2), (0.7, 0.8)], ids=["too much", "too little"])
def test_a_model_that_marks_another_fraction_is_shifted_to_the_nearest(
    ends: tuple[float, float],
) -> None:
    module = torch.nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        module.weight.fill_(3)
        assert module.bias is not None
        module.bias.fill_(0)  # so that half of the noise is marked
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(1, 16, 16)).astype(np.float32) for _ in range(6)]
    target = [Sample(f"s{i}", f"g{i}", image) for i, image in enumerate(images)]
    recipe = pladapt.recipe("robust", cutoff=0.4, foreground_fraction=ends, **SMALL)
    result = recipe.adapt(TorchPredictor(module, device="cpu"), target, plugins=QUIET)
    assert result.verdict.outcome == "adapted"
    assert f"since given was {ends[0]:g} to {ends[1]:g}" in result.verdict.reason
    marked = float((np.asarray(result.predictor.predict(np.stack(images))) > 0.4).mean())
    assert ends[0] <= marked <= ends[1]
    assert marked == pytest.approx(min(ends, key=lambda end: abs(end - 0.5)), abs=0.01)
    assert result.recalibration is not None
    rows = {row["adjustment"]: row for row in result.recalibration.evidence.to_pylist()}
    assert rows["shifted"]["taken"]
    assert rows["shifted"]["fraction"] == pytest.approx(marked)


@pytest.mark.parametrize("ends", [(0.2, 0.2), (-0.1, 0.2), (0.1, 1.1)])
def test_ends_that_are_no_fractions_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="two numbers from 0 to 1, the lower first"):
        pladapt.recipe("robust", foreground_fraction=ends)
