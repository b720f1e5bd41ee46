"""What the source is like, and how unlike it a target is."""

from pladapt.source.likeness import Likeness, measure_likeness
from pladapt.source.statistics import SourceStatistics

__all__ = [
    "Likeness",
    "SourceStatistics",
    "measure_likeness",
]
