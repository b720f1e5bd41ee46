"""Networks on the command line: by name, with a file of weights, and how their output is read."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import typer

from pladapt.cli.logs import LOG
from pladapt.cli.options import Options, named_values
from pladapt.errors import InputError, MissingDataError

if TYPE_CHECKING:
    from torch import nn

    from pladapt.torch import Network
    from pladapt.types import Sample, Samples
    from pladapt.typing import Predictor

_MANY = 16  # images that are looked at where nothing is marked in the first few
_SPACING = 0.1  # of the logarithm of a ratio: as much as augmentation zooms

Factory: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The network: what makes it, as package.module:function; or what a library saved, as "
        "smp:FOLDER, monai-bundle:FOLDER, nnunet:FOLDER, transformers:FOLDER, torchvision:NAME."
    ),
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Go on, with a warning, where the input is merely odd.")
]
SourceFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--source",
        help="What pladapt source wrote: where the images' values are unlike the source's, the "
        "command ends before the work.",
    ),
]
Device: TypeAlias = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, ...")
]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """How a network is made, and how its output is read."""

    weights: Annotated[
        Path | None,
        typer.Option(help="The weights: .safetensors, .pt, .pth, .ckpt or .bin; else its own."),
    ] = None
    argument: Annotated[
        list[str] | None,
        typer.Option(help="An argument of the function as NAME=VALUE; may be repeated."),
    ] = None
    activation: Annotated[
        Literal["auto", "none", "sigmoid", "softmax"],
        typer.Option(
            help="What makes probabilities of the network's output; none where it gives them."
        ),
    ] = "auto"
    channel: Annotated[
        int | None,
        typer.Option(
            help="The only channel of the output to use, from 0; see --activation.", min=0
        ),
    ] = None
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            help="What is done to images, as NAME=VALUE; may be repeated: window, scale, mean, "
            "std, each, channels, transform, size, multiple_of, patch_size, overlap, padding, "
            "axes; and library=false, to leave out what its library does."
        ),
    ] = None

    force: Force = False

    def build(self, spec: str, *, trained: bool = True) -> Network:
        """Make the network that a command names.

        Args:
            spec: As for `pladapt.torch.load_network`.
            trained: Whether weights that are random are refused.

        Raises:
            InputError: That makes no network, its weights are random and ``force`` is not given,
                or their file is none that is read.
            MissingDataError: There is no such folder or file.
            DataError: The weights are truncated, or not of this architecture.
        """
        if self.weights is not None and not self.weights.is_file():  # before torch is imported
            raise MissingDataError(f"There is no file of weights {self.weights}.")
        given = named_values(self.argument or [], "--argument")
        preparing = named_values(self.prepare or [], "--prepare")
        from pladapt.torch import check_trained, load_network  # noqa: PLC0415 - for help

        network = load_network(spec, self.weights, **given)
        if trained and self.weights is None:
            try:
                check_trained(network, spec, **given)
            except InputError as error:
                _be_odd(str(error), force=self.force)
        made = network.reading(self.activation, self.channel).preparing(**preparing)
        LOG.debug("%s is a %s, with %s.", spec, type(made.module).__name__, self)
        return made

    def module(self, spec: str) -> nn.Module:
        """Return the module of `build`, trained or not, which prepares images and gives logits."""
        return self.build(spec, trained=False).prepared


def look_at(
    network: Network, predictor: Predictor, samples: Samples[Sample], *, force: bool = False
) -> None:
    """Predict a few samples before the work, and refuse what is odd.

    Where nothing is marked in a few, as in images of the healthy, it looks at more.

    Args:
        network: The network.
        predictor: The network's, as it is to be used.
        samples: Those that it is to be used on.
        force: Whether what is odd is warned of, and no more.

    Raises:
        InputError: As for `pladapt.torch.check_network`; or, unless ``force``, the images' values
            or spacing are not the network's, or it marks all of them or nothing.
    """
    from pladapt.torch import check_images, check_network  # noqa: PLC0415 - for help

    for note in network.notes:
        warnings.warn(note, stacklevel=2)
    for odd in (_odd_spacing(network, samples), check_images(network, samples)):
        if odd is not None:
            _be_odd(odd, force=force)
    marked = check_network(predictor, samples) or check_network(predictor, samples, count=_MANY)
    if 0 < marked < 1:
        return
    what = "all is foreground" if marked else "nothing is foreground"
    named = f" Its channels are {', '.join(network.classes)}." if network.classes else ""
    _be_odd(
        f"In the few images that were looked at {what} to the network.{named} If that is not so, "
        "see that the images are prepared as in its training (--window, --prepare); and where its "
        "channels are classes that overlap, without a background, give --activation sigmoid "
        "--channel N.",
        force=force,
    )


def look_at_values(samples: Samples[Sample], source: Path, *, force: bool = False) -> None:
    """Compare the values of a few images with those of the source, before the work.

    Args:
        samples: The images.
        source: The file that ``pladapt source`` wrote.
        force: Whether what is odd is warned of, and no more.

    Raises:
        InputError: The images have other channels than the source's; or, unless ``force``, their
            values are so unlike the source's that the network knows nothing like them.
    """
    from pladapt.source import SourceStatistics, measure_likeness  # noqa: PLC0415 - for help

    if reason := measure_likeness(samples, SourceStatistics.load(source)).reason:
        _be_odd(
            f"These images are unlike the source's: {reason}. Look at how they are read: a window "
            "that was forgotten or is another (--window), other units or channels.",
            force=force,
        )


def _be_odd(message: str, *, force: bool) -> None:
    """Refuse what is odd, or warn of it.

    Raises:
        InputError: It is not forced.
    """
    if not force:
        raise InputError(f"{message} Where all is as it should be, go on with --force.")
    warnings.warn(message, stacklevel=3)


def _odd_spacing(network: Network, samples: Samples[Sample]) -> str | None:
    """Say that images have another spacing than the network's, by more than a tenth."""
    outlines = getattr(samples, "outlines", {})
    if network.spacing is None or not outlines:
        return None
    for path, loaded in outlines.items():
        if loaded.affine is None:
            continue
        # the affine's columns are X, Y and Z; the last axes of an image are those of the network
        own = np.linalg.norm(loaded.affine[:3, :3], axis=0)[::-1]
        found = np.array(_resampled(samples) or own)[-len(network.spacing) :]
        if np.abs(np.log(found / network.spacing)).max() > _SPACING:
            return (
                f"{path} has the spacing {np.round(found, 3).tolist()} mm, and the network was "
                f"trained at {np.round(network.spacing, 3).tolist()} mm: it would see all things "
                f"at another scale. Give --resample {','.join(f'{s:g}' for s in network.spacing)}, "
                "and the masks come back to the images' own pixels. Up to a tenth of difference is "
                "let through."
            )
    return None


def _resampled(samples: Samples[Sample]) -> tuple[float, ...] | None:
    """Return the spacing that images are resampled to where they are read, or None."""
    return getattr(getattr(samples, "layout", None), "resample", None)
