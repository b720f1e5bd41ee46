"""The public interface as a user writes it: checked by mypy --strict, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, assert_type

import numpy as np
import pytest

import pladapt
from pladapt.evidence.gates import Churn, FlipAgreement, ForegroundFraction, InDomain
from pladapt.testing import SelectorContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Scoring

ci, pixels = pladapt.certainty_index(np.zeros((2, 1, 4, 4)), cutoff=0.5)
pladapt.certainty_index(np.zeros((2, 3, 4, 4)), cutoff=(0.5, 0.4))
pladapt.functional.combine_classes(ci, pixels, rule="min", min_pixels=50)
pladapt.hard_labels(np.zeros((2, 3, 4, 4)), [0.5, 0.4])


# Parts that are nothing but small classes


class Threshold:
    """A predictor."""

    def predict(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return the images."""
        return images


class Averaging(Threshold):
    """A predictor that averages several."""

    def predict_batch(self, batch: pladapt.Batch, /) -> pladapt.Prediction:
        """Return the images, with a single member."""
        assert_type(batch.ids, tuple[str, ...])
        assert_type(batch.groups, tuple[str, ...])
        return pladapt.Prediction(batch.ids, batch.images, members=batch.images[None])


class Nothing:
    """A retrainer that learns nothing, and can be resumed."""

    def retrain(
        self,
        predictor: pladapt.typing.Predictor,
        labels: pladapt.typing.Samples[pladapt.PseudoLabelled],
        /,
    ) -> pladapt.typing.Predictor:
        """Look at the labels."""
        for index in range(len(labels)):
            assert_type(labels[index], pladapt.PseudoLabelled)
            assert_type(labels[index].score, float)
        return predictor

    def save(self, predictor: pladapt.typing.Predictor, folder: Path, /) -> None:
        """Write nothing."""

    def load(
        self, predictor: pladapt.typing.Predictor, folder: Path, /
    ) -> pladapt.typing.Predictor:
        """Read nothing."""
        return predictor


