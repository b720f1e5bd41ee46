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
from pladapt.predictors.aligned import Aligned, AlignedPredictor, Alignment
from pladapt.predictors.consensus import Consensus, find_consensus
from pladapt.predictors.ensembles import EnsemblePredictor, FlipPredictor
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.predictors.temperature import TemperaturePredictor
from pladapt.protocols import (
    BatchPredictor,
    Chooser,
    Evaluator,
    Gate,
    Labeller,
    Predictor,
    Recalibration,
    Recalibrator,
    RescoringSelector,
    ResumableRetrainer,
    Retrainer,
    Selector,
    SoftLabeller,
    WrappingPredictor,
)
from pladapt.recipes.bundle import Recipe, recipe
from pladapt.runs.adaptation import AdaptationResult, adapt
from pladapt.runs.keep_fraction import keep_fraction
from pladapt.runs.records import Recalibrated, Round, RunRecord, read_run
from pladapt.selection.choosing import Choice
from pladapt.selection.composition import ComposedSelector, compose
from pladapt.selection.labelling import Labelling, SoftLabelling
from pladapt.selection.ranking import RankingSelector, rank
from pladapt.selection.scoring import ClassSelector
from pladapt.source.alignment import QuantileMatching
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
)

__version__ = "0.2.0"

__all__ = [
    "IGNORE",
    "AdaptationResult",
    "Aligned",
    "AlignedPredictor",
    "Alignment",
    "Audit",
    "Batch",
    "BatchPredictor",
    "Calibration",
    "Choice",
    "Chooser",
    "ClassSelector",
    "ComposedSelector",
    "Consensus",
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
    "Labeller",
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
    "QuantileMatching",
    "RankingSelector",
    "Recalibrated",
    "Recalibration",
    "Recalibrator",
    "Recipe",
    "Registration",
    "RescoringSelector",
    "ResumableRetrainer",
    "Retrainer",
    "Round",
    "RunChangedError",
    "RunRecord",
    "Sample",
    "Samples",
    "Selection",
    "Selector",
    "SoftLabeller",
    "SoftLabelling",
    "SourceStatistics",
    "TemperatureCalibration",
    "TemperaturePredictor",
    "UnknownPluginError",
    "WrappingPredictor",
    "adapt",
    "audit",
    "calibrate_cutoff",
    "calibrate_temperature",
    "certainty_index",
    "combine_classes",
    "compose",
    "evaluator",
    "find_consensus",
    "hard_labels",
    "hookimpl",
    "keep_fraction",
    "predictor",
    "rank",
    "read_run",
    "recipe",
    "retrainer",
    "selector",
    "unlabelled",
]
