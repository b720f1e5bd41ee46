"""The protocols: what each part of an adaptation must have.

A class that has these methods is a part: nothing has to be inherited or registered.
`pladapt.testing` has the tests that every part must pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from pladapt.types import Array, Progress, Samples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from pladapt.types import (
        Batch,
        Evaluation,
        Judgement,
        Prediction,
        PseudoLabelled,
        Sample,
        Selection,
        SoftLabels,
        Verdict,
    )


__all__ = [
    "Array",
    "BatchPredictor",
    "Evaluator",
    "Gate",
    "Predictor",
    "Progress",
    "Recalibration",
    "Recalibrator",
    "ResumableRetrainer",
    "Retrainer",
    "Samples",
    "Selector",
    "WrappingPredictor",
]


@runtime_checkable
class Predictor(Protocol):
    """**Protocol:** a trained segmenter."""

    def predict(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to probabilities ``(B, K, *S)`` in [0, 1].

        One channel is the foreground's; two or more are a softmax with channel 0 the background.
        A predictor that averages several predictions may be a `BatchPredictor`.
        """


@runtime_checkable
class BatchPredictor(Predictor, Protocol):
    """**Protocol:** a predictor that has more to say of a batch than its probabilities.

    It may show the predictions that it averages, as members, and it may treat each group of samples
    in its own way. The library predicts with this method wherever a predictor has it.
    """

    def predict_batch(self, batch: Batch, /) -> Prediction:
        """Return the probabilities ``(B, K, *S)`` of a batch, with members ``(M, B, K, *S)``."""


@runtime_checkable
class WrappingPredictor(Predictor, Protocol):
    """**Protocol:** a predictor that predicts with another one: of mirror images, say.

    What trains the innermost predictor puts the trained one in its place.
    """

    @property
    def predictor(self) -> Predictor:
        """The predictor inside."""

    def with_predictor(self, predictor: Predictor, /) -> Self:
        """Return the same around another predictor."""


@runtime_checkable
class Selector(Protocol):
    """**Protocol:** scores predictions, chooses samples, and makes their pseudo-labels."""

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return columns of length ``B``, among them ``score``, where higher is surer.

        A sample's columns must not depend on the other samples of its batch. A score that cannot
        be computed is NaN.
        """

    def select(self, scores: pa.Table, /) -> Selection:
        """Choose from the scores of all samples.

        The table has ``id``, ``group``, ``sha256`` (of the image) and what `score` returned. The
        selection has a row for each of its rows, in the same order, with the score by which the
        sample was chosen: where samples are compared with each other, it is another than in the
        table.
        """

    def label(self, prediction: Prediction, /) -> Array | SoftLabels:
        """Return the pseudo-labels ``(B, *S)`` as uint8, 255 where a pixel must be ignored.

        `pladapt.SoftLabels` add probabilities or weights. Every sample is labelled in the pass that
        scores it, before any is chosen.
        """


@runtime_checkable
class Retrainer(Protocol):
    """**Protocol:** turns a predictor and pseudo-labels into a better predictor."""

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return a new predictor; the one given is not changed."""


@runtime_checkable
class ResumableRetrainer(Retrainer, Protocol):
    """**Protocol:** a retrainer whose predictors can be stored in a run folder."""

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write a predictor that `retrain` returned into an existing, empty folder."""

    def load(self, predictor: Predictor, folder: Path, /) -> Predictor:
        """Read back what `save` wrote; ``predictor`` is the one `retrain` was given."""


@runtime_checkable
class Evaluator(Protocol):
    """**Protocol:** measures a predictor on the labelled samples it was made with."""

    def evaluate(self, predictor: Predictor, /) -> Evaluation:
        """Measure the predictor. Nothing that is returned reaches what adapts."""


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """What a `Recalibrator` made.

    Args:
        teacher: Who labels the target in the first round.
        student: Who is trained on these labels; afterwards it is its own teacher. It may be the
            teacher itself.
        evidence: What it was made from, without a label of the target, a row per finding; the
            columns are the recalibrator's own.
        verdict: Where adaptation is to end here, and why: ``unchanged`` or ``unfit``, with the
            predictor that was given, or ``adapted``, with another. None where it continues.
    """

    teacher: Predictor
    student: Predictor
    evidence: pa.Table
    verdict: Verdict | None = None


@runtime_checkable
class Recalibrator(Protocol):
    """**Protocol:** makes a predictor fit the target before the first round, without training."""

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return a new predictor; the one given is not changed.

        The result depends on its arguments alone, since a run that goes on makes it again.
        """


@runtime_checkable
class Gate(Protocol):
    """**Protocol:** decides, without labels of the target, whether a round did harm."""

    def judge(self, before: Predictor, after: Predictor, target: Samples[Sample], /) -> Judgement:
        """Compare the predictor before the round with the one that it made.

        A round that changed nothing is accepted, and the order of the samples does not matter.
        """
