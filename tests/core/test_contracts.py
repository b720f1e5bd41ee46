"""The contracts hold for the parts that come with pladapt, and fail for broken ones."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from pladapt import (
    Batch,
    Evaluation,
    FlipPredictor,
    Prediction,
    Recipe,
    Rules,
    Sample,
    Selection,
    hard_labels,
)
from pladapt.evaluation.evaluators import DetailEvaluator, OverlapEvaluator
from pladapt.predictors import LogitShiftPredictor, TemperaturePredictor
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing import (
    EvaluatorContract,
    GateContract,
    PredictorContract,
    RecalibratorContract,
    RecipeContract,
    RetrainerContract,
    SelectorContract,
)
from pladapt.testing.checks import Sigmoid, pseudo_labelled, some_images, some_prediction
from pladapt.typing import Recalibration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class TestCertaintyIndex(SelectorContract):
    @pytest.fixture(params=["mean", "min", "pixels"])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        return CertaintyIndexSelector(
            cutoff=0.4, min_pixels=5, ci_limit=0.5, top_k=3, combination=request.param
        )


@dataclass(frozen=True, kw_only=True)
class Mean(Rules):
    """Scores by the mean of the last channel."""

    def score(self, prediction: Prediction, /) -> Mapping[str, Any]:
        """Return the mean."""
        last = prediction.probabilities[:, -1]
        axes = tuple(range(1, last.ndim))
        return {"score": last.mean(axis=axes), "pixels": (last > 0.5).sum(axis=axes)}

    def label(self, prediction: Prediction, /) -> Any:
        """Return the likeliest class."""
        return hard_labels(prediction.probabilities)


class TestRulesWithAScoreAndALabel(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        return Mean(top_k=2)


class TestSmallPredictor(PredictorContract):
    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor(0.1)


class Flips:
    """Averages the prediction of an image and of its mirror image."""

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Predict both ways, and average both."""
        members = np.clip(np.stack([batch.images, batch.images[..., ::-1]]), 0, 1)
        return Prediction(batch.ids, members.mean(axis=0), members)

    def predict(self, images: Any, /) -> Any:
        """Average both."""
        return self.predict_batch(Batch.unnamed(images)).probabilities


class TestAveragingPredictor(PredictorContract):
    @pytest.fixture
    def predictor(self) -> Any:
        return Flips()


class TestPredictorOfClasses(PredictorContract):
    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()

    @pytest.fixture
    def images(self) -> Any:
        return some_images((2, 3, 5, 6, 7))


class TestSmallRetrainer(RetrainerContract):
    @pytest.fixture
    def retrainer(self, toy: SimpleNamespace) -> Any:
        return toy.Retrainer()

    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()


class TestOverlap(EvaluatorContract):
    @pytest.fixture(params=[1, 2])
    def evaluator(self, toy: SimpleNamespace, request: pytest.FixtureRequest) -> Any:
        return OverlapEvaluator(samples=toy.lesions(classes=request.param))

    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()


class TestDetail(EvaluatorContract):
    @pytest.fixture(params=[1, 2])
    def evaluator(self, toy: SimpleNamespace, request: pytest.FixtureRequest) -> Any:
        return DetailEvaluator(samples=toy.lesions(classes=request.param), spacing=(0.5, 2.0))

    @pytest.fixture
    def predictor(self, toy: SimpleNamespace) -> Any:
        return toy.Predictor()


# Broken parts fail


