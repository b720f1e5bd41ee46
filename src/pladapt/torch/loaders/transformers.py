"""``transformers:FOLDER``: a semantic segmentation model of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError, InputError
from pladapt.optional import needs
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Selected
from pladapt.torch.preparation import Preparation
from pladapt.torch.steps import Channels, GreyToColour, Normalise

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.torch.steps import Step

with needs("transformers", "transformers"):
    from transformers import AutoModelForSemanticSegmentation

_UNKNOWN = ("do_center_crop", "do_pad")
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
    told = _preprocessing(folder)
    steps, size, notes = _prepared(told)
    return Network(
        module=Selected(model, "logits", resize=True),
        channels=getattr(model.config, "num_channels", 3),
        classes=tuple(names[index] for index in sorted(names)),
        preparation=Preparation(steps=steps, size=size),
        notes=notes,
        preprocessing=told,
    )


def _preprocessing(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    return {"library": "transformers", **read_json(path)} if path.is_file() else {}


def _prepared(
    told: dict[str, Any],
) -> tuple[tuple[Step, ...], tuple[int, ...] | None, tuple[str, ...]]:
    """Return the steps of an image processor, the size it resizes to, and what is not done here."""
    if not told:
        return (), None, ()
    steps: list[Step] = [GreyToColour()]
    if told.get("do_flip_channel_order"):
        steps.append(Channels((2, 1, 0)))
    if told.get("do_rescale", True):
        steps.append(Normalise(0.0, 1 / told.get("rescale_factor", 1 / 255)))
    if told.get("do_normalize", True) and told.keys() >= {"image_mean", "image_std"}:
        steps.append(Normalise(tuple(told["image_mean"]), tuple(told["image_std"])))
    size, unknown = _size(told)
    unknown += [name for name in _UNKNOWN if told.get(name)]
    note = f"Its image processor says {', '.join(unknown)}, which is not done here."
    return tuple(steps), size, (note,) if unknown else ()


def _size(told: dict[str, Any]) -> tuple[tuple[int, ...] | None, list[str]]:
    size = told.get("size")
    if not told.get("do_resize", size is not None) or size is None:
        return None, []
    if isinstance(size, int):
        return (size, size), []
    if told.get("keep_aspect_ratio") or not size.keys() & {"height", "shortest_edge"}:
        return None, [f"size={size}"]
    if "height" in size:
        return (size["height"], size["width"]), []
    return (size["shortest_edge"],), []
