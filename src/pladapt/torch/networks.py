"""Networks by name: code and a file of weights, or what a library saved."""

from __future__ import annotations

import difflib
import pkgutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from pladapt.errors import InputError, MissingDataError, PladaptError
from pladapt.plugins import default_manager
from pladapt.torch.checkpoints import PICKLED, load_weights
from pladapt.torch.devices import as_tensor
from pladapt.torch.folds import predictor_of
from pladapt.torch.outputs import ACTIVATIONS, OneChannel, as_logits, each
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pladapt.plugins import PluginManager
    from pladapt.torch.outputs import Activation
    from pladapt.torch.predictor import TorchPredictor
    from pladapt.types import Sample, Samples
    from pladapt.typing import Predictor


@dataclass(frozen=True, eq=False, kw_only=True)
class Network:
    """A network, and what is known of it.

    Args:
        module: Maps images ``(B, C, *S)`` to logits ``(B, K, *S)``, or to what ``activation``
            says; a `Folds` of several networks where a library trained several.
        activation: What makes probabilities of the output, as in `TorchPredictor`.
        channels: The ``C`` of its images, where known.
        multiple_of: What each spatial length must be a multiple of, where known.
        patch_size: The spatial shape that it was trained on, where known.
        spacing: The distance of pixels or voxels in mm along each spatial axis, where known.
        classes: The names of its output's channels, where known.
        preprocessing: How its images are to be prepared, in the words of the library that saved
            it, JSON-able; none of it is done here.
    """

    module: nn.Module
    activation: Activation = "auto"
    channels: int | None = None
    multiple_of: int | None = None
    patch_size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

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
        return predictor_of(self.module, device, **({"activation": self.activation} | options))

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
    known = _known(manager)
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
    return network


def check_trained(network: Network, spec: str, **arguments: Any) -> None:
    """Refuse a network of a function that draws its weights anew whenever it is called.

    What a library saved has weights and is not made again.

    Args:
        network: What `load_network` made without a file of weights.
        spec: Its name, as for `load_network`, and so are the arguments.
        **arguments: The same.

    Raises:
        InputError: The network has other weights when it is made again.
    """
    if spec.partition(":")[0] in _known(default_manager()):
        return
    again = load_network(spec, **arguments)
    if state_sha256(again.module) != state_sha256(network.module):
        raise InputError(
            f"{spec!r} makes a network with other weights each time: they are random, and none "
            "were loaded. Give a file of weights (--weights FILE), or load them in the function."
        )


def check_network(predictor: Predictor, samples: Samples[Sample], *, count: int = 8) -> float:
    """Predict a few samples, so that what is wrong with a network is said before the work.

    Args:
        predictor: The network's, as it is to be used.
        samples: Those that it is to be used on, of which some are taken, spread over all.
        count: How many, at most.

    Returns:
        The fraction of the pixels whose likeliest class is not the background.

    Raises:
        InputError: The network does not take such images, or gives something else than its
            predictor takes it for: probabilities in place of logits, say.
    """
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    return float(np.mean([_marked(predictor, samples[int(place)]) for place in places]))


def _marked(predictor: Predictor, sample: Sample) -> float:
    image = as_tensor(sample.image)
    try:
        probabilities = as_tensor(predictor.predict(image[None].float()))
    except RuntimeError as error:  # torch's own names no sample
        if isinstance(error, PladaptError):
            raise
        said = str(error).partition("\n")[0]
        raise InputError(
            f"The network cannot be used on {sample.id!r}, an image of shape {tuple(image.shape)}, "
            f"channels first: {said} Give images with the channels and of a "
            "size that it takes."
        ) from error
    if probabilities.shape[1] == 1:
        return float((probabilities > 0.5).float().mean())  # noqa: PLR2004 - as likely as not
    return float((probabilities.argmax(1) > 0).float().mean())


def _known(manager: PluginManager) -> list[str]:
    return [registration.name for _, registration in manager.registrations("network")]


def _from_code(
    spec: str, weights: Path | None, arguments: Mapping[str, Any], known: list[str]
) -> nn.Module:
    with _current_folder():
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


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


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
