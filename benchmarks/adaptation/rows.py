"""The rows of the study's table: ways from a source model to a predictor for the target."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tent import tent
from torch_em_rows import self_trained

import pladapt
from pladapt.data.views import Subset
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.functional.logits import logit
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.torch import FineTune, fit, recalibrate_batch_norm
from pladapt.torch.data import joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sources import Source

    from pladapt import AdaptationResult, LabelledSample, Sample
    from pladapt.typing import Predictor, Samples

ORACLE: Final = "target-labels"
"""The row that is trained on the target's labels."""

ORACLE_EPOCHS: Final = 6
ORACLE_STEPS: Final = 120
FRACTION: Final = 0.25
"""Which fraction of the target's samples the paper's rule keeps at most."""


class Adapted(NamedTuple):
    """What a row makes.

    Args:
        predictor: The predictor for the target.
        told: What else is known of how it came about; JSON-able.
    """

    predictor: Predictor
    told: Mapping[str, Any] = {}


class Row(Protocol):
    """**Protocol:** adapts a source model to unlabelled images."""

    def __call__(self, source: Source, target: Samples[Sample], /) -> Adapted:
        """Return the predictor for the target."""


def _source(source: Source, _target: Samples[Sample]) -> Adapted:
    return Adapted(source.predictor)


def _batch_norm(source: Source, target: Samples[Sample]) -> Adapted:
    device = source.retraining.device
    return Adapted(recalibrate_batch_norm(source.predictor, target, device=device))


def _tent(source: Source, target: Samples[Sample]) -> Adapted:
    return Adapted(tent(source.predictor, target, device=source.retraining.device))


def _torch_em(source: Source, target: Samples[Sample], name: str) -> Adapted:
    seed, device = source.seed, source.retraining.device
    return Adapted(self_trained(source.predictor, target, name, seed=seed, device=device))


def _paper(source: Source, target: Samples[Sample]) -> Adapted:
    """Retrain once on the samples of the highest certainty index, as the paper does."""
    chosen = pladapt.selector(
        "certainty-index",
        cutoff=source.cutoff,
        min_pixels=source.min_pixels,
        top_k=max(1, round(FRACTION * len(target))),
    )
    retrainer = FineTune(validation=source.validation, options=source.retraining)
    return _adapted(pladapt.adapt(source.predictor, target, selector=chosen, retrainer=retrainer))


def _robust(source: Source, target: Samples[Sample], **options: Any) -> Adapted:
    recipe = pladapt.recipe(
        "robust", cutoff=source.cutoff, source=source.statistics, seed=source.seed, **options
    )
    return _adapted(recipe.adapt(source.predictor, target))


def _adapted(result: AdaptationResult) -> Adapted:
    found = result.recalibration
    return Adapted(
        result.predictor,
        {
            "kept": [round_.selection.counts["kept"] for round_ in result.rounds],
            "verdict": str(result.verdict),
            "outcome": result.verdict.outcome,
            "evidence": found.evidence.to_pylist() if found else [],
        },
    )


ROWS: Final[Mapping[str, Row]] = {
    "source": _source,
    "batch-norm": _batch_norm,
    "paper": _paper,
    "robust": _robust,
    "robust-without-training": partial(_robust, train=False),
    "tent": _tent,
    "torch-em-mean-teacher": partial(_torch_em, name="mean-teacher"),
    "torch-em-fixmatch": partial(_torch_em, name="fixmatch"),
}
"""The rows that see no label of the target, by name."""

ORDER: Final = (*ROWS, ORACLE)
"""All rows."""

USUAL: Final = tuple(row for row in ORDER if not row.startswith("torch-em"))
"""What is run unless it is asked for by name: all that needs no further library."""

ESSENTIAL: Final = ("source", "batch-norm", "paper", "robust", ORACLE)
"""What is run first."""

WITHOUT_SHIFT: Final = ("source", "batch-norm", "robust")
"""The rows of a target without a shift, where there is nothing to gain."""


def adapted(
    row: str, source: Source, target: Sequence[LabelledSample]
) -> list[tuple[Adapted, Samples[LabelledSample]]]:
    """Return what a row makes, each with the target's samples that it is to be measured on.

    Only the oracle is given the target's labels: two halves of the patients, each measured with
    what was trained on the other.
    """
    if row != ORACLE:
        return [(ROWS[row](source, pladapt.unlabelled(target)), target)]
    return [
        (_supervised(source, Subset(target, learnt)), Subset(target, held))
        for learnt, held in halves(target)
    ]


def halves(target: Sequence[LabelledSample]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield two splits of the samples: the places to learn from, and those held out, by patient.

    Every other patient by name is in the same half.
    """
    patients = sorted({sample.group for sample in target})
    for half in (set(patients[0::2]), set(patients[1::2])):
        inside = [index for index, sample in enumerate(target) if sample.group in half]
        outside = [index for index, sample in enumerate(target) if sample.group not in half]
        yield inside, outside


def _supervised(source: Source, labelled: Samples[LabelledSample]) -> Adapted:
    """Fine-tune the source model on labels of the target, beside those it was trained on.

    The target's few groups alone unteach what only the source's show. Batch normalisation's
    statistics are those of both, or of the target's images alone, whichever is better on the labels
    that it learns from. What it marks at 0.5, for which it was trained, is marked at the source's
    cut-off.
    """
    # the average over steps stands in for the validation that few groups leave no room for
    options = replace(
        source.retraining,
        epochs=min(ORACLE_EPOCHS, source.retraining.epochs),
        min_steps=ORACLE_STEPS if source.retraining.epochs > ORACLE_EPOCHS else 0,
        keep="last",
        ema=0.99,
    )
    trained = fit(source.predictor.module, joined(labelled, source.train), None, options).module
    mixed = source.predictor.with_module(trained)
    images = pladapt.unlabelled(labelled)
    own = recalibrate_batch_norm(mixed, images, device=source.retraining.device)
    better = max(
        (mixed, own),
        key=lambda made: OverlapEvaluator(samples=labelled).evaluate(made).value("dsc"),
    )
    return Adapted(LogitShiftPredictor(better, logit(source.cutoff)))
