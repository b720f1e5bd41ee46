"""The paper's network: LinkNet, its encoder initialised with ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file

from pladapt.errors import DataError, InputError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

STRIDE = 32
"""LinkNet halves its input five times: height and width must be multiples of this."""


def build_model(
    encoder: str = "resnet34",
    weights: str | Path = "imagenet",
    *,
    classes: int = 1,
    seed: int = 0,
) -> nn.Module:
    """Return a LinkNet for one-channel slices that gives logits ``(B, classes, H, W)``.

    Args:
        encoder: An encoder of segmentation-models-pytorch, such as ``resnet34``, or of timm as
            ``tu-NAME``.
        weights: ``imagenet`` from the hub, ``none``, or a file of the encoder's ImageNet weights
            (``.pth`` as torchvision and timm publish them, or ``.safetensors``). The first
            layer's three input channels are summed into one.
        classes: The channels of the output.
        seed: Of the layers that start at random.

    Raises:
        InputError: The encoder is unknown.
        MissingDataError: The file is not there, or the hub cannot be reached.
        DataError: The file does not hold this encoder's weights.
    """
    from_hub = weights == "imagenet"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: nn.Module = smp.Linknet(
                encoder,
                encoder_weights="imagenet" if from_hub else None,
                in_channels=1,
                classes=classes,
            )
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"LinkNet cannot be built on the encoder {encoder!r}: {error}. Give one of "
                "segmentation-models-pytorch's, such as resnet34, or timm's as tu-NAME."
            ) from error
        except OSError as error:
            raise MissingDataError(
                f"The ImageNet weights of {encoder!r} could not be fetched from the hub "
                f"({type(error).__name__}). Give a local file with --encoder-weights FILE, or "
                "start at random with --encoder-weights none."
            ) from error
    if not from_hub and weights != "none":
        load_encoder(model.get_submodule("encoder"), Path(weights))
    return model


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load ImageNet weights from a file into an encoder with one input channel.

    Tensors are matched by name; where no name matches, by order, if every shape agrees.

    Raises:
        MissingDataError: There is no such file.
        DataError: The file is no state dict, or not this encoder's.
    """
    if not path.is_file():
        raise MissingDataError(f"There is no weight file {path}; give a file, imagenet or none.")
    network = getattr(encoder, "model", encoder)  # timm's encoders wrap theirs
    own = network.state_dict()
    given = _read(path)
    matched = _grey(given if own.keys() <= given.keys() else _by_order(own, given), own)
    wrong = [name for name in own if name not in matched or matched[name].shape != own[name].shape]
    if wrong:
        raise DataError(
            f"{path} does not hold this encoder's weights: {len(wrong)} of {len(own)} tensors are "
            f"missing or of another shape, the first of them {wrong[0]!r}. Give the file of the "
            "encoder named with --encoder."
        )
    network.load_state_dict({name: matched[name] for name in own})


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} is no file of weights ({error}); fetch it again.") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise DataError(f"{path} is no state dict of tensors; fetch the weights alone.")
    return dict(state)


def _grey(given: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sum the first layer's colours, so that a grey slice gives what a grey picture gave."""
    first = next(iter(own))
    if first in given and given[first].ndim == own[first].ndim and own[first].shape[1] == 1:
        return given | {first: given[first].sum(dim=1, keepdim=True)}
    return given


def _by_order(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(zip(own, given.values(), strict=False))