class Broken:
    """A sound part but for the methods that a test gives it."""

    def __init__(self, base: Any, **methods: Any) -> None:
        self._base = base
        for name, method in methods.items():
            setattr(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def describe(self) -> str:
        """Tell the same each time."""
        return "broken"


FAILURES = (AssertionError, pytest.fail.Exception)
PREDICTION = some_prediction((4, 2, 8, 8))


def scored(selector: Any) -> pa.Table:
    columns = {name: np.asarray(value) for name, value in selector.score(PREDICTION).items()}
    return pa.table({"id": list(PREDICTION.ids)} | columns)


def select_by(change: Any) -> Any:
    def select(scores: pa.Table) -> Selection:
        return Selection(change(Rules().select(scores).table))

    return select


def write_into(array: Any) -> Any:
    array[...] = 0
    return array


SCORE = Mean().score
NUMBERS = itertools.count(1)
CHANCE = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("test", "methods", "message"),
    [
        ("test_the_score_is_a_column", {"score": lambda p: [0.5]}, "returned a list"),
        ("test_the_score_is_a_column", {"score": lambda p: {}}, "without 'score'"),
        (
            "test_the_score_is_a_column",
            {"score": lambda p: {"score": np.ones(9)}},
            r"shape \(9,\) for 4 samples",
        ),
        (
            "test_the_score_is_a_column",
            {"score": lambda p: {"score": np.ones(4), "group": np.ones(4)}},
            "are taken",
        ),
        (
            "test_a_score_is_a_number_or_nan",
            {"score": lambda p: {"score": np.full(4, np.inf)}},
            "infinite",
        ),
        (
            "test_a_score_is_a_number_or_nan",
            {"score": lambda p: {"score": np.array(["a"] * 4)}},
            "dtype",
        ),
        (
            "test_the_commands_find_the_pixels",
            {"score": lambda p: {"score": SCORE(p)["score"]}},
            "without 'pixels', how many are above the cut-off",
        ),
        (
            "test_the_commands_find_the_pixels",
            {"score": lambda p: {"score": np.ones(4), "pixels": np.ones(4)}},
            "dtype float64",
        ),
        (
            "test_the_commands_find_the_pixels",
            {"score": lambda p: {"score": np.ones(4), "pixels": np.full(4, 65)}},
            "numbers from 0 to 64",
        ),
        (
            "test_a_score_does_not_depend_on_the_batch",
            {"score": lambda p: {"score": SCORE(p)["score"] - SCORE(p)["score"].max()}},
            "'score' of sample 0 depends on the other samples",
        ),
        (
            "test_it_leaves_the_prediction_unchanged",
            {"label": lambda p: write_into(p.probabilities)},
            "were written into",
        ),
        (
            "test_a_selection_has_a_row_for_each_sample",
            {"select": lambda s: ("s0",)},
            "returned a tuple",
        ),
        (
            "test_a_selection_has_a_row_for_each_sample",
            {"select": select_by(lambda t: t.slice(1))},
            "other ids",
        ),
        (
            "test_a_sample_is_ranked_or_dropped_by_a_rule",
            {
                "select": select_by(
                    lambda t: t.set_column(3, "rule", pa.array(["why"] * 4, pa.string()))
                )
            },
            "either a rank or a rule",
        ),
        (
            "test_a_sample_is_ranked_or_dropped_by_a_rule",
            {"select": select_by(lambda t: t.set_column(2, "rank", pa.array([1, 1, 2, 3])))},
            "do not count from 1",
        ),
        (
            "test_the_order_of_the_samples_does_not_matter",
            {
                "select": lambda s: Rules().select(
                    s.set_column(s.column_names.index("score"), "score", pa.array(range(4)))
                )
            },
            "turned round",
        ),
        (
            "test_a_score_that_cannot_be_computed_is_not_kept",
            {"select": select_by(lambda t: t.set_column(2, "rank", pa.array([1, 2, 3, 4])))},
            "whose scores are NaN",
        ),
        (
            "test_labels_are_classes_or_ignored",
            {"label": lambda p: p.probabilities[:, 0] > 0.5},
            "returned bool",
        ),
        (
            "test_labels_are_classes_or_ignored",
            {"label": lambda p: np.zeros((4, 8), np.uint8)},
            r"of shape \(4, 8\)",
        ),
        (
            "test_labels_are_classes_or_ignored",
            {"label": lambda p: np.full((4, 8, 8), 7, np.uint8)},
            r"returned \[7\]; expected 0 to 1, or 255",
        ),
        (
            "test_a_label_does_not_depend_on_the_batch",
            {
                "label": lambda p: (p.probabilities[:, 0] > p.probabilities[:, 0].mean()).astype(
                    np.uint8
                )
            },
            "the label of sample 0 depends",
        ),
    ],
)
def test_a_broken_selector_fails(test: str, methods: dict[str, Any], message: str) -> None:
    selector = Broken(Mean(), **methods)
    prediction = some_prediction((4, 2, 8, 8))
    arguments: dict[str, Any] = {"selector": selector, "prediction": prediction}
    if "select" in methods:
        arguments = {"selector": selector, "scores": scored(Mean())}
    with pytest.raises(FAILURES, match=message):
        getattr(SelectorContract(), test)(**arguments)


