"""Tests that a part has to pass, for the authors of plugins.

Subclass the contract of your part in a test module and override its fixture; pytest runs the rest::

    from pladapt.testing import SelectorContract


    class TestMySelector(SelectorContract):
        @pytest.fixture
        def selector(self):
            return MySelector(top_k=2)

The other fixtures have defaults, which a part that cannot take them overrides as well: with images
of another size, say. Nothing else of pladapt imports pytest.
"""

from pladapt.testing.evaluators import EvaluatorContract
from pladapt.testing.gates import GateContract
from pladapt.testing.networks import NetworkContract
from pladapt.testing.predictors import PredictorContract
from pladapt.testing.recalibrators import RecalibratorContract
from pladapt.testing.recipes import RecipeContract
from pladapt.testing.retrainers import RetrainerContract
from pladapt.testing.selectors import SelectorContract

__all__ = [
    "EvaluatorContract",
    "GateContract",
    "NetworkContract",
    "PredictorContract",
    "RecalibratorContract",
    "RecipeContract",
    "RetrainerContract",
    "SelectorContract",
]
