"""Predictors made of predictors, and how far one agrees with itself."""

from pladapt.predictors.agreement import Agreement, Views, measure_agreement
from pladapt.predictors.ensembles import EnsemblePredictor, FlipPredictor, ScalePredictor
from pladapt.predictors.prediction import (
    CompositePredictor,
    WrapperPredictor,
    predict_batch,
    predictions,
)
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.predictors.temperature import TemperaturePredictor

__all__ = [
    "Agreement",
    "CompositePredictor",
    "EnsemblePredictor",
    "FlipPredictor",
    "LogitShiftPredictor",
    "ScalePredictor",
    "TemperaturePredictor",
    "Views",
    "WrapperPredictor",
    "measure_agreement",
    "predict_batch",
    "predictions",
]
