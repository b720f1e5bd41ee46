"""Pseudo-label domain adaptation for segmentation models.

A trained segmenter meets images from a new scanner and does worse. pladapt scores its own
predictions on the unlabelled images, keeps the ones it can trust, retrains on them, and shows with
evidence whether the result is better.
"""

from pladapt.adaptation import AdaptationResult, adapt
from pladapt.aligned import Aligned, AlignedPredictor, Alignment
from pladapt.alignment import FourierAmplitude, HistogramMatching, QuantileMatching
from pladapt.auditing import Audit, audit
from pladapt.averaging import EnsemblePredictor, FlipPredictor
from pladapt.calibration import Calibration, calibrate_cutoff
from pladapt.certainty import certainty_index, combine_classes, hard_labels
from pladapt.choosing import Choice
from pladapt.composition import ComposedSelector, compose
from pladapt.consensus import Consensus, find_consensus
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
from pladapt.gates import DoNoHarm
from pladapt.hookspecs import Registration, hookimpl
from pladapt.labelling import Labelling, SoftLabelling
from pladapt.odds import GroupShiftedPredictor, ShiftedPredictor
from pladapt.plugins import (
    PluginManager,
    PluginWarning,
    evaluator,
    predictor,
    retrainer,
    selector,
)
from pladapt.protocols import (
    Chooser,
    Evaluator,
    Gate,
    GroupedPredictor,
    Labeller,
    MemberPredictor,
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
from pladapt.ranking import RankingSelector, rank
from pladapt.recipes.bundle import Recipe, recipe
from pladapt.records import Recalibrated, Round, RunRecord, read_run
from pladapt.scoring import ClassSelector
from pladapt.source import SourceStatistics
from pladapt.teaching import TeacherPredictor, keep_share
from pladapt.temperature import (
    TemperatureCalibration,
    TemperaturePredictor,
    calibrate_temperature,
)
from pladapt.types import (
    IGNORE,
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
from pladapt.views import unlabelled

__version__ = "0.1.0"

__all__ = [
    "IGNORE",
    "AdaptationResult",
    "Aligned",
    "AlignedPredictor",
    "Alignment",
    "Audit",
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
    "FourierAmplitude",
    "Gate",
    "GroupShiftedPredictor",
    "GroupedPredictor",
    "HistogramMatching",
    "InputError",
    "Judgement",
    "LabelledSample",
    "LabelledTargetError",
    "Labeller",
    "Labelling",
    "MemberPredictor",
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
    "ShiftedPredictor",
    "SoftLabeller",
    "SoftLabelling",
    "SourceStatistics",
    "TeacherPredictor",
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
    "keep_share",
    "predictor",
    "rank",
    "read_run",
    "recipe",
    "retrainer",
    "selector",
    "unlabelled",
]
