"""One epoch of training, and one adaptation by the recipe `robust`."""

from __future__ import annotations

import copy
import functools
from functools import partial
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
from harness import Case, Method
from machine import gpu, module
from networks import Network, module_of

import pladapt
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Training and adaptation"
TEXT = """An epoch of fine-tuning on pseudo-labels, beside a bare loop of torch over the same
batches; and the recipe `robust` from the source's statistics to its verdict. Both are on the GPU
where there is one, and then the probabilities are compared with the CPU's."""

_BATCH = 8


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for training, and one for adaptation."""
    network = Network("resnet18", 64) if quick else Network("resnet34", 512 if gpu() else 128)
    count = 8 if quick else 256 if gpu() else 32
    device = "cuda" if gpu() else "cpu"
    if absent := networks.missing():
        nothing = Method(name="numpy (nothing to run)", run=lambda: np.zeros(1), role="ours")
        yield Case(name="adapting", methods=[nothing, Method(name="fit", missing=absent)])
        return
    images = network.images(count)
    title = f"{network.title}, {count} images, {device}"
    yield Case(
        name=f"an epoch of {title}",
        methods=[
            Method(name="pladapt", run=partial(_epoch, network, images, device), role="ours"),
            Method(name="bare torch loop", run=partial(_loop, network, images, device)),
        ],
        items=count,
        unit="image",
        facts=partial(_parity, network, images[:2]) if gpu() else None,
    )
    run = partial(_adapted, network, images, device)
    yield Case(
        name=f"robust, {title}",
        methods=[Method(name="robust", run=run, role="ours")],
        items=count,
        unit="image",
    )


def _masks(images: Any) -> Any:
    return (images[:, 0] > 0).astype(np.uint8)


def _epoch(network: Network, images: Any, device: str) -> float:
    torch = module("pladapt.torch")
    labels = [
        pladapt.PseudoLabelled(str(at), str(at), image, mask, 1.0)
        for at, (image, mask) in enumerate(zip(images, _masks(images), strict=True))
    ]
    options = torch.TrainingOptions(epochs=1, batch_size=_BATCH, keep="last", device=device)
    result = torch.fit(module_of(network.encoder), labels, None, options)
    return float(result.history[-1]["train_loss"])


def _loop(network: Network, images: Any, device: str) -> float:
    torch, own = module("torch"), module("pladapt.torch")
    net = copy.deepcopy(module_of(network.encoder)).to(device).train()
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=1e-3), own.DiceBCELoss()
    pairs = torch.from_numpy(images), torch.from_numpy(_masks(images))
    total = 0.0
    for batch, masks in zip(*(part.split(_BATCH) for part in pairs), strict=True):
        optimizer.zero_grad()
        value = loss(net(batch.to(device)), masks.to(device))
        value.backward()
        optimizer.step()
        total += float(value.detach())
    return total


def _predictor(network: Network, device: str) -> Any:
    return module("pladapt.torch").TorchPredictor(
        module_of(network.encoder), device=device, batch_size=_BATCH, amp="off"
    )


def _adapted(network: Network, images: Any, device: str) -> str:
    predictor, source = _predictor(network, device), _statistics(network, device, len(images))
    samples = [pladapt.Sample(str(at), str(at), 1.2 * each) for at, each in enumerate(images)]
    recipe = pladapt.recipe("robust", source=source, device=device, epochs=1, min_steps=0)
    return str(recipe.adapt(predictor, samples).verdict)


@functools.cache
def _statistics(network: Network, device: str, count: int) -> Any:
    images = network.images(count)
    samples = [pladapt.Sample(str(at), str(at), each) for at, each in enumerate(images)]
    return pladapt.SourceStatistics.measure(samples, _predictor(network, device))


def _parity(network: Network, images: Any) -> dict[str, str]:
    """Return how far the GPU's probabilities are from the CPU's."""
    onnx, path = module("pladapt.onnx"), network.file()
    roads = {
        "torch": lambda device: _predictor(network, device),
        "ONNX Runtime": lambda device: onnx.OnnxPredictor(path, device=device),
    }
    return {f"{name}, GPU against CPU": _difference(make, images) for name, make in roads.items()}


def _difference(make: Any, images: Any) -> str:
    try:
        first, second = (to_numpy(make(name).predict(images)) for name in ("cuda", "cpu"))
    except Exception as error:  # noqa: BLE001 - a provider fails in its own way
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return f"largest difference {np.abs(first - second).max():.1g}"
