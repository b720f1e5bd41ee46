"""What labels may tell: cut-off, temperature, audits of scores, evaluators."""

from pladapt.evaluation.auditing import Audit, audit, audit_tables
from pladapt.evaluation.calibration import Calibration, calibrate_cutoff
from pladapt.evaluation.details import Details
from pladapt.evaluation.evaluators import DetailEvaluator, OverlapEvaluator
from pladapt.evaluation.few_labels import Choice, FewLabels
from pladapt.evaluation.summaries import summarise_metrics
from pladapt.evaluation.temperature import TemperatureCalibration, calibrate_temperature

__all__ = [
    "Audit",
    "Calibration",
    "Choice",
    "DetailEvaluator",
    "Details",
    "FewLabels",
    "OverlapEvaluator",
    "TemperatureCalibration",
    "audit",
    "audit_tables",
    "calibrate_cutoff",
    "calibrate_temperature",
    "summarise_metrics",
]