@dataclass(frozen=True, kw_only=True)
class Peak(pladapt.selection.BaseSelector):
    """A selector of one method."""

    power: float = 1.0

    def score_classes(
        self, prediction: pladapt.Prediction, /
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return each class's highest probability, and its pixels."""
        _, pixels = pladapt.certainty_index(prediction.probabilities, self.cutoff)
        return prediction.probabilities.max(axis=(2, 3)) ** self.power, pixels


class Lazy:
    """Samples that load when they are asked for."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int, /) -> pladapt.Sample:
        return pladapt.Sample(id=f"s{index}", group="p", image=np.zeros((1, 4, 4)))


def show(stage: str, done: int, total: int, /) -> None:
    """Print how far it is."""
    print(f"{stage}: {done} of {total}")  # noqa: T201 - what a user would write


labelled = [pladapt.LabelledSample("a", "p", np.zeros((1, 4, 4)), np.zeros((4, 4), np.uint8))]
predictor: pladapt.typing.Predictor = Threshold()
members: pladapt.typing.BatchPredictor = Averaging()
retrainer: pladapt.typing.Retrainer = Nothing()
resumable: pladapt.typing.ResumableRetrainer = Nothing()
selector: pladapt.typing.Selector = Peak(cutoff=(0.5, 0.4), limit=0.8, top_k=3, power=2)
target: pladapt.typing.Samples[pladapt.Sample] = Lazy()
progress: pladapt.typing.Progress = show

# Parts by name

assert_type(pladapt.selector("certainty-index", cutoff=0.5, top_k=100), pladapt.typing.Selector)
assert_type(pladapt.retrainer("fine-tune"), pladapt.typing.Retrainer)
assert_type(pladapt.predictor("torch", module=None), pladapt.typing.Predictor)
evaluator = pladapt.evaluator("overlap", samples=labelled)
assert_type(evaluator, pladapt.typing.Evaluator)

# Calibrating

calibration = pladapt.calibrate_cutoff(predictor, labelled, aggregation="group")
assert_type(calibration, pladapt.evaluation.Calibration)
pladapt.certainty_index(np.zeros((2, 1, 4, 4)), calibration.cutoff)

temperature = pladapt.evaluation.calibrate_temperature(predictor, labelled, temperatures=(1.5, 2))
assert_type(temperature, pladapt.evaluation.TemperatureCalibration)
assert_type(temperature.ece_after, float)

# Averaging

flips = pladapt.FlipPredictor(predictor, axes=(-1, -2), combine=True)
assert_type(flips.with_predictor(predictor), pladapt.FlipPredictor)
wrapping: pladapt.typing.WrappingPredictor = flips
averaging: pladapt.typing.BatchPredictor = pladapt.EnsemblePredictor([flips, predictor])
tempered: pladapt.typing.BatchPredictor = pladapt.predictors.TemperaturePredictor(averaging, 1.5)

# Composing, and auditing scores

composed = pladapt.compose(
    selector,
    rules=pladapt.Rules(quantile=0.25, top_k=0.5, spread=["group", "size"]),
    label=pladapt.selection.Labelling(cutoff=0.7, background_cutoff=(0.3,), boundary=(1, 2)),
)
chosen: pladapt.typing.Selector = composed
soft = pladapt.compose(selector, label=pladapt.selection.SoftLabelling(weight=True))
predicted = pladapt.Prediction(("a",), np.zeros((1, 1, 4, 4)))
labels = pladapt.selection.SoftLabelling(weight=True)(predicted)
assert_type(labels, pladapt.SoftLabels)
pladapt.adapt(predictor, target, selector=[composed, soft], retrainer=Nothing(), rounds=2)
audited = pladapt.audit(predictor, labelled, {"own": selector, "composed": composed})
assert_type(audited, pladapt.evaluation.Audit)
assert_type(audited.reference, str)
pladapt.compose(selector, label=composed.label, rules=Peak().rules)

# Adapting

gate: pladapt.typing.Gate = pladapt.DoNoHarm(
    cutoff=(0.5, 0.4),
    measures=[
        ForegroundFraction(reference=[0.1, 0.2]),
        Churn(),
        FlipAgreement(),
        InDomain(samples=labelled),
    ],
)
judged = gate.judge(predictor, members, target)
assert_type(judged, pladapt.Judgement)
assert_type(judged.reasons, tuple[str, ...])

result = pladapt.adapt(
    predictor,
    target,
    selector=selector,
    retrainer=retrainer,
    evaluators=[evaluator],
    gates=[gate],
    rounds=2,
    workdir="runs/a-to-c",
    progress=progress,
)
pladapt.adapt(
    members,
    pladapt.unlabelled(labelled),
    selector=selector,
    retrainer=resumable,
    evaluators={"overlap": evaluator},
    plugins=pladapt.plugins.PluginManager(),
)
assert_type(result, pladapt.AdaptationResult)
assert_type(result.predictor, pladapt.typing.Predictor)
assert_type(result.stopped, str | None)
assert_type(result.workdir, "Path | None")
assert_type(result.after["overlap"].value("dsc", aggregation="group"), float)
for done in result.rounds:
    assert_type(done, pladapt.runs.Round)
    assert_type(done.stands, bool)
    assert_type(done.judgement, pladapt.Judgement | None)
    assert_type(done.selection.kept, tuple[str, ...])
    assert_type(done.selection.dropped, dict[str, str])
    assert_type(done.selection.counts, dict[str, int])

# Recalibrating, verdicts and recipes


class Shifting:
    """A recalibrator."""

    def recalibrate(
        self, predictor: pladapt.typing.Predictor, target: pladapt.typing.Samples[pladapt.Sample], /
    ) -> pladapt.typing.Recalibration:
        """Leave the predictor as it is, and say why."""
        found = pladapt.predictors.measure_agreement(predictor, target, cutoff=0.4)
        assert_type(found.pooled, float)
        assert_type(found.per_image, float)
        evidence = found.by_sample()
        teacher = pladapt.predictors.LogitShiftPredictor(predictor, 0.5, {"p": 0.25})
        assert_type(teacher.with_predictor(predictor), pladapt.predictors.LogitShiftPredictor)
        verdict = pladapt.Verdict("unchanged", "nothing would help")
        return pladapt.typing.Recalibration(teacher, predictor, evidence, verdict)


recalibrator: pladapt.typing.Recalibrator = Shifting()
keeping: pladapt.typing.Retrainer = pladapt.runs.keep_fraction(resumable, 0.4, batch_size=2)
recalibrated = pladapt.adapt(
    predictor, target, selector=selector, retrainer=keeping, recalibrator=recalibrator, rounds=0
)
assert_type(recalibrated.recalibration, pladapt.runs.Recalibrated | None)
recipe = pladapt.recipe("robust", cutoff=0.4)
assert_type(recipe, pladapt.Recipe)
recipe = pladapt.Recipe(selector=[selector, composed], retrainer=keeping, rounds=2)
adapted = recipe.adapt(
    predictor, target, evaluators=[evaluator], workdir="runs/robust", progress=progress
)
assert_type(adapted, pladapt.AdaptationResult)
assert_type(adapted.verdict, pladapt.Verdict)
assert_type(adapted.verdict.outcome, Literal["adapted", "unchanged", "unfit"])
assert_type(adapted.verdict.reason, str)
recipe.adapt(predictor, labelled)  # type: ignore[arg-type]  # masks
pladapt.predictors.measure_agreement(predictor, labelled)  # type: ignore[arg-type]  # masks
pladapt.Verdict("better", "nothing would help")  # type: ignore[arg-type]  # no such outcome

# What travels with a model

source = pladapt.SourceStatistics.measure(labelled, predictor, cutoff=(0.4, 0.5), region=None)
pladapt.SourceStatistics.measure(target).save("source.npz")
assert_type(pladapt.SourceStatistics.load("source.npz"), pladapt.SourceStatistics)

# Masks do not enter: each ignore is needed, or mypy complains of it

pladapt.adapt(predictor, labelled, selector=selector, retrainer=retrainer)  # type: ignore[arg-type]  # masks
pladapt.calibrate_cutoff(predictor, target)  # type: ignore[arg-type]  # no masks
pladapt.audit(predictor, target, {"own": selector})  # type: ignore[arg-type]  # no masks
pladapt.functional.combine_classes(ci, pixels, rule="median")  # type: ignore[arg-type]  # no such rule


# Plugins


@pladapt.hookimpl
def pladapt_selectors() -> Sequence[pladapt.Registration[pladapt.typing.Selector]]:
    """Offer a selector, by its class or by where it is."""
    return [
        pladapt.Registration("peak", Peak, "Keeps the highest."),
        pladapt.Registration("peak-too", "package.module:Peak", "Keeps the highest."),
    ]


class TestPeak(SelectorContract):
    """The contract of a selector."""

    @pytest.fixture
    def selector(self) -> pladapt.typing.Selector:
        """Make the selector under test."""
        return Peak(top_k=2)


# Errors

errors: list[type[pladapt.PladaptError]] = [
    pladapt.InputError,
    pladapt.DataError,
    pladapt.errors.MissingDataError,
    pladapt.errors.LabelledTargetError,
    pladapt.errors.PluginError,
    pladapt.errors.UnknownPluginError,
    pladapt.errors.MissingDependencyError,
    pladapt.errors.DeviceError,
    pladapt.errors.RunChangedError,
]
a_value_error: ValueError = pladapt.InputError("what")
a_type_error: TypeError = pladapt.errors.LabelledTargetError("what")
anything: Any = pladapt.IGNORE
