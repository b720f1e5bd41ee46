"""Networks by name: code and a file of weights, or what a library saved."""

from __future__ import annotations

import difflib
import pkgutil
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from pladapt.errors import InputError, MissingDataError
from pladapt.plugins import default_manager
from pladapt.torch.checkpoints import PICKLED, load_weights
from pladapt.torch.folds import predictor_of
from pladapt.torch.importing import current_folder
from pladapt.torch.outputs import ACTIVATIONS, OneChannel, as_logits, each
from pladapt.torch.preparation import Preparation, Prepared
from pladapt.torch.preparing import KNOWN, with_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pladapt.plugins import PluginManager
    from pladapt.torch.outputs import Activation
    from pladapt.torch.predictor import TorchPredictor


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A network, and what is known of it.

    Args:
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``, or to what ``activation``
            says; a `Folds` of several networks where a library trained several.
        activation: What makes probabilities of the output, as in `TorchPredictor`.
        channels: The ``C`` of its images, where known.
        spacing: The distance of pixels or voxels in mm along each spatial axis of the images, where
            known. Images are not resampled.
        classes: The names of its output's channels, where known.
        preparation: What is done to images before the network, and undone to its logits.
        notes: What the library does to images and is not done here, a sentence each.
        preprocessing: How its images are to be prepared, in the words of the library that saved
            it, JSON-able.
        origin: What made it: ``name`` and ``arguments`` of `load_network`, and how it is read.
    """

    module: nn.Module
    activation: Activation = "auto"
    channels: int | None = None
    spacing: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    preparation: Preparation = field(default_factory=Preparation)
    notes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prepared(self) -> nn.Module:
        """The network behind its preparation, where it has one."""
        return Prepared(self.module, self.preparation).eval() if self.preparation else self.module

    def preparing(self, **options: Any) -> Network:
        """Return the network with another preparation.

        Args:
            **options: As for `pladapt.torch.preparing.with_options`: ``window``, ``scale``,
                ``mean``, ``std``, ``each``, ``channels``, ``transform``, ``size``,
                ``multiple_of``, ``patch_size``, ``overlap``, ``padding``, ``axes``; and
                ``library=False``, which drops what its library stored.

        Raises:
            InputError: There is no such option, or its value is out of range.
        """
        try:
            made = with_options(self.preparation, **options)
        except TypeError as error:
            raise InputError(
                f"The preparation {options} cannot be made: {error}. Known are {', '.join(KNOWN)}."
            ) from error
        told = bool(options) and not options.keys() <= {"multiple_of", "patch_size", "overlap"}
        return replace(self, preparation=made, notes=() if told else self.notes)

    def reading(self, activation: Activation = "auto", channel: int | None = None) -> Network:
        """Return the network with its output understood in another way: as logits.

        Args:
            activation: ``none`` where it gives probabilities; ``sigmoid`` or ``softmax`` where it
                gives logits; ``auto`` is the network's own.
            channel: Take this channel of several, from 0, for a network of one class. Asks for an
                activation: ``sigmoid`` where classes overlap, ``softmax`` where they exclude each
                other.

        Raises:
            InputError: The activation is none of those, or ``auto`` beside a channel.
        """
        if activation not in ACTIVATIONS:
            raise InputError(f"activation is {activation!r}; give one of {ACTIVATIONS}.")
        how = self.activation if activation == "auto" else activation
        read = {"activation": activation, "channel": channel}
        return replace(self._read(how, channel), origin={**self.origin, **read})

    def _read(self, how: Activation, channel: int | None) -> Network:
        if channel is not None:
            return self._one_channel(channel, how)
        if how == "none":
            return replace(self, module=as_logits(self.module), activation="auto")
        return replace(self, activation=how)

    def predictor(self, device: str = "auto", **options: Any) -> TorchPredictor:
        """Return a predictor around the network; several folds are its members.

        Args:
            device: As for `TorchPredictor`.
            **options: The same, such as ``batch_size`` or ``amp``.

        Raises:
            DeviceError: As for `TorchPredictor`.
            InputError: The same.
        """
        own = {"activation": self.activation, "origin": self.origin or None}
        return predictor_of(self.prepared, device, **(own | options))

    def _one_channel(self, channel: int, how: Activation) -> Network:
        if how == "auto":
            raise InputError(
                f"channel is {channel} and activation is 'auto'; give activation='sigmoid' where "
                "the classes overlap, 'softmax' where they exclude each other, or 'none' where the "
                "network gives probabilities (--activation)."
            )
        module = each(self.module, lambda network: OneChannel(network, channel, how))
        classes = self.classes[channel : channel + 1]
        return replace(self, module=module, activation="sigmoid", classes=classes)


def load_network(
    spec: str,
    weights: str | Path | None = None,
    *,
    plugins: PluginManager | None = None,
    **arguments: Any,
) -> Network:
    """Make the network that a name stands for, with its weights.

    Args:
        spec: ``package.module:function`` (or a class), which makes a ``torch.nn.Module``; a module
            in the current folder counts. Or what a library saved: ``smp:FOLDER``,
            ``monai-bundle:FOLDER``, ``nnunet:FOLDER``, ``transformers:FOLDER``, and
            ``torchvision:NAME`` with weights; or what a plugin offers.
        weights: A file of weights, as for `read_weights`; None for those that the function gives
            it, or that the folder holds.
        plugins: Who knows the libraries; by default every installed plugin.
        **arguments: Of the function, or of the library's loader.

    Returns:
        The network, in evaluation mode, and what is known of it.

    Raises:
        InputError: That makes no network, or as for `read_weights`.
        MissingDataError: There is no such folder or file.
        DataError: The weights are truncated, or not of this architecture.
        MissingDependencyError: The library is not installed.
    """
    manager = plugins or default_manager()
    kind, separator, target = spec.partition(":")
    known = known_networks(manager)
    path = None if weights is None else Path(weights)
    if path is not None and not path.is_file():
        raise MissingDataError(f"There is no file of weights {path}.")
    if kind in known and separator:
        make = partial(manager.build, "network", kind, target=target, weights=path)
        made = _called(make, spec, arguments)
        network = made if isinstance(made, Network) else Network(module=_module(made, spec))
    else:
        _refuse_file(spec, known)
        network = Network(module=_from_code(spec, path, arguments, known))
    network.module.eval()
    origin: dict[str, Any] = {"name": spec, "arguments": arguments}
    if kind in known and separator and Path(target).exists():
        origin["name"] = f"{kind}:{Path(target).resolve()}"
    if kind in known and path is not None:
        origin["weights"] = str(path.resolve())
    return replace(network, origin=origin | {**network.origin})


def remade(origin: Mapping[str, Any]) -> Network:
    """Make a network of the architecture and reading that another's ``origin`` tells.

    Raises:
        InputError: As for `load_network`.
        MissingDataError: The same.
        DataError: The same.
        MissingDependencyError: The same.
    """
    made = load_network(origin["name"], origin.get("weights"), **origin["arguments"])
    return made.reading(origin.get("activation", "auto"), origin.get("channel"))


def known_networks(manager: PluginManager) -> list[str]:
    """Return the prefixes of names that libraries and plugins know."""
    return [registration.name for _, registration in manager.registrations("network")]


def _from_code(
    spec: str, weights: Path | None, arguments: Mapping[str, Any], known: list[str]
) -> nn.Module:
    with current_folder():
        try:
            function = pkgutil.resolve_name(spec)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                f"{spec!r} makes no network: {error}.{_hint(spec, known)} Give "
                "package.module:function and its weights, or one of "
                f"{', '.join(f'{name}:...' for name in known)}."
            ) from error
        module = _module(_called(function, spec, arguments), spec)
    if weights is not None:
        load_weights(module, weights)
    return module


def _called(function: Callable[..., Any], spec: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return function(**arguments)
    except TypeError as error:
        raise InputError(
            f"{spec!r} with the arguments {dict(arguments)} makes no network: {error}. Give its "
            "arguments by name (--argument NAME=VALUE)."
        ) from error


def _module(made: Any, spec: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise InputError(f"{spec!r} made a {type(made).__name__}; expected a torch module.")
    return made


def _hint(spec: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(spec.partition(":")[0], known, n=1)
    return f" Did you mean {nearest[0]}:...?" if nearest else ""


def _refuse_file(spec: str, known: list[str]) -> None:
    path = Path(spec)
    if (path / "run.json").is_file():
        raise InputError(
            f"{spec} is a run without an adapted model: it has not finished. Give the command that "
            "writes it again, and it goes on to its end."
        )
    if path.is_dir():
        folders = [f"{name}:{spec}" for name in known if name != "torchvision"]
        raise InputError(
            f"{spec} is a folder; say which library saved what it holds: {', '.join(folders)}."
        )
    if path.is_file() and path.suffix in (*PICKLED, ".safetensors"):
        raise InputError(
            f"{spec} is a file of weights; expected what makes the network, as "
            f"package.module:function, with weights={spec!r} (--weights {spec})."
        )
    if path.is_file():
        raise InputError(
            f"{spec} is a file; expected what makes the torch module, as package.module:function, "
            "and its weights. A file that holds a whole network either runs code when it is read, "
            "or cannot be trained."
        )
