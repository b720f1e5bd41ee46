"""What can be told of a target without its labels: comparisons, and gates that refuse harm."""

from pladapt.evidence.comparison import Comparison, Finding, compare
from pladapt.evidence.estimate import Estimate, estimate
from pladapt.evidence.gates import (
    Churn,
    DoNoHarm,
    FlipAgreement,
    ForegroundFraction,
    GivenFraction,
    InDomain,
    Measure,
    ReviewedMasks,
)

__all__ = [
    "Churn",
    "Comparison",
    "DoNoHarm",
    "Estimate",
    "Finding",
    "FlipAgreement",
    "ForegroundFraction",
    "GivenFraction",
    "InDomain",
    "Measure",
    "ReviewedMasks",
    "compare",
    "estimate",
]
