"""One adaptation by the recipe `robust`."""

from __future__ import annotations

import functools
from functools import partial
from typing import TYPE_CHECKING, Any

import networks
from harness import Case, Method
from machine import gpu
from networks import predictor_of
from roads import nothing

import pladapt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networks import Network

TITLE = "Adaptation"
TEXT = """The recipe `robust` from the source's statistics to its verdict; what it chooses depends
on the images, and takes its time."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case on the GPU; where there is none, on the CPU."""
    network, device = networks.trained(quick=quick), "cuda" if gpu() else "cpu"
    count = 8 if quick else 64 if gpu() else 32
    if absent := networks.missing():
        yield nothing("robust", absent)
        return
    run = partial(_adapted, network, network.images(count), device)
    yield Case(
        name=f"robust, {network.title}, {count} images, {device}",
        methods=[Method(name="robust", run=run, role="ours")],
        items=count,
        unit="image",
        least=2,
    )


def _adapted(network: Network, images: Any, device: str) -> str:
    predictor, source = predictor_of(network, device), _statistics(network, device, len(images))
    samples = [pladapt.Sample(str(at), str(at), 1.2 * each) for at, each in enumerate(images)]
    recipe = pladapt.recipe("robust", source=source, device=device, epochs=1, min_steps=0)
    return str(recipe.adapt(predictor, samples).verdict)


@functools.cache
def _statistics(network: Network, device: str, count: int) -> Any:
    images = network.images(count)
    samples = [pladapt.Sample(str(at), str(at), each) for at, each in enumerate(images)]
    return pladapt.SourceStatistics.measure(samples, predictor_of(network, device))