class Forgetful(Mean):
    """Selects by what it remembers of what it scored, and labels what it has scored."""

    def score(self, prediction: Prediction, /) -> Mapping[str, Any]:
        """Keep the scores to itself."""
        found = dict(super().score(prediction))
        object.__setattr__(self, "memory", found["score"])
        return found | {"score": np.zeros(len(prediction.ids))}

    def select(self, scores: pa.Table, /) -> Selection:
        """Select by the memory."""
        known = getattr(self, "memory", np.zeros(len(scores)))
        return super().select(scores.set_column(3, "score", pa.array(known)))


class LabellingByMemory(Forgetful):
    """Labels otherwise once it has scored."""

    select = Mean.select

    def label(self, prediction: Prediction, /) -> Any:
        """Mark nothing before the first score."""
        return super().label(prediction) * hasattr(self, "memory")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgetful(top_k=2), "select needs what score did not return"),
        (LabellingByMemory(top_k=2), "label needs what another call has left"),
    ],
)
def test_a_selector_with_a_memory_fails(broken: Any, message: str, tmp_path: Path) -> None:
    test = SelectorContract().test_a_run_that_goes_on_selects_and_labels_alike
    test(Mean(top_k=2), PREDICTION, tmp_path)
    with pytest.raises(FAILURES, match=message):
        test(broken, PREDICTION, tmp_path)


def test_what_is_no_selector_fails() -> None:
    with pytest.raises(FAILURES, match="score, select and label"):
        SelectorContract().test_it_has_the_methods_of_a_selector(object())  # type: ignore[arg-type]  # what is tested


def test_a_description_that_changes_fails() -> None:
    moments = itertools.count()
    part: Any = SimpleNamespace(describe=lambda: next(moments))
    contracts = (
        SelectorContract,
        PredictorContract,
        RetrainerContract,
        EvaluatorContract,
        GateContract,
        RecalibratorContract,
    )
    for contract in contracts:
        with pytest.raises(FAILURES, match="another thing each time"):
            contract().test_it_describes_itself_the_same_each_time(part)


@pytest.mark.parametrize(
    ("test", "predict", "message"),
    [
        (
            "test_it_predicts_channels_of_the_images_size",
            lambda x: x[:, 0],
            "predict returned shap",
        ),
        ("test_it_predicts_channels_of_the_images_size", lambda x: x[..., :-1], "returned shape"),
        ("test_it_predicts_channels_of_the_images_size", lambda x: x[:, :0], "returned shape"),
        ("test_it_predicts_probabilities", lambda x: x, "apply a sigmoid or softmax"),
        ("test_it_predicts_probabilities", lambda x: x * np.nan, "NaN"),
        ("test_it_predicts_probabilities", lambda x: x > 0, "dtype bool"),
        (
            "test_it_predicts_probabilities",
            lambda x: np.full((3, 2, 8, 8), 0.75),
            "they sum to 1.5",
        ),
        (
            "test_a_prediction_does_not_depend_on_the_batch",
            lambda x: (x > x.mean()).astype(float),
            "prediction of image 0 depends on its batch",
        ),
        (
            "test_a_prediction_does_not_depend_on_the_batch",
            lambda x: CHANCE.random(x.shape),
            "or on chance",
        ),
        ("test_it_leaves_the_images_unchanged", write_into, "images were written into"),
    ],
)
def test_a_broken_predictor_fails(test: str, predict: Any, message: str) -> None:
    with pytest.raises(FAILURES, match=message):
        getattr(PredictorContract(), test)(
            predictor=SimpleNamespace(predict=predict), images=some_images((3, 1, 8, 8))
        )


