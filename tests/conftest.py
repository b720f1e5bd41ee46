from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from array_api_compat import array_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

# no deadline: the time of one example says more of the machine than of the code
hypothesis.settings.register_profile("pladapt", deadline=None, max_examples=50)
hypothesis.settings.load_profile("pladapt")


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


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Leave out what makes files outlast a power cut, which takes most of the time of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: None)
        yield
