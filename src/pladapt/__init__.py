"""Pseudo-label domain adaptation for segmentation models.

A trained segmenter meets images from a new scanner and does worse. pladapt scores its own
predictions on the unlabelled images, keeps the ones it can trust, retrains on them, and shows with
evidence whether the result is better.
"""

from pladapt.data.views import unlabelled
from pladapt.errors import (
    DataError,
    DeviceError,
    InputError,
    LabelledTargetError,
    MissingDataError,
    MissingDependencyError,
    PladaptError,
    PluginError,
    RunChangedError,
    UnknownPluginError,
)
from pladapt.evaluation.auditing import Audit, audit
from pladapt.evaluation.calibration import Calibration, calibrate_cutoff
from pladapt.evaluation.temperature import TemperatureCalibration, calibrate_temperature
from pladapt.evidence.gates import DoNoHarm
from pladapt.functional.certainty import certainty_index, combine_classes, hard_labels
from pladapt.plugins.hookspecs import Registration, hookimpl
from pladapt.plugins.manager import (
    PluginManager,
    PluginWarning,
    evaluator,
    predictor,
    retrainer,
    selector,
)
from pladapt.predictors.ensembles import EnsemblePredictor, FlipPredictor
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.predictors.temperature import TemperaturePredictor
from pladapt.protocols import (
    BatchPredictor,
    Evaluator,
    Gate,
    Predictor,
    Recalibration,
    Recalibrator,
    ResumableRetrainer,
    Retrainer,
    Selector,
    WrappingPredictor,
)
from pladapt.recipes.bundle import Recipe, recipe
from pladapt.runs.adaptation import AdaptationResult, adapt
from pladapt.runs.keep_fraction import keep_fraction
from pladapt.runs.records import Recalibrated, Round, RunRecord, read_run
from pladapt.selection.base import BaseSelector
from pladapt.selection.composition import ComposedSelector, compose
from pladapt.selection.labelling import Labelling, SoftLabelling
from pladapt.selection.rules import Rules
from pladapt.source.statistics import SourceStatistics
from pladapt.types import (
    IGNORE,
    Batch,
    Evaluation,
    Judgement,
    LabelledSample,
    Prediction,
    Progress,
    PseudoLabelled,
    Sample,
    Samples,
    Selection,
    SoftLabels,
    Verdict,
)

__version__ = "0.2.0"

__all__ = [
    "IGNORE",
    "AdaptationResult",
    "Audit",
    "BaseSelector",
    "Batch",
    "BatchPredictor",
    "Calibration",
    "ComposedSelector",
    "DataError",
    "DeviceError",
    "DoNoHarm",
    "EnsemblePredictor",
    "Evaluation",
    "Evaluator",
    "FlipPredictor",
    "Gate",
    "InputError",
    "Judgement",
    "LabelledSample",
    "LabelledTargetError",
    "Labelling",
    "LogitShiftPredictor",
    "MissingDataError",
    "MissingDependencyError",
    "PladaptError",
    "PluginError",
    "PluginManager",
    "PluginWarning",
    "Prediction",
    "Predictor",
    "Progress",
    "PseudoLabelled",
    "Recalibrated",
    "Recalibration",
    "Recalibrator",
    "Recipe",
    "Registration",
    "ResumableRetrainer",
    "Retrainer",
    "Round",
    "Rules",
    "RunChangedError",
    "RunRecord",
    "Sample",
    "Samples",
    "Selection",
    "Selector",
    "SoftLabelling",
    "SoftLabels",
    "SourceStatistics",
    "TemperatureCalibration",
    "TemperaturePredictor",
    "UnknownPluginError",
    "Verdict",
    "WrappingPredictor",
    "adapt",
    "audit",
    "calibrate_cutoff",
    "calibrate_temperature",
    "certainty_index",
    "combine_classes",
    "compose",
    "evaluator",
    "hard_labels",
    "hookimpl",
    "keep_fraction",
    "predictor",
    "read_run",
    "recipe",
    "retrainer",
    "selector",
    "unlabelled",
]
