from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from array_api_compat import array_namespace

from pladapt import Batch
from pladapt.predictors.prediction import predict_batch

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.fixture(scope="session")
def members_of() -> Callable[[Any, Any], Any]:
    """Predict images of no known group, and return what is averaged, ``(M, B, K, *S)``."""
    return lambda predictor, images: predict_batch(predictor, Batch.unnamed(images)).views
