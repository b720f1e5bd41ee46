"""What every network that a plugin offers promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pladapt.testing.checks import require, some_images
from pladapt.testing.predictors import PredictorContract

if TYPE_CHECKING:
    from pladapt.types import Array
    from pladapt.typing import Predictor


class NetworkContract(PredictorContract):
    """What every torch module or `pladapt.torch.Network` promises that a plugin offers.

    It is all that its predictor promises, and that it can be trained. Fixtures to override:
    ``network``; and ``images`` where it takes other ones.
    """

    @pytest.fixture
    def network(self) -> Any:
        """Make the network under test."""
        raise NotImplementedError("Override the fixture 'network' with the part under test.")

    @pytest.fixture
    def predictor(self, network: Any) -> Predictor:
        """Make the predictor of the network, as the commands do."""
        from pladapt.torch import Network  # noqa: PLC0415 - this module is read without torch too

        made = network if isinstance(network, Network) else Network(module=network)
        return made.predictor("cpu")

    @pytest.fixture
    def images(self, network: Any) -> Array:
        """Make three images of as many channels as the network says that it takes, or one."""
        return some_images((3, getattr(network, "channels", None) or 1, 32, 32))

    def test_it_is_a_module(self, network: Any) -> None:
        """It is a torch module, or a `pladapt.torch.Network`."""
        from torch import nn  # noqa: PLC0415 - the same

        from pladapt.torch import Network  # noqa: PLC0415 - the same

        require(
            isinstance(network, Network | nn.Module),
            f"The factory returned a {type(network).__name__}; expected a torch module or a "
            "pladapt.torch.Network.",
        )

    def test_it_can_be_trained(self, network: Any) -> None:
        """It has parameters, and not all of them are frozen."""
        from pladapt.torch import check_trainable  # noqa: PLC0415 - the same

        check_trainable(getattr(network, "module", network))
