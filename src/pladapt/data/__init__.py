"""Samples: lazy views, batches of one shape, and checks for leakage."""

from pladapt.data.batches import batches
from pladapt.data.leakage import check_leakage
from pladapt.data.tolerance import Tolerance
from pladapt.data.views import Mapped, Subset, subsample, unlabelled

__all__ = [
    "Mapped",
    "Subset",
    "Tolerance",
    "batches",
    "check_leakage",
    "subsample",
    "unlabelled",
]
