"""The network of the inference benchmarks: LinkNet with a ResNet encoder, and its ONNX files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from machine import gpu, module
from maps import lesions
from scratch import folder

from pladapt import Sample

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS, CLASSES = 1, 1
BATCH = 8
_SAMPLES_FOR_INT8 = 4


def missing() -> str:
    """Return what is not installed of what the network needs, or nothing."""
    needed = ("torch", "segmentation_models_pytorch", "onnx", "onnxscript", "onnxruntime")
    absent = [name for name in needed if module(name) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


def sized(*, quick: bool) -> Network:
    """Return the network that all benchmarks of inference share, and a tiny one for a quick run."""
    return Network("resnet18", 64) if quick else Network("resnet34", 512)


def trained(*, quick: bool) -> Network:
    """Return the network that is trained: on a CPU, with smaller images."""
    return Network("resnet34", 128) if not quick and not gpu() else sized(quick=quick)


def predictor_of(network: Network, device: str) -> Any:
    """Return our predictor of the torch module, in full precision."""
    return module("pladapt.torch").TorchPredictor(
        module_of(network.encoder), device=device, batch_size=BATCH, amp="off"
    )


@dataclass(frozen=True)
class Network:
    """A network in evaluation mode with fixed random weights, and the images that it gets.

    Args:
        encoder: ``resnet34``, or a smaller one for a quick run.
        size: The images' height and width.
    """

    encoder: str
    size: int

    @property
    def title(self) -> str:
        """Names the network and the size in a table."""
        return f"LinkNet-{self.encoder.replace('resnet', 'ResNet')} at {self.size} x {self.size}"

    def images(self, count: int) -> Any:
        """Return images ``(B, 1, size, size)`` that look like slices with lesions."""
        images = lesions(count, self.size) - np.float32(0.5)
        noise = np.random.default_rng(0).normal(0, 0.1, images.shape)
        return images + noise.astype(np.float32)

    def flops(self) -> float:
        """Return the additions and multiplications for one image, as torch counts them."""
        torch = module("torch")
        counter = module("torch.utils.flop_counter").FlopCounterMode(display=False)
        with counter, torch.inference_mode():
            module_of(self.encoder)(torch.from_numpy(self.images(1)))
        return float(counter.get_total_flops())

    def file(self, precision: Literal["fp32", "fp16", "int8"] = "fp32") -> Path:
        """Return an ONNX file of the network, which is made when first asked for."""
        return _export(self, precision)


@cache
def module_of(encoder: str) -> Any:
    """Return the torch module: logits of one class, weights from a fixed seed."""
    torch, smp = module("torch"), module("segmentation_models_pytorch")
    torch.manual_seed(0)
    network = smp.Linknet(encoder, encoder_weights=None, in_channels=CHANNELS, classes=CLASSES)
    return network.eval()


@cache
def _export(network: Network, precision: Literal["fp32", "fp16", "int8"]) -> Path:
    onnx = module("pladapt.onnx")
    path = folder() / f"{precision}.onnx"
    if precision == "int8":
        images = network.images(_SAMPLES_FOR_INT8)
        samples = [Sample(str(i), "", image) for i, image in enumerate(images)]
        onnx.quantize(network.file(), path, samples)
    else:
        shape = (1, CHANNELS, network.size, network.size)
        onnx.export(module_of(network.encoder), path, example=shape, precision=precision)
    return path
