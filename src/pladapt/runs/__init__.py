"""Adaptation: the loop over rounds, the run folder, and the records read from it."""

from pladapt.runs.adaptation import AdaptationResult, adapt
from pladapt.runs.choosing import Chosen
from pladapt.runs.keep_fraction import FractionKeeping, keep_fraction
from pladapt.runs.records import Recalibrated, Round, RunRecord, read_run
from pladapt.runs.restarting import Restart

__all__ = [
    "AdaptationResult",
    "Chosen",
    "FractionKeeping",
    "Recalibrated",
    "Restart",
    "Round",
    "RunRecord",
    "adapt",
    "keep_fraction",
    "read_run",
]