@pytest.mark.parametrize(
    ("predict_batch", "message"),
    [
        (lambda b: Prediction(b.ids, b.images / 2), "predict_batch and predict differ"),
        (lambda b: Prediction(b.ids[:1], b.images[:1]), "expected a Prediction of the batch's"),
        (lambda b: b.images, "expected a Prediction of the batch's"),
    ],
)
def test_a_batch_that_is_not_predicted_as_its_images_are_fails(
    predict_batch: Any, message: str
) -> None:
    broken: Any = SimpleNamespace(predict=lambda x: x, predict_batch=predict_batch)
    with pytest.raises(FAILURES, match=message):
        PredictorContract().test_a_batch_is_predicted_as_its_images_are(
            broken, some_images((3, 1, 8, 8))
        )


class Careless(LogitShiftPredictor):
    """Loses its shift where it is put around another predictor."""

    def with_predictor(self, predictor: Any, /) -> Any:
        """Return one without a shift."""
        return Careless(predictor)


class Other(FlipPredictor):
    """Becomes another kind of predictor."""

    def with_predictor(self, predictor: Any, /) -> Any:
        """Return a plain one."""
        return FlipPredictor(predictor, self.axes)


class Stubborn(FlipPredictor):
    """Keeps the predictor that it has."""

    def with_predictor(self, _predictor: Any, /) -> Any:
        """Return itself."""
        return self


class InPlace(LogitShiftPredictor):
    """Changes itself."""

    def with_predictor(self, predictor: Any, /) -> Any:
        """Change, and return itself."""
        object.__setattr__(self, "predictor", predictor)
        return self


class Remembering(TemperaturePredictor):
    """Predicts with the first predictor that it ever had."""

    def with_predictor(self, predictor: Any, /) -> Any:
        """Return one that shows the new predictor, and uses the old one."""
        new = super().with_predictor(predictor)
        object.__setattr__(new, "predict", self.predict)
        return new


