"""``nnunet:FOLDER``: what nnU-Net v2 trained, with all its folds."""

from __future__ import annotations

import io
import math
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.optional import needs
from pladapt.torch.checkpoints import put_weights, read_checkpoint
from pladapt.torch.loaders.folders import folder_with, no_weights, read_json
from pladapt.torch.networks import Network
from pladapt.torch.outputs import Folds
from pladapt.torch.preparation import Preparation
from pladapt.torch.steps import Clip, Normalise, NormaliseEach, RescaleEach

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from pladapt.torch.steps import Step

# it prints where it would look for data, which no network needs
with needs("nnunet", "nnunetv2"), redirect_stdout(io.StringIO()):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

_SCHEMES = (
    "CTNormalization",
    "ZScoreNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
)
_PLAIN = (("mean", 0.0), ("std", 1.0))
_NETWORKS = "dynamic_network_architectures."


def load(
    target: str,
    weights: Path | None = None,
    *,
    folds: Sequence[int | str] | None = None,
    checkpoint: str = "checkpoint_final.pth",
) -> Network:
    """Build the network of the plans once for each fold, with the fold's weights.

    Its logits are the folds' mean, as in nnU-Net, and images are normalised and gone through in
    windows as the plans say. Images are not resampled; mirroring is left to a
    `pladapt.predictors.FlipPredictor`.

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
    told = _preprocessing(plans, configuration, dataset, held)
    patch = tuple(int(length) for length in configuration.patch_size)
    multiple = max(map(math.prod, zip(*configuration.pool_op_kernel_sizes, strict=True)))
    axes, spacing = _axes(told["transpose_forward"], tuple(map(float, configuration.spacing)))
    return Network(
        module=networks[0] if len(networks) == 1 else Folds(networks),
        activation="sigmoid" if regions else "auto",
        channels=determine_num_input_channels(plans, configuration, dataset),
        spacing=spacing,
        classes=tuple(str(names.get(_hashable(head), head)) for head in heads),
        preparation=Preparation(
            steps=tuple(_steps(told["normalisation"])),
            axes=axes,
            multiple_of=multiple if all(n % multiple == 0 for n in patch) else 1,
            patch_size=patch,
            padding="zeros",
        ),
        notes=tuple(_notes(told, len(spacing))),
        preprocessing=told,
    )


def _axes(
    forward: list[int], spacing: tuple[float, ...]
) -> tuple[tuple[int, ...] | None, tuple[float, ...]]:
    """Return the network's order of axes, where it is another, and the spacing along the images'.

    In two dimensions a slice's two axes stay in their order.
    """
    if len(spacing) == 2 or forward == sorted(forward):  # noqa: PLR2004 - a slice
        return None, spacing
    return tuple(forward), tuple(spacing[forward.index(axis)] for axis in range(len(forward)))


def _notes(told: dict[str, Any], dimensions: int) -> Iterator[str]:
    if dimensions == 2 and told["transpose_forward"] != [0, 1, 2]:  # noqa: PLR2004 - slices
        yield (
            f"nnU-Net turned the volumes by {told['transpose_forward']} before it took slices; "
            "give images that are turned so (--axes)."
        )
    if any(one["use_mask"] for one in told["normalisation"]):
        yield (
            "nnU-Net normalises within what is not 0, holes included; here a hole of zeros stays "
            "as it is."
        )


def _steps(normalisation: list[dict[str, Any]]) -> Iterator[Step]:
    """Yield nnU-Net's normalisation of each channel, one scheme after the other.

    Raises:
        InputError: A scheme is none of nnU-Net's own.
    """
    schemes = [one["scheme"] for one in normalisation]
    if unknown := sorted(set(schemes) - {*_SCHEMES}):
        raise InputError(
            f"The plans normalise with {unknown[0]!r}, which is none of {', '.join(_SCHEMES)}; "
            "make the network with package.module:function, and give it --prepare options."
        )
    fixed = [
        one["statistics"] if one["scheme"] == "CTNormalization" else {} for one in normalisation
    ]
    if any(fixed):
        low, high = (tuple(one.get(f"percentile_{p}") for one in fixed) for p in ("00_5", "99_5"))
        yield Clip(low, high)
        mean, std = (tuple(one.get(name, plain) for one in fixed) for name, plain in _PLAIN)
        yield Normalise(mean, std)
    for where, masked in (("box", False), ("foreground", True)):
        if each := _places(normalisation, "ZScoreNormalization", masked=masked):
            yield NormaliseEach(where, each)  # type: ignore[arg-type]
    if each := _places(normalisation, "RescaleTo01Normalization"):
        yield RescaleEach(channels=each)
    if each := _places(normalisation, "RGBTo01Normalization"):
        yield Normalise(0.0, tuple(255.0 if i in each else 1.0 for i in range(len(schemes))))


def _places(
    normalisation: list[dict[str, Any]], scheme: str, *, masked: bool | None = None
) -> tuple[int, ...]:
    """Return the channels of a scheme."""
    return tuple(
        index
        for index, one in enumerate(normalisation)
        if one["scheme"] == scheme and masked in (None, bool(one["use_mask"]))
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
