from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from array_api_compat import array_namespace

# no deadline: the time of one example says more of the machine than of the code
hypothesis.settings.register_profile("pladapt", deadline=None, max_examples=50)
hypothesis.settings.load_profile("pladapt")


@pytest.fixture(scope="session", params=["numpy", "array_api_strict", "torch"])
def xp(request: pytest.FixtureRequest) -> Any:
    """Each array library in turn, as its array API namespace."""
    library = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return array_namespace(library.zeros(1))
