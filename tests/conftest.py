from __future__ import annotations

import sys
from typing import Any

import hypothesis
import pytest
from array_api_compat import array_namespace

# no deadline: the time of one example says more of the machine than of the code
hypothesis.settings.register_profile("pladapt", deadline=None, max_examples=50)
hypothesis.settings.load_profile("pladapt")
# for another Python or other versions: what does not depend on them has been searched already
hypothesis.settings.register_profile("few", deadline=None, max_examples=5)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw the same from torch's global generator whatever tests ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session", params=["numpy", "array_api_strict", "torch"])
def xp(request: pytest.FixtureRequest) -> Any:
    """Each array library in turn, as its array API namespace."""
    library = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return array_namespace(library.zeros(1))