AROUND = PredictorContract().test_it_is_the_same_around_another_predictor


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Careless(Sigmoid(), 1.0), "it predicts otherwise"),
        (Other(Sigmoid()), "expected the same around the one given"),
        (Stubborn(Sigmoid()), "expected the same around the one given"),
        (InPlace(Sigmoid(), 1.0), "with_predictor changed the predictor itself"),
        (Remembering(Sigmoid(), 2.0), "does not predict with what it wraps"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_the_same_around_another_predictor_fails(broken: Any, message: str) -> None:
    images = some_images((3, 1, 8, 8))
    sound = next(base for base in type(broken).__mro__ if base.__module__ != __name__)
    options = {k: v for k, v in vars(broken).items() if k != "predictor"}
    AROUND(sound(broken.predictor, **options), images)
    with pytest.raises(FAILURES, match=message):
        AROUND(broken, images)


def test_a_wrapper_that_nothing_can_look_into_fails() -> None:
    shy: Any = SimpleNamespace(predictor=Sigmoid(), predict=Sigmoid().predict)
    with pytest.raises(FAILURES, match="has no with_predictor; what trains the inner one"):
        AROUND(shy, some_images((3, 1, 8, 8)))


def recipe_of(**options: Any) -> Any:
    """Return a function that makes a recipe of sound parts, but for these options."""
    sound = {"selector": Mean(), "retrainer": SimpleNamespace(retrain=len, describe=lambda: "")}
    return lambda **given: Recipe(**(sound | given | options))


def takes_all(*, checkpoints: Any = None, progress: Any = None, batch_size: int = 8) -> Recipe:
    made: Recipe = recipe_of(batch_size=batch_size)()
    return made


class TestRecipeOfSmallParts(RecipeContract):
    @pytest.fixture
    def make(self) -> Any:
        return takes_all


@pytest.mark.parametrize(
    ("test", "make", "message"),
    [
        ("test_it_makes_a_recipe", dict, "returned a dict"),
        ("test_it_makes_a_recipe", recipe_of(selector=[Mean(), 3]), "3 is no selector"),
        ("test_it_makes_a_recipe", recipe_of(retrainer=3), "3 is no retrainer"),
        ("test_it_makes_a_recipe", recipe_of(gates=[3]), "3 is no gate"),
        ("test_it_makes_a_recipe", recipe_of(recalibrator=3), "3 is no recalibrator"),
        ("test_it_makes_a_recipe", recipe_of(rounds=0), "has 0 rounds; expected 1 or more"),
        ("test_it_takes_what_the_command_gives", recipe_of(), "does not take batch_size"),
        (
            "test_it_takes_what_the_command_gives",
            lambda checkpoints, progress, batch_size: takes_all(),
            "does not use its batch_size",
        ),
        (
            "test_it_makes_the_same_again",
            lambda **_: recipe_of(rounds=next(NUMBERS))(),
            "no run could be continued",
        ),
    ],
)
def test_a_broken_recipe_fails(test: str, make: Any, message: str, tmp_path: Path) -> None:
    arguments = {"make": make, "options": {}}
    if test == "test_it_takes_what_the_command_gives":
        arguments["tmp_path"] = tmp_path
    with pytest.raises(FAILURES, match=message):
        getattr(RecipeContract(), test)(**arguments)


def alone(predictor: Any, evidence: pa.Table) -> Recalibration:
    """Return a predictor that teaches itself."""
    return Recalibration(predictor, predictor, evidence)


FOUND = pa.table({"layers": [3]})
TARGET = [Sample(f"t{i}", "p", image) for i, image in enumerate(some_images((3, 1, 8, 8)))]


def first_value(target: Any) -> float:
    return float(target[0].image[0, 0, 0])


@pytest.mark.parametrize(
    ("test", "recalibrate", "message"),
    [
        ("test_it_returns_a_predictor_with_evidence", lambda p, t: p, "returned a Sigmoid"),
        (
            "test_it_returns_a_predictor_with_evidence",
            lambda p, t: alone(p, FOUND.slice(1)),
            "table of at least a row",
        ),
        (
            "test_it_returns_a_predictor_with_evidence",
            lambda p, t: alone(SimpleNamespace(predict=lambda x: x[..., :4]), FOUND),
            r"predicts \(3, 1, 8, 4\) where",
        ),
        (
            "test_it_leaves_the_given_predictor_and_the_target_unchanged",
            lambda p, t: object.__setattr__(p, "bias", 1.0),
            "predictor that was given has changed",
        ),
        (
            "test_it_makes_the_same_again_and_in_any_order",
            lambda p, t: alone(Sigmoid(CHANCE.random()), FOUND),
            "another predictor again",
        ),
        (
            "test_it_makes_the_same_again_and_in_any_order",
            lambda p, t: alone(Sigmoid(first_value(t)), FOUND),
            "another predictor with the samples in another order",
        ),
        (
            "test_it_makes_the_same_again_and_in_any_order",
            lambda p, t: alone(p, pa.table({"x": [first_value(t)]})),
            "evidence is another one with the samples in another order",
        ),
    ],
)
def test_a_broken_recalibrator_fails(test: str, recalibrate: Any, message: str) -> None:
    broken: Any = SimpleNamespace(recalibrate=recalibrate)
    with pytest.raises(FAILURES, match=message):
        getattr(RecalibratorContract(), test)(broken, Sigmoid(), TARGET)


def test_a_recalibrator_that_writes_into_the_target_fails() -> None:
    def recalibrate(_predictor: Any, target: Any) -> None:
        target[0].image[...] = 0

    target = [Sample(sample.id, sample.group, sample.image.copy()) for sample in TARGET]
    with pytest.raises(FAILURES, match="an image of the target was written into"):
        RecalibratorContract().test_it_leaves_the_given_predictor_and_the_target_unchanged(
            SimpleNamespace(recalibrate=recalibrate),
            Sigmoid(),
            target,
        )


def test_evidence_that_no_run_folder_keeps_fails(tmp_path: Path) -> None:
    lost = pa.table({"x": [1]}, schema=pa.schema([pa.field("x", pa.uint32())]))
    changed = lost.set_column(0, "x", pa.array([1], pa.dictionary(pa.int8(), pa.int64())))
    broken: Any = SimpleNamespace(recalibrate=lambda p, t: alone(p, changed))
    with pytest.raises(FAILURES, match="comes back from the disk as"):
        RecalibratorContract().test_a_run_folder_keeps_its_evidence(
            broken, Sigmoid(), TARGET, tmp_path
        )


LABELS = [pseudo_labelled(index) for index in range(3)]
IMAGES = np.stack([item.image for item in LABELS])


def test_a_retrainer_that_changes_the_given_predictor_fails(toy: SimpleNamespace) -> None:
    def in_place(predictor: Any, _labels: Any) -> Any:
        predictor.shift += 0.1
        return predictor

    changing = Broken(toy.Retrainer(), retrain=in_place)
    with pytest.raises(FAILURES, match="predictor that was given has changed"):
        RetrainerContract().test_it_returns_a_new_predictor_and_leaves_the_given_one_unchanged(
            changing, toy.Predictor(), LABELS, IMAGES
        )


@pytest.mark.parametrize("new", [None, SimpleNamespace(predict=lambda x: x[:, :, :4])])
def test_a_retrainer_that_returns_no_such_predictor_fails(toy: SimpleNamespace, new: Any) -> None:
    with pytest.raises(FAILURES, match=r"returned a NoneType|another shape"):
        RetrainerContract().test_it_returns_a_new_predictor_and_leaves_the_given_one_unchanged(
            Broken(toy.Retrainer(), retrain=lambda p, labels: new),
            toy.Predictor(),
            LABELS,
            IMAGES,
        )


def test_a_retrainer_that_returns_the_old_predictor_fails(toy: SimpleNamespace) -> None:
    with pytest.raises(FAILURES, match="retrain returned the predictor that it was given"):
        RetrainerContract().test_it_returns_a_new_predictor_and_leaves_the_given_one_unchanged(
            Broken(toy.Retrainer(), retrain=lambda p, labels: p), toy.Predictor(), LABELS, IMAGES
        )


@dataclass
class Momentum:
    """A retrainer that goes a little further each time."""

    base: Any
    calls: int = 0

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Count the call, and shift by the count."""
        self.calls += 1
        new = self.base.retrain(predictor, labels)
        return type(new)(new.shift / self.calls)

    def save(self, predictor: Any, folder: Path, /) -> None:
        """Write the shift."""
        self.base.save(predictor, folder)

    def load(self, predictor: Any, folder: Path, /) -> Any:
        """Read the shift."""
        return self.base.load(predictor, folder)


def test_a_retrainer_with_a_memory_fails(toy: SimpleNamespace, tmp_path: Path) -> None:
    contract, predictor = RetrainerContract(), toy.Predictor()
    with pytest.raises(FAILURES, match="retrain depends on chance, or on what an earlier call"):
        contract.test_it_retrains_the_same_again(
            Momentum(toy.Retrainer()), predictor, LABELS, IMAGES
        )
    with pytest.raises(FAILURES, match="the next round differs where it begins with"):
        contract.test_a_loaded_predictor_is_retrained_alike(
            Momentum(toy.Retrainer()), predictor, LABELS, IMAGES, tmp_path
        )


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_retrainer_that_writes_into_the_labels_fails(toy: SimpleNamespace, name: str) -> None:
    def retrain(predictor: Any, labels: Any) -> Any:
        getattr(labels[0], name)[...] = 3
        return predictor

    with pytest.raises(FAILURES, match=f"the {name} of s0 was written into"):
        RetrainerContract().test_it_leaves_the_labels_unchanged(
            Broken(toy.Retrainer(), retrain=retrain),
            toy.Predictor(),
            [pseudo_labelled(index) for index in range(3)],
        )


def test_a_retrainer_that_loads_another_predictor_fails(
    toy: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(FAILURES, match="not the one that was saved"):
        RetrainerContract().test_what_it_saves_it_loads(
            Broken(toy.Retrainer(), load=lambda predictor, folder: predictor),
            toy.Predictor(),
            LABELS,
            IMAGES,
            tmp_path,
        )


@pytest.mark.parametrize("content", ["", "0"])
def test_a_retrainer_that_saves_nothing_or_chance_fails(
    toy: SimpleNamespace, tmp_path: Path, content: str
) -> None:
    numbers = itertools.count()

    def save(_predictor: Any, folder: Path) -> None:
        if content:
            (folder / "weights").write_text(content + str(next(numbers)))

    with pytest.raises(FAILURES, match=r"wrote nothing|other bytes"):
        RetrainerContract().test_a_saved_predictor_is_the_same_bytes(
            Broken(toy.Retrainer(), save=save), toy.Predictor(), LABELS, tmp_path
        )


SAMPLES = pa.table({"id": ["a"], "group": ["p"], "dsc": [0.5]})
SUMMARY = pa.table(
    {
        "aggregation": ["pooled"],
        "class": [1],
        "metric": ["dsc"],
        "mean": [0.5],
        "std": pa.array([None], pa.float64()),
        "count": [1],
    }
)


@pytest.mark.parametrize(
    ("test", "evaluation", "message"),
    [
        ("test_it_returns_rows_per_sample", 0.5, "returned a float"),
        (
            "test_it_returns_rows_per_sample",
            Evaluation(SAMPLES.drop_columns("group"), SUMMARY),
            "no id or group",
        ),
        ("test_it_returns_rows_per_sample", Evaluation(SAMPLES.slice(1), SUMMARY), "no sample"),
        (
            "test_it_returns_rows_per_sample",
            Evaluation(SAMPLES.set_column(1, "group", [[3]]), SUMMARY),
            "group is of type int64; expected string",
        ),
        (
            "test_it_summarises_by_named_aggregations",
            Evaluation(SAMPLES, SUMMARY.set_column(1, "class", [["lesion"]])),
            "'class': 'string'.*expected .*'class': 'int64'",
        ),
        (
            "test_it_summarises_by_named_aggregations",
            Evaluation(SAMPLES, SUMMARY.drop_columns("std")),
            "expected .*'std'",
        ),
        (
            "test_it_summarises_by_named_aggregations",
            Evaluation(SAMPLES, pa.concat_tables([SUMMARY, SUMMARY])),
            "stands twice",
        ),
        (
            "test_it_summarises_by_named_aggregations",
            Evaluation(SAMPLES, SUMMARY.set_column(0, "aggregation", [["best"]])),
            "nobody knows: {'best'}",
        ),
        (
            "test_a_run_folder_keeps_it",
            Evaluation(SAMPLES, SUMMARY, {"threshold": (1, 2)}),  # type: ignore[dict-item]  # what is tested
            "give names and texts",
        ),
    ],
)
def test_a_broken_evaluator_fails(test: str, evaluation: Any, message: str, tmp_path: Path) -> None:
    arguments = {
        "evaluator": SimpleNamespace(evaluate=lambda predictor: evaluation),
        "predictor": None,
    }
    if test == "test_a_run_folder_keeps_it":
        arguments["tmp_path"] = tmp_path  # type: ignore[assignment]  # a fixture's value
    with pytest.raises(FAILURES, match=message):
        getattr(EvaluatorContract(), test)(**arguments)


def test_an_evaluator_of_chance_fails() -> None:
    numbers = itertools.count()

    def evaluate(_predictor: Any) -> Evaluation:
        return Evaluation(SAMPLES.append_column("x", [[next(numbers)]]), SUMMARY)

    with pytest.raises(FAILURES, match="samples differ when measured again"):
        EvaluatorContract().test_it_measures_the_same_again(
            SimpleNamespace(evaluate=evaluate),
            None,  # type: ignore[arg-type]  # nobody looks at it
        )


AUTHOR = """
import pytest

from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing import EvaluatorContract, SelectorContract


class TestMine(SelectorContract):
    @pytest.fixture
    def selector(self):
        return CertaintyIndexSelector(top_k=2)


class TestForgotten(EvaluatorContract):
    pass
"""


def test_an_author_s_test_module_runs_the_contract(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(AUTHOR)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Override the fixture 'evaluator' with the part under test." in run.stdout
    assert re.search(r"\d+ passed, 6 errors", run.stdout), run.stdout
    assert "failed" not in run.stdout
