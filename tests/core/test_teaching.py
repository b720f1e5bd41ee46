from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pladapt import IGNORE, PseudoLabelled
from pladapt.data.views import subsample
from pladapt.predictors import LogitShiftPredictor
from pladapt.runs import keep_fraction
from pladapt.runs.keep_fraction import FractionKeeping
from pladapt.runs.manifest import describe
from pladapt.testing import RetrainerContract
from pladapt.testing.checks import Sigmoid
from pladapt.typing import ResumableRetrainer, Retrainer

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.typing import Predictor, Samples


@dataclass(frozen=True)
class Shrink:
    """A retrainer whose predictors mark less and less, and which can be resumed."""

    by: float = 1.5

    def retrain(self, predictor: Predictor, _labels: Samples[PseudoLabelled], /) -> Sigmoid:
        """Lower the bias of a plain predictor."""
        if not isinstance(predictor, Sigmoid):
            raise TypeError(f"Shrink was given a {type(predictor).__name__}.")
        return Sigmoid(predictor.bias - self.by)

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write the bias."""
        (folder / "bias").write_text(str(predictor.bias))  # type: ignore[attr-defined]  # a Sigmoid

    def load(self, _predictor: Predictor, folder: Path, /) -> Sigmoid:
        """Read the bias."""
        return Sigmoid(float((folder / "bias").read_text()))


def labels(cutoff: float = 0.5, *, seed: int = 0, ignored: int = 3) -> list[PseudoLabelled]:
    """Label six images of noise as `Sigmoid` sees them, and ignore some rows."""
    images = np.random.default_rng(seed).normal(size=(6, 1, 12, 10)).astype(np.float32)
    made = (Sigmoid().predict(images)[:, 0] > cutoff).astype(np.uint8)
    made[:, :ignored] = IGNORE
    return [
        PseudoLabelled(f"s{i}", "p", image, label, 1.0)
        for i, (image, label) in enumerate(zip(images, made, strict=True))
    ]


def fractions(predictor: Predictor, given_: list[PseudoLabelled], cutoff: float) -> tuple[Any, Any]:
    """Return the fraction of the labelled pixels that is labelled, and that is predicted."""
    label = np.stack([item.label for item in given_])
    marked = predictor.predict(np.stack([item.image for item in given_]))[:, 0] > cutoff
    counts = label != IGNORE
    return (label[counts] > 0).mean(), marked[counts].mean()


class TestKeeping(RetrainerContract):
    @pytest.fixture(params=[1, 8])
    def retrainer(self, request: pytest.FixtureRequest) -> Any:
        return keep_fraction(Shrink(), 0.4, batch_size=request.param)

    @pytest.fixture
    def predictor(self) -> Any:
        return Sigmoid()


@settings(max_examples=20)
@given(
    cutoff=st.floats(0.2, 0.8), by=st.floats(-4, 4), seed=st.integers(0, 9), rows=st.integers(0, 3)
)
def test_the_fraction_that_was_taught_is_kept(
    cutoff: float, by: float, seed: int, rows: int
) -> None:
    taught = labels(cutoff, seed=seed, ignored=rows)
    new = keep_fraction(Shrink(by), cutoff).retrain(Sigmoid(), taught)
    expected, marked = fractions(new, taught, cutoff)
    assert marked == pytest.approx(expected, abs=2 / (6 * 90))


def test_without_it_the_fraction_is_lost() -> None:
    taught = labels()
    expected, marked = fractions(Shrink().retrain(Sigmoid(), taught), taught, 0.5)
    assert marked < expected / 2


def test_the_fraction_is_kept_round_after_round() -> None:
    taught = labels()
    predictor: Predictor = Sigmoid()
    for _ in range(4):
        predictor = keep_fraction(Shrink()).retrain(predictor, taught)
        expected, marked = fractions(predictor, taught, 0.5)
        assert marked == pytest.approx(expected, abs=2 / (6 * 90))
    assert isinstance(predictor, LogitShiftPredictor)
    assert predictor.predictor == Sigmoid(-4 * 1.5)
    assert predictor.shift == pytest.approx(4 * 1.5, abs=0.1)


@pytest.mark.parametrize("value", [0, 1])
def test_labels_of_one_kind_tell_no_fraction(value: int) -> None:
    taught = [
        PseudoLabelled(s.id, s.group, s.image, np.full_like(s.label, value), 1.0) for s in labels()
    ]
    assert keep_fraction(Shrink()).retrain(Sigmoid(), taught).shift == 0  # type: ignore[attr-defined]  # a LogitShiftPredictor


def test_order_and_batches_change_nothing() -> None:
    one = keep_fraction(Shrink(), batch_size=8).retrain(Sigmoid(), labels())
    other = keep_fraction(Shrink(), batch_size=1).retrain(Sigmoid(), labels()[::-1])
    assert one.shift == other.shift  # type: ignore[attr-defined]  # LogitShiftPredictors
    assert one.shift == pytest.approx(1.5, abs=0.1)  # type: ignore[attr-defined]  # the same


def test_what_is_saved_is_what_the_retrainer_saves_and_the_shift(tmp_path: Path) -> None:
    keeping = keep_fraction(Shrink())
    assert isinstance(keeping, ResumableRetrainer)
    new = keeping.retrain(LogitShiftPredictor(Sigmoid(0.5), 1.0), labels())
    keeping.save(new, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bias", "shift.json"]
    loaded = keeping.load(LogitShiftPredictor(Sigmoid(0.5), 1.0), tmp_path)
    assert describe(loaded) == describe(new)


def test_one_that_cannot_be_resumed_stays_such_a_one() -> None:
    keeping = keep_fraction(SimpleNamespace(retrain=Shrink().retrain))
    assert isinstance(keeping, Retrainer)
    assert not isinstance(keeping, ResumableRetrainer)
    assert keeping.retrain(Sigmoid(), labels()).shift > 1  # type: ignore[attr-defined]  # a LogitShiftPredictor


def test_the_manifest_tells_of_the_retrainer_and_not_of_the_batches() -> None:
    one, other = keep_fraction(Shrink(2.0), 0.4, batch_size=1), keep_fraction(Shrink(2.0), 0.4)
    assert one.describe() == other.describe()
    assert one.describe()["retrainer"]["by"] == 2.0
    assert one.describe() != keep_fraction(Shrink(2.0), 0.5).describe()
    assert one.describe() != keep_fraction(Shrink(1.0), 0.4).describe()


def test_of_many_labels_a_sample_is_measured() -> None:
    many, few = labels(), subsample(labels(), 3)
    three = [few[place] for place in range(3)]
    shifts = [
        FractionKeeping(Shrink(), max_samples=count).retrain(Sigmoid(), taught).shift  # type: ignore[attr-defined]  # a LogitShiftPredictor
        for count, taught in ((3, many), (256, three), (256, many))
    ]
    assert shifts[0] == shifts[1] != shifts[2]
