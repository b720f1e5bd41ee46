"""One epoch of training."""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
from harness import Case, Method
from machine import gpu, module
from networks import BATCH, module_of, predictor_of
from roads import nothing

import pladapt
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from networks import Network

TITLE = "Training"
TEXT = """An epoch of fine-tuning on pseudo-labels, beside a bare loop of torch over the same
batches. Both are on the GPU where there is one, and then its probabilities are compared with the
CPU's."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case on the GPU; where there is none, on the CPU."""
    network, device = networks.trained(quick=quick), "cuda" if gpu() else "cpu"
    count = 8 if quick else 256 if gpu() else 32
    if absent := networks.missing():
        yield nothing("an epoch", absent)
        return
    images = network.images(count)
    yield Case(
        name=f"an epoch of {network.title}, {count} images, {device}",
        methods=[
            Method(name="pladapt", run=partial(_epoch, network, images, device), role="ours"),
            Method(name="bare torch loop", run=partial(_loop, network, images, device)),
        ],
        items=count,
        unit="image",
        facts=partial(_parity, network, images[:2]) if gpu() else None,
        least=2,
    )


def _masks(images: Any) -> Any:
    return (images[:, 0] > 0).astype(np.uint8)


def _epoch(network: Network, images: Any, device: str) -> float:
    torch = module("pladapt.torch")
    labels = [
        pladapt.PseudoLabelled(str(at), str(at), image, mask, 1.0)
        for at, (image, mask) in enumerate(zip(images, _masks(images), strict=True))
    ]
    options = torch.TrainingOptions(epochs=1, batch_size=BATCH, keep="last", device=device)
    result = torch.fit(module_of(network.encoder), labels, None, options)
    return float(result.history[-1]["train_loss"])


def _loop(network: Network, images: Any, device: str) -> float:
    torch, own = module("torch"), module("pladapt.torch")
    net = copy.deepcopy(module_of(network.encoder)).to(device).train()
    optimizer, loss = torch.optim.Adam(net.parameters(), lr=1e-3), own.DiceBCELoss()
    pairs = torch.from_numpy(images), torch.from_numpy(_masks(images))
    total = 0.0
    for batch, masks in zip(*(part.split(BATCH) for part in pairs), strict=True):
        optimizer.zero_grad()
        value = loss(net(batch.to(device)), masks.to(device))
        value.backward()
        optimizer.step()
        total += float(value.detach())
    return total


def _parity(network: Network, images: Any) -> dict[str, str]:
    """Return how far the GPU's probabilities are from the CPU's."""
    onnx, path = module("pladapt.onnx"), network.file()
    roads = {
        "torch": lambda device: predictor_of(network, device),
        "ONNX Runtime": lambda device: onnx.OnnxPredictor(path, device=device),
    }
    return {f"{name}, GPU against CPU": _difference(make, images) for name, make in roads.items()}


def _difference(make: Any, images: Any) -> str:
    try:
        first, second = (to_numpy(make(name).predict(images)) for name in ("cuda", "cpu"))
    except Exception as error:  # noqa: BLE001 - a provider fails in its own way
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return f"largest difference {np.abs(first - second).max():.1g}"
