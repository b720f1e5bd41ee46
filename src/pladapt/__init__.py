"""Pseudo-label domain adaptation for segmentation models.

A trained segmenter meets images from a new scanner and does worse. pladapt scores its own
predictions on the unlabelled images, keeps the ones it can trust, retrains on them, and shows with
evidence whether the result is better. What cannot be shown to help is not done.

What most users need is here; the rest is in rooms: `pladapt.typing`, `pladapt.predictors`,
`pladapt.selection`, `pladapt.evidence`, `pladapt.evaluation`, `pladapt.torch` and so on.
"""

from pladapt import typing
from pladapt.data import unlabelled
from pladapt.errors import DataError, InputError, PladaptError
from pladapt.evaluation import OverlapEvaluator, audit, calibrate_cutoff
from pladapt.evidence import DoNoHarm, estimate
from pladapt.functional import certainty_index, hard_labels
from pladapt.plugins import Registration, evaluator, hookimpl, predictor, retrainer, selector
from pladapt.predictors import EnsemblePredictor, FlipPredictor
from pladapt.recipes import Recipe, recipe
from pladapt.runs import AdaptationResult, adapt, read_run
from pladapt.selection import CertaintyIndexSelector, Rules, compose
from pladapt.source import SourceStatistics
from pladapt.types import (
    IGNORE,
    Batch,
    Evaluation,
    Judgement,
    LabelledSample,
    Prediction,
    PseudoLabelled,
    Sample,
    Selection,
    SoftLabels,
    Verdict,
)

__version__ = "0.2.0"

__all__ = [
    "IGNORE",
    "AdaptationResult",
    "Batch",
    "CertaintyIndexSelector",
    "DataError",
    "DoNoHarm",
    "EnsemblePredictor",
    "Evaluation",
    "FlipPredictor",
    "InputError",
    "Judgement",
    "LabelledSample",
    "OverlapEvaluator",
    "PladaptError",
    "Prediction",
    "PseudoLabelled",
    "Recipe",
    "Registration",
    "Rules",
    "Sample",
    "Selection",
    "SoftLabels",
    "SourceStatistics",
    "Verdict",
    "adapt",
    "audit",
    "calibrate_cutoff",
    "certainty_index",
    "compose",
    "estimate",
    "evaluator",
    "hard_labels",
    "hookimpl",
    "predictor",
    "read_run",
    "recipe",
    "retrainer",
    "selector",
    "typing",
    "unlabelled",
]
