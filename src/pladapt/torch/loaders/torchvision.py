"""``torchvision:NAME``: an architecture of torchvision's segmentation models, and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError
from pladapt.optional import needs
from pladapt.torch.checkpoints import put_weights, read_weights
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected
from pladapt.torch.preparation import Preparation
from pladapt.torch.steps import BytesToUnit, GreyToColour, Normalise

if TYPE_CHECKING:
    from pathlib import Path

with needs("torchvision", "torchvision"):
    from torchvision.models import get_model, get_model_weights, list_models, segmentation

_AUXILIARY = "aux_classifier."


def load(
    target: str, weights: Path | None = None, *, trained: bool = True, **arguments: Any
) -> Network:
    """Make a segmentation model of torchvision, and give it the weights of a file.

    Its main output counts. An auxiliary classifier is there where the weights have one. Images are
    prepared as torchvision's own training does, but for the size.

    Args:
        target: The model's name, such as ``deeplabv3_resnet50``.
        weights: A file of weights, as for `load_network`; torchvision's own are not fetched.
        trained: Whether there must be weights.
        **arguments: Of the model's builder, such as ``num_classes``.

    Raises:
        InputError: There is no such model, or there are no weights.
        DataError: The weights do not fit.
    """
    names = list_models(module=segmentation)
    if target not in names:
        raise InputError(f"torchvision has no segmentation model {target!r}, but {names}.")
    if weights is None and trained:
        raise InputError(
            f"torchvision:{target} has no weights; give a file of them (--weights FILE). "
            "torchvision's own are not fetched."
        )
    state = {} if weights is None else read_weights(weights)
    if "aux_loss" not in arguments and any(_AUXILIARY in name for name in state):
        arguments["aux_loss"] = True
    model = get_model(target, **(arguments | {"weights": None, "weights_backbone": None}))
    if weights is not None:
        put_weights(model, state, weights)
    preset: Any = get_model_weights(target).DEFAULT.transforms()
    told = {name: list(getattr(preset, name)) for name in ("mean", "std", "resize_size")}
    size = told["resize_size"][0]
    note = (
        "Images are prepared as torchvision's own weights want them (mean and standard deviation), "
        f"and not resized to {size}; give --prepare size={size} for its own weights, and --prepare "
        "library=false where the training did otherwise."
    )
    steps = (GreyToColour(), BytesToUnit(), Normalise(tuple(preset.mean), tuple(preset.std)))
    return Network(
        module=Selected(model, "out"),
        channels=3,
        preparation=Preparation(steps=steps),
        notes=(note,),
        preprocessing={"library": "torchvision", **told},
        origin={"arguments": {**arguments, "trained": False}},
    )
