"""The rows of the study's table: ways from a source model to a predictor for the target."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from tent import tent

import pladapt
from pladapt.data.views import Subset
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
ORACLES: Final = (ORACLE, f"{ORACLE}-batch-norm")
"""The rows that are trained on the target's labels."""

ORACLE_EPOCHS: Final = 6
ORACLE_STEPS: Final = 300
FRACTIONS: Final = {"paper-10": 0.10, "paper": 0.25, "paper-50": 0.50, "paper-75": 0.75}
"""The rows that follow the paper, and which fraction of the target's samples each keeps at most."""


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
    device = source.training.device
    return Adapted(recalibrate_batch_norm(source.predictor, target, device=device))


def _tent(source: Source, target: Samples[Sample]) -> Adapted:
    return Adapted(tent(source.predictor, target, device=source.training.device))


def _retrained(
    source: Source,
    target: Samples[Sample],
    *,
    selector: str,
    fraction: float,
    seed: int | None = None,
) -> Adapted:
    """Retrain once on the samples that a selector ranks highest, as the paper does."""
    options = {} if seed is None else {"seed": seed}
    chosen = pladapt.selector(
        selector,
        cutoff=source.cutoff,
        min_pixels=source.min_pixels,
        top_k=max(1, round(fraction * len(target))),
        **options,
    )
    retrainer = FineTune(validation=source.validation, options=source.training)
    return _adapted(pladapt.adapt(source.predictor, target, selector=chosen, retrainer=retrainer))


def _random(source: Source, target: Samples[Sample]) -> Adapted:
    return _retrained(
        source, target, selector="random", fraction=FRACTIONS["paper"], seed=source.seed
    )


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
            "evidence": found.evidence.to_pylist() if found else [],
        },
    )


ROBUST: Final = ("robust", "robust-without-training")
"""The rows of the recommended recipe."""

_papers: dict[str, Row] = {
    name: partial(_retrained, selector="certainty-index", fraction=fraction)
    for name, fraction in FRACTIONS.items()
}
ROWS: Final[Mapping[str, Row]] = {
    "source": _source,
    "batch-norm": _batch_norm,
    "tent": _tent,
    "random": _random,
    **_papers,
    "robust": _robust,
    "robust-without-training": partial(_robust, train=False),
}
"""The rows that see no label of the target, by name."""

ESSENTIAL: Final = ("source", "batch-norm", "tent", "paper", "robust", *ORACLES)
ORDER: Final = (*ESSENTIAL, *(row for row in (*ROWS, *ORACLES) if row not in ESSENTIAL))
"""All rows, in the order in which they are run."""


def adapted(
    row: str, source: Source, target: Sequence[LabelledSample]
) -> list[tuple[Adapted, Samples[LabelledSample]]]:
    """Return what a row makes, each with the target's samples that it is to be measured on.

    Only the oracles are given the target's labels: two halves of the patients, each measured with
    what was trained on the other.
    """
    if row not in ORACLES:
        return [(ROWS[row](source, pladapt.unlabelled(target)), target)]
    images = None if row == ORACLE else pladapt.unlabelled(target)
    return [
        (_supervised(source, Subset(target, learnt), images), Subset(target, held))
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


def _supervised(
    source: Source, labelled: Samples[LabelledSample], images: Samples[Sample] | None
) -> Adapted:
    """Fine-tune the source model on labels of the target, beside those it was trained on.

    The target's few patients alone unteach what only the source's show. What it marks at 0.5, for
    which it was trained, is marked at the source's cut-off.

    Args:
        source: The source model.
        labelled: Half of the target's patients.
        images: On which batch normalisation's statistics are measured afterwards, or None.
    """
    # the average over steps stands in for the validation that few patients leave no room for
    options = replace(
        source.training,
        epochs=min(ORACLE_EPOCHS, source.training.epochs),
        min_steps=ORACLE_STEPS if source.training.epochs > ORACLE_EPOCHS else 0,
        keep="last",
        ema=0.99,
    )
    trained = fit(source.predictor.module, joined(labelled, source.train), None, options).module
    supervised = source.predictor.with_module(trained)
    if images is not None:
        supervised = recalibrate_batch_norm(supervised, images, device=source.training.device)
    return Adapted(LogitShiftPredictor(supervised, logit(source.cutoff)))
