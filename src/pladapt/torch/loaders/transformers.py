"""``transformers:FOLDER``: a semantic segmentation model of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError, InputError
from pladapt.optional import needs
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected

if TYPE_CHECKING:
    from pathlib import Path

with needs("transformers", "transformers"):
    from transformers import AutoModelForSemanticSegmentation

_TOLD = ("missing_keys", "unexpected_keys", "mismatched_keys")


def load(target: str, weights: Path | None = None, **arguments: Any) -> Network:
    """Read a model that ``save_pretrained`` wrote: SegFormer, UperNet, BEiT, DPT and their like.

    Its logits are resized to the images' size, linearly, as transformers does. Code that the folder
    may hold is not run.

    Args:
        target: The folder.
        weights: None; the folder has them.
        **arguments: Of the model's ``from_pretrained``.

    Raises:
        MissingDataError: There is no such folder, or it was not written by that library.
        InputError: The model is not for semantic segmentation.
        DataError: The weights do not fit, so that a part of the model would be random.
    """
    folder = folder_with(target, ["config.json"], "transformers' save_pretrained")
    no_weights(weights, folder)
    try:
        model, told = AutoModelForSemanticSegmentation.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **arguments
        )
    except ValueError as error:
        raise InputError(
            f"{folder} holds no model for semantic segmentation: {str(error).splitlines()[0]} "
            "Models that give masks and queries, such as Mask2Former, have no map of logits."
        ) from error
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder} cannot be loaded: {error}") from error
    if wrong := {kind: sorted(told[kind])[:3] for kind in _TOLD if told[kind]}:
        raise DataError(
            f"The weights in {folder} are not those of its config.json: {wrong}; a part of the "
            "network would be random. Save the trained model anew."
        )
    names = model.config.id2label
    return Network(
        module=Selected(model, "logits", resize=True),
        channels=getattr(model.config, "num_channels", 3),
        classes=tuple(names[index] for index in sorted(names)),
        preprocessing=_preprocessing(folder),
    )


def _preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    return {"library": "transformers", **read_json(path)} if path.is_file() else {}
