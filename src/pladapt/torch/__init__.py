"""Predicting, training and retraining with PyTorch and Lightning.

Raises:
    MissingDependencyError: On import, where the extra ``torch`` is not installed.
"""

from importlib.util import find_spec

from pladapt.optional import needs

with needs("torch", "torch", "lightning", "safetensors"):
    import safetensors  # noqa: F401 - asked for here, so that what is missing is said once
    import torch  # noqa: F401 - the same

    if find_spec("lightning") is None:  # it takes seconds to import, and only training needs it
        raise ModuleNotFoundError("No module named 'lightning'", name="lightning")

from pladapt.torch.augmentation import (
    Augmentation,
    Augmentations,
    RandomAffine,
    RandomIntensity,
    RandomTexture,
)
from pladapt.torch.checking import check_images, check_network, check_trained
from pladapt.torch.checkpoints import load_weights, read_weights
from pladapt.torch.deployment import load_predictor, save_predictor
from pladapt.torch.dropout import DropoutPredictor
from pladapt.torch.folds import FoldsPredictor, predictor_of
from pladapt.torch.losses import DiceBCELoss
from pladapt.torch.networks import Network, load_network
from pladapt.torch.options import TrainingOptions
from pladapt.torch.outputs import Folds, FromProbabilities, OneChannel
from pladapt.torch.predictor import ModulePredictor, TorchPredictor
from pladapt.torch.preparation import Preparation, Prepared
from pladapt.torch.processes import run_distributed
from pladapt.torch.recalibration import recalibrate_batch_norm
from pladapt.torch.recalibrators import AgreementRecalibrator, BatchNormRecalibrator
from pladapt.torch.retrainer import FineTune
from pladapt.torch.storage import load_module, save_module
from pladapt.torch.training import FitResult, check_trainable, fit
from pladapt.torch.wrapping import module_of, with_module

__all__ = [
    "AgreementRecalibrator",
    "Augmentation",
    "Augmentations",
    "BatchNormRecalibrator",
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
    "Preparation",
    "Prepared",
    "RandomAffine",
    "RandomIntensity",
    "RandomTexture",
    "TorchPredictor",
    "TrainingOptions",
    "check_images",
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
    "run_distributed",
    "save_module",
    "save_predictor",
    "with_module",
]
