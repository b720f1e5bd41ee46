"""``monai-bundle:FOLDER``: the network that a MONAI bundle defines, with its weights."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.optional import needs
from pladapt.torch.checkpoints import load_weights
from pladapt.torch.loaders.folders import folder_with, read_json
from pladapt.torch.loaders.monai_transforms import Told
from pladapt.torch.networks import Network
from pladapt.torch.preparation import Preparation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

with needs("monai", "monai"):
    import monai.networks.nets  # where a bundle's class names are looked for
    from monai.bundle import ConfigParser, ReferenceResolver

_CONFIGS = tuple(product(("inference", "train", "evaluate"), (".json", ".yaml", ".yml")))
_WEIGHTS = ("models/model.pt", "models/model.pth", "models/model.safetensors")
_ID = "network_def"


def load(
    target: str, weights: Path | None = None, *, trust: bool = False, **arguments: Any
) -> Network:
    """Make the ``network_def`` of a bundle's configuration, and give it the bundle's weights.

    A configuration may hold Python expressions and name any class. What ``network_def`` needs is
    looked through first: classes of ``monai.networks`` are made, and anything else is run only
    where the bundle is trusted.

    Args:
        target: The folder, with ``configs`` and ``models``.
        weights: A file of weights in place of the bundle's ``models/model.pt``.
        trust: Whether the bundle may run its own code.
        **arguments: Of the network's class, in place of those in the configuration.

    Raises:
        MissingDataError: There is no such folder, or it has no configuration or no weights.
        InputError: The configuration has no network, or would run code and is not trusted.
        DataError: It makes no network, or the weights do not fit.
    """
    folder = folder_with(target, [], "the MONAI bundle")
    parser = _parser(folder)
    if _ID not in parser:
        raise InputError(
            f"The configurations of {folder} have no {_ID!r}; make the network with "
            "package.module:function, and give the bundle's weights with it."
        )
    parser[_ID].update(arguments)
    if not trust:
        _refuse_code(parser, folder)
    module = _made(parser, folder)
    load_weights(module, weights or _weights(folder))
    told, (known, patch) = Told(parser, module), _metadata(folder)
    window = {"patch_size": patch} | told.window
    fits = all(length % told.multiple_of == 0 for length in window["patch_size"] or ())
    return Network(
        module=module,
        **known,
        spacing=told.spacing,
        preparation=Preparation(
            steps=tuple(told.steps),
            axes=told.axes,
            size=told.size,
            multiple_of=told.multiple_of if fits else 1,
            padding="zeros",
            **window,
        ),
        notes=tuple(told.notes),
        preprocessing=_preprocessing(parser),
    )


def _parser(folder: Path) -> ConfigParser:
    names = [folder / "configs" / f"{stem}{suffix}" for stem, suffix in _CONFIGS]
    for path in filter(lambda path: path.is_file(), names):
        parser = ConfigParser()
        parser.read_config(str(path))
        if _ID in parser:
            break
    else:
        raise MissingDataError(
            f"{folder} has no configs/inference.json or configs/train.json with a {_ID!r}; give "
            "the folder of a MONAI bundle."
        )
    parser["bundle_root"] = str(folder)
    parser.resolve_macro_and_relative_ids()
    return parser


def _weights(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise MissingDataError(
        f"{folder} has none of {', '.join(_WEIGHTS)}; give the file of weights (--weights FILE)."
    )


def _refuse_code(parser: ConfigParser, folder: Path) -> None:
    found = sorted(set(_code(parser, parser[_ID], {_ID})))
    if found:
        raise InputError(
            f"The {_ID!r} of {folder} would run code: {', '.join(found[:3])}. If you trust the "
            "bundle, give trust=True (--argument trust=true); or make the network with "
            "package.module:function and give the bundle's weights with it."
        )


def _code(parser: ConfigParser, value: Any, seen: set[str]) -> Iterator[str]:
    """Yield the expressions and foreign classes in a part of a configuration, and what it needs."""
    if isinstance(value, dict):
        name = value.get("_target_", "")
        if name and not (hasattr(monai.networks.nets, name) or name.startswith("monai.networks.")):
            yield name
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _code(parser, part, seen)
    if isinstance(value, str):
        if value.startswith("$"):
            yield value
        for name in ReferenceResolver.match_refs_pattern(value):
            if (root := name.partition("::")[0]) not in seen:
                yield from _code(parser, parser.get(root), seen | {root})


def _made(parser: ConfigParser, folder: Path) -> nn.Module:
    with _on_path(folder):
        try:
            module: nn.Module = parser.get_parsed_content(_ID)
        except (RuntimeError, ValueError, TypeError, KeyError, ImportError) as error:
            raise DataError(f"The {_ID!r} of {folder} makes no network: {error}") from error
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let a bundle's own modules be imported, as MONAI does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _metadata(folder: Path) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """Return what ``metadata.json`` says of channels and classes, and the shape of an image."""
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return {}, None
    told: dict[str, dict[str, Any]] = read_json(path).get("network_data_format", {})
    image: dict[str, Any] = next(iter(told.get("inputs", {}).values()), {})
    made: dict[str, Any] = next(iter(told.get("outputs", {}).values()), {})
    shape = image.get("spatial_shape", ())
    fixed = bool(shape) and all(isinstance(length, int) for length in shape)
    names = made.get("channel_def", {})
    classes = tuple(str(names[key]) for key in sorted(names, key=int))
    known = {"channels": image.get("num_channels"), "classes": classes}
    return known, tuple(shape) if fixed else None


def _preprocessing(parser: ConfigParser) -> dict[str, Any]:
    told = parser.get("preprocessing")
    return {} if told is None else {"library": "monai", "transforms": told}
