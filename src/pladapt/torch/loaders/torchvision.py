"""``torchvision:NAME``: an architecture of torchvision's segmentation models, and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError
from pladapt.optional import needs
from pladapt.torch.checkpoints import put_weights, read_weights
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected

if TYPE_CHECKING:
    from pathlib import Path

with needs("torchvision", "torchvision"):
    from torchvision.models import get_model, list_models, segmentation

_AUXILIARY = "aux_classifier."


def load(target: str, weights: Path | None = None, **arguments: Any) -> Network:
    """Make a segmentation model of torchvision, and give it the weights of a file.

    Its main output counts. An auxiliary classifier is there where the weights have one.

    Args:
        target: The model's name, such as ``deeplabv3_resnet50``.
        weights: A file of weights, as for `load_network`; torchvision's own are not fetched.
        **arguments: Of the model's builder, such as ``num_classes``.

    Raises:
        InputError: There is no such model, or there are no weights.
        DataError: The weights do not fit.
    """
    names = list_models(module=segmentation)
    if target not in names:
        raise InputError(f"torchvision has no segmentation model {target!r}, but {names}.")
    if weights is None:
        raise InputError(
            f"torchvision:{target} has no weights; give a file of them (--weights FILE). "
            "torchvision's own are not fetched."
        )
    state = read_weights(weights)
    if "aux_loss" not in arguments and any(_AUXILIARY in name for name in state):
        arguments["aux_loss"] = True
    model = get_model(target, **(arguments | {"weights": None, "weights_backbone": None}))
    put_weights(model, state, weights)
    return Network(module=Selected(model, "out"), channels=3)
