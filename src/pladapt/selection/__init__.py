"""Scores, rules and labels, and the selectors that join them."""

from pladapt.selection.base import BaseSelector
from pladapt.selection.boundary_free_certainty import BoundaryFreeCertaintySelector
from pladapt.selection.certain_negatives import CertainNegativesSelector
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.components import WithoutSmallComponents
from pladapt.selection.composition import ComposedSelector, compose
from pladapt.selection.foreground_entropy import ForegroundEntropySelector
from pladapt.selection.labelling import Labelling, SoftLabelling
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.pairwise_dice import PairwiseDiceSelector
from pladapt.selection.random_control import RandomSelector
from pladapt.selection.rules import Rules
from pladapt.selection.soft_dice import SoftDiceSelector
from pladapt.selection.trimmed_certainty import TrimmedCertaintySelector

__all__ = [
    "BaseSelector",
    "BoundaryFreeCertaintySelector",
    "CertainNegativesSelector",
    "CertaintyIndexSelector",
    "ComposedSelector",
    "ForegroundEntropySelector",
    "Labelling",
    "NeighbourAgreementSelector",
    "PairwiseDiceSelector",
    "RandomSelector",
    "Rules",
    "SoftDiceSelector",
    "SoftLabelling",
    "TrimmedCertaintySelector",
    "WithoutSmallComponents",
    "compose",
]
