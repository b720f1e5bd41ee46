"""Adaptation: the loop over rounds, the run folder, and the records read from it."""

from pladapt.runs.adaptation import AdaptationResult, adapt
from pladapt.runs.choosing import Chosen
from pladapt.runs.records import Recalibrated, Round, RunRecord, read_run
from pladapt.runs.restarting import Restart

__all__ = [
    "AdaptationResult",
    "Chosen",
    "Recalibrated",
    "Restart",
    "Round",
    "RunRecord",
    "adapt",
    "read_run",
]
