"""``smp:FOLDER``: what ``save_pretrained`` of segmentation-models-pytorch wrote."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import DataError
from pladapt.optional import needs
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected
from pladapt.torch.preparation import Preparation
from pladapt.torch.steps import BytesToUnit, Channels, GreyToColour, Normalise

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.torch.steps import Step

with needs("smp", "segmentation_models_pytorch"):
    import segmentation_models_pytorch as smp

_COLOURS: Final = 3
_IMAGENET: Final = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
# whose 'imagenet' weights want images so; that of inception and of dual path networks is another
_USUAL: Final = ("resnet", "resnext", "vgg", "densenet", "efficientnet", "mobilenet", "mit_", "se_")


def load(target: str, weights: Path | None = None, **arguments: Any) -> Network:
    """Read a model as ``smp.from_pretrained`` does.

    Args:
        target: The folder.
        weights: None; the folder has them.
        **arguments: In place of those that the folder's ``config.json`` has.

    Raises:
        MissingDataError: There is no such folder, or it was not written by that library.
        DataError: The weights do not fit.
    """
    folder = folder_with(target, ["config.json"], "smp's save_pretrained")
    no_weights(weights, folder)
    config = read_json(folder / "config.json")
    if "_model_class" not in config:
        raise DataError(f"{folder / 'config.json'} names no class of smp ('_model_class').")
    try:
        # no weights of the encoder alone, which would be fetched and then written over
        options = {"encoder_weights": None, **arguments}
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"\s*!+ Mismatched keys", UserWarning
            )  # an error here
            model = smp.from_pretrained(str(folder), map_location="cpu", **options)
    except (RuntimeError, OSError) as error:
        raise DataError(f"{folder} cannot be loaded: {error}") from error
    module = model if model.classification_head is None else Selected(model, 0)
    divisible = model.requires_divisible_input_shape
    told = _preprocessing(config)
    steps, note = _steps(config, told) if told else ((), "")
    return Network(
        module=module,
        channels=config.get("in_channels", _COLOURS),
        preparation=Preparation(
            steps=steps, multiple_of=model.encoder.output_stride if divisible else 1
        ),
        notes=(note,) if note else (),
        preprocessing=told,
    )


def _preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """Return with which weights the encoder began, and the values that belong to them.

    For timm's encoders ``smp.encoders.get_preprocessing_params`` knows them; for others it would
    fetch them.
    """
    if config.get("encoder_weights") is None:
        return {}
    name, weights = config.get("encoder_name", "resnet34"), config["encoder_weights"]
    told: dict[str, Any] = {"encoder_name": name, "encoder_weights": weights}
    if name.startswith("tu-"):
        try:
            told |= smp.encoders.get_preprocessing_params(name, weights)
        except ValueError:  # weights that timm does not know
            return {"library": "segmentation-models-pytorch", **told}
    elif weights == "imagenet" and name.startswith(_USUAL):
        told |= {"input_space": "RGB", "input_range": [0, 1], **_IMAGENET}
    return {"library": "segmentation-models-pytorch", **told}


def _steps(config: dict[str, Any], told: dict[str, Any]) -> tuple[tuple[Step, ...], str]:
    """Return what ``smp.encoders.get_preprocessing_fn`` does, in its order, and what to know."""
    if config.get("in_channels", _COLOURS) != _COLOURS or "mean" not in told:
        return (), (
            f"Its encoder began with the weights {told['encoder_weights']!r}, and what smp does to "
            "images for these is not known here, or not for so many channels: nothing is done to "
            "them. Where the training did (get_preprocessing_fn), give --prepare mean=..., std=... "
            "and scale=...."
        )
    steps: list[Step] = [GreyToColour()]
    if told["input_space"] == "BGR":
        steps.append(Channels((2, 1, 0)))
    if told["input_range"][1] == 1:
        steps.append(BytesToUnit())
    steps.append(Normalise(tuple(told["mean"]), tuple(told["std"])))
    return tuple(steps), (
        "Images are prepared as smp's get_preprocessing_fn does for an encoder that began with the "
        f"weights {told['encoder_weights']!r}; smp does not store whether the training did that. "
        "If it did not, give --prepare library=false."
    )
