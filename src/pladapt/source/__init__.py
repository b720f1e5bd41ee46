"""What the source is like, and how unlike it a target is."""

from pladapt.source.estimation import DscCalibration, calibrate_estimate
from pladapt.source.features import ImageFeatures
from pladapt.source.likeness import Likeness, measure_likeness
from pladapt.source.statistics import SourceStatistics

__all__ = [
    "DscCalibration",
    "ImageFeatures",
    "Likeness",
    "SourceStatistics",
    "calibrate_estimate",
    "measure_likeness",
]
