"""``smp:FOLDER``: what ``save_pretrained`` of segmentation-models-pytorch wrote."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError
from pladapt.optional import needs
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected

if TYPE_CHECKING:
    from pathlib import Path

with needs("smp", "segmentation_models_pytorch"):
    import segmentation_models_pytorch as smp


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
    return Network(
        module=module,
        channels=config.get("in_channels", 3),
        multiple_of=model.encoder.output_stride if divisible else None,
        preprocessing=_preprocessing(config),
    )


def _preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """Return with which weights the encoder began, whose preprocessing it may have been given.

    ``smp.encoders.get_preprocessing_params`` tells more, and fetches it.
    """
    if config.get("encoder_weights") is None:
        return {}
    names = ("encoder_name", "encoder_weights")
    named: dict[str, Any] = {name: config[name] for name in names if name in config}
    return {"library": "segmentation-models-pytorch", **named}
