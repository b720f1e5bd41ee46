from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from array_api_compat import array_namespace

from pladapt import Batch
from pladapt.predictors.prediction import predict_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# no deadline: the time of one example says more of the machine than of the code
hypothesis.settings.register_profile("pladapt", deadline=None, max_examples=50)
hypothesis.settings.load_profile("pladapt")
# for another Python or other versions: what does not depend on them has been searched already
hypothesis.settings.register_profile("few", deadline=None, max_examples=5)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with torch in one thread, where a test module has imported it."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw the same from torch's global generator whatever tests ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(
    scope="session",
    params=["numpy", "array_api_strict", pytest.param("torch", marks=pytest.mark.torch)],
)
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


@dataclass
class Brightness:
    """A predictor that takes an image's values for probabilities, shifted by what it learnt."""

    shift: float = 0.0

    def predict(self, images: Any, /) -> Any:
        """Return the shifted values, made to sum to one over several channels."""
        xp = array_namespace(images)
        values = xp.clip(images + self.shift, 0.0, 1.0)
        if images.shape[1] == 1:
            return values
        return (values + 0.01) / xp.sum(values + 0.01, axis=1, keepdims=True)


@pytest.fixture(scope="session")
def brightness() -> type[Brightness]:
    """A small predictor, by its class."""
    return Brightness


@pytest.fixture(scope="session")
def members_of() -> Callable[[Any, Any], Any]:
    """Predict images of no known group, and return what is averaged, ``(M, B, K, *S)``."""
    return lambda predictor, images: predict_batch(predictor, Batch.unnamed(images)).views
