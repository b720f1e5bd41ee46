"""Predicting, training and retraining with PyTorch and Lightning.

Raises:
    MissingDependencyError: On import, where the extra ``torch`` is not installed.
"""

from pladapt.backends._optional import needs

with needs("torch", "torch", "lightning", "safetensors"):
    import lightning  # noqa: F401 - asked for here, so that what is missing is said once
    import safetensors  # noqa: F401 - the same
    import torch  # noqa: F401 - the same

from pladapt.backends.torch.augmentation import (
    Augmentation,
    Augmentations,
    RandomAffine,
    RandomIntensity,
    RandomTexture,
)
from pladapt.backends.torch.averaging import DropoutPredictor, ScalePredictor, ZoomPredictor
from pladapt.backends.torch.checkpoints import load_weights, read_weights
from pladapt.backends.torch.deployment import load_predictor, save_predictor
from pladapt.backends.torch.folds import FoldsPredictor, predictor_of
from pladapt.backends.torch.losses import DiceBCELoss
from pladapt.backends.torch.networks import Network, check_network, check_trained, load_network
from pladapt.backends.torch.outputs import Folds, FromProbabilities, OneChannel
from pladapt.backends.torch.predictor import ModulePredictor, TorchPredictor
from pladapt.backends.torch.recalibration import recalibrate_batch_norm
from pladapt.backends.torch.recalibrators import BatchNormRecalibrator, ConsensusRecalibrator
from pladapt.backends.torch.retrainer import FineTune
from pladapt.backends.torch.storage import load_module, save_module
from pladapt.backends.torch.training import FitResult, TrainingOptions, check_trainable, fit
from pladapt.backends.torch.wrapping import module_of, with_module

__all__ = [
    "Augmentation",
    "Augmentations",
    "BatchNormRecalibrator",
    "ConsensusRecalibrator",
    "DiceBCELoss",
    "DropoutPredictor",
    "FineTune",
    "FitResult",
    "Folds",
    "FoldsPredictor",
    "FromProbabilities",
    "ModulePredictor",
    "Network",
    "OneChannel",
    "RandomAffine",
    "RandomIntensity",
    "RandomTexture",
    "ScalePredictor",
    "TorchPredictor",
    "TrainingOptions",
    "ZoomPredictor",
    "check_network",
    "check_trainable",
    "check_trained",
    "fit",
    "load_module",
    "load_network",
    "load_predictor",
    "load_weights",
    "module_of",
    "predictor_of",
    "read_weights",
    "recalibrate_batch_norm",
    "save_module",
    "save_predictor",
    "with_module",
]
