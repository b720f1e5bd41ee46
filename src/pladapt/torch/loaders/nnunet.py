"""``nnunet:FOLDER``: what nnU-Net v2 trained, with all its folds."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.optional import needs
from pladapt.torch.checkpoints import put_weights, read_checkpoint
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Folds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

# it prints where it would look for data, which no network needs
with needs("nnunet", "nnunetv2"), redirect_stdout(io.StringIO()):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

_NETWORKS = "dynamic_network_architectures."


def load(
    target: str,
    weights: Path | None = None,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> Network:
    """Build the network of the plans once for each fold, with the fold's weights.

    Its logits are the folds' mean, as in nnU-Net. Tiling, mirroring and resampling are not done
    here; what nnU-Net would do is in ``preprocessing``.

    Args:
        target: The folder ``nnUNetTrainer__nnUNetPlans__3d_fullres`` or the like, with
            ``plans.json``, ``dataset.json`` and folders ``fold_*``; or one above it that has only
            one such.
        weights: None; the folder has them.
        folds: Which of the folds; by default all that are there.
        checkpoint: The name of each fold's file.

    Raises:
        MissingDataError: There is no such folder or fold.
        InputError: A checkpoint would run code, or the architecture is none of nnU-Net's.
        DataError: The weights do not fit the plans.
    """
    folder = _results(folder_with(target, [], "nnU-Net's training"))
    no_weights(weights, folder)
    paths = _checkpoints(folder, folds, checkpoint)
    read = {path: read_checkpoint(path) for path in paths}
    name = _configuration_name(folder, next(iter(read.values())))
    plans = PlansManager(read_json(folder / "plans.json"))
    dataset = read_json(folder / "dataset.json")
    networks = []
    for path, held in read.items():
        network = _network(plans, name, dataset, folder)
        put_weights(network, held["network_weights"], path)
        networks.append(network)
    held = next(iter(read.values()))
    return _described(networks, plans, name, dataset, held)


def _results(folder: Path) -> Path:
    """Return the folder of a training: the one given, or the only one below it."""
    if (folder / "plans.json").is_file():
        found = [folder]
    else:
        found = sorted(path.parent for path in folder.glob("**/plans.json"))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found) or "none"
        raise MissingDataError(
            f"{folder} has no plans.json, and below it these folders have one: {names}. Give the "
            "folder of one training, such as nnUNetTrainer__nnUNetPlans__3d_fullres."
        )
    return folder_with(str(found[0]), ["plans.json", "dataset.json"], "nnU-Net's training")


def _checkpoints(folder: Path, folds: Sequence[int | str] | None, name: str) -> list[Path]:
    there = sorted(path for path in folder.glob(f"fold_*/{name}"))
    numbered = [path for path in there if path.parent.name != "fold_all"]
    wanted = (
        [folder / f"fold_{fold}" / name for fold in folds] if folds is not None else numbered
    ) or there
    if not wanted or not all(path.is_file() for path in wanted):
        held = [path.parent.name for path in there] or "none"
        raise MissingDataError(
            f"{folder} has the folds {held} with {name}, and {folds or 'at least one'} is asked "
            "for. Give other folds, or another checkpoint (--argument "
            "checkpoint=checkpoint_best.pth)."
        )
    return wanted


def _configuration_name(folder: Path, held: Any) -> str:
    try:
        return str(held["init_args"]["configuration"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"The checkpoints in {folder} are not nnU-Net's: they name no configuration."
        ) from error


def _network(plans: Any, name: str, dataset: Any, folder: Path) -> nn.Module:
    configuration = plans.get_configuration(name)
    if configuration.previous_stage_name is not None:
        raise InputError(
            f"{folder} holds the second stage of a cascade ({name}), whose images need the first "
            "one's masks; give a training of one stage."
        )
    kind, imported = (
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs_req_import,
    )
    options = configuration.network_arch_init_kwargs
    named = [str(options[key]) for key in imported if options.get(key) is not None]
    if not kind.startswith(_NETWORKS) or not all(each.startswith("torch.nn") for each in named):
        raise InputError(
            f"The plans in {folder} name the network {kind}, made with {named}; expected one of "
            f"{_NETWORKS}* made of torch.nn. Make it with package.module:function, and give it the "
            "fold's checkpoint as weights."
        )
    network: nn.Module = get_network_from_plans(
        kind,
        options,
        imported,
        determine_num_input_channels(plans, configuration, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    return network


def _described(
    networks: list[nn.Module], plans: Any, name: str, dataset: Any, held: Any
) -> Network:
    configuration, labels = plans.get_configuration(name), plans.get_label_manager(dataset)
    regions = labels.has_regions
    heads = labels.foreground_regions if regions else labels.all_labels
    names = {_hashable(value): key for key, value in dataset["labels"].items()}
    return Network(
        module=networks[0] if len(networks) == 1 else Folds(networks),
        activation="sigmoid" if regions else "auto",
        channels=determine_num_input_channels(plans, configuration, dataset),
        multiple_of=int(max(np.prod(configuration.pool_op_kernel_sizes, axis=0))),
        patch_size=tuple(int(length) for length in configuration.patch_size),
        spacing=tuple(float(length) for length in configuration.spacing),
        classes=tuple(str(names.get(_hashable(head), head)) for head in heads),
        preprocessing=_preprocessing(plans, configuration, dataset, held),
    )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _preprocessing(plans: Any, configuration: Any, dataset: Any, held: Any) -> dict[str, Any]:
    """Return what nnU-Net does to images before the network, and what it does with mirrors.

    The axes of ``spacing`` and ``patch_size`` are those after ``transpose_forward``.
    """
    schemes = zip(configuration.normalization_schemes, configuration.use_mask_for_norm, strict=True)
    statistics = plans.foreground_intensity_properties_per_channel
    return {
        "library": "nnunetv2",
        "channel_names": dataset.get("channel_names", dataset.get("modality", {})),
        "transpose_forward": list(plans.transpose_forward),
        "spacing": [float(length) for length in configuration.spacing],
        "normalisation": [
            {"scheme": scheme, "use_mask": mask, "statistics": statistics.get(str(index), {})}
            for index, (scheme, mask) in enumerate(schemes)
        ],
        "mirror_axes": list(held.get("inference_allowed_mirroring_axes") or ()),
    }
