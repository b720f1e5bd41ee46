"""What is odd about a network and the images that it is to be used on, before the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pladapt.errors import InputError
from pladapt.plugins import default_manager
from pladapt.torch.calling import explained
from pladapt.torch.devices import as_tensor
from pladapt.torch.networks import known_networks, load_network
from pladapt.torch.preparation import Prepared
from pladapt.torch.steps import Normalise, NormaliseEach
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    import torch

    from pladapt.torch.networks import Network
    from pladapt.types import Sample, Samples
    from pladapt.typing import Predictor

_UNPREPARED: Final = 30.0  # beyond the spread of normalised images
_FAR: Final = 6.0  # standard deviations
_NARROW: Final = 0.05
_THINNED: Final = 2**22  # values of an image, for its mean


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
    if spec.partition(":")[0] in known_networks(default_manager()):
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


def check_images(network: Network, samples: Samples[Sample], *, count: int = 8) -> str | None:
    """Say what is odd about the values of images, after what prepares them for a network.

    Args:
        network: The network, with its preparation.
        samples: Those that it is to be used on, of which some are looked at, spread over all.
        count: How many, at most.

    Returns:
        A paragraph, or None where nothing is odd.
    """
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)

    def images() -> Iterator[torch.Tensor]:  # one at a time, for they may be large
        return (as_tensor(samples[int(place)].image).float()[None] for place in places)

    stored = _range(images())
    preparation = network.preparation
    if not preparation.steps:
        if stored.largest - stored.least <= _UNPREPARED:
            return None
        return (
            f"The images' values reach from {stored.least:.4g} to {stored.largest:.4g}, and "
            "nothing prepares them: neither a window nor what is known of the network. Networks "
            "are mostly trained on values near 0 and 1. If this one was, say how: --window LOW "
            "HIGH; or --prepare scale=bytes, and perhaps --prepare mean=... --prepare std=...."
        )
    if not isinstance(preparation.steps[-1], Normalise | NormaliseEach):
        return None
    front = Prepared(network.module, preparation)
    made = _range(front.prepare(image) for image in images())
    if abs(made.mean) <= _FAR and _NARROW <= made.std <= _FAR:
        return None
    return (
        f"The images' values reach from {stored.least:.4g} to {stored.largest:.4g} (mean "
        f"{stored.mean:.4g}), and after the network's own preparation their mean is "
        f"{made.mean:.3g} and their standard deviation {made.std:.3g}, where near 0 and 1 are "
        "expected. Look at their units: a window that was forgotten or given twice (--window), "
        "0 to 1 in place of 0 "
        f"to 255 (--prepare scale=...). The preparation: {preparation.describe()['steps']}."
    )


class _Range(NamedTuple):
    least: float
    largest: float
    mean: float
    std: float


def _range(images: Iterable[torch.Tensor]) -> _Range:
    """Return the range of all images' values, their mean and deviation; large ones are thinned."""
    each = []
    for image in images:
        values = image.reshape(-1)
        thinned = values[:: max(1, len(values) // _THINNED)].double()
        moments = thinned.mean(), (thinned**2).mean()
        each.append([len(values), *map(float, (values.min(), values.max(), *moments))])
    counts, least, largest, means, squares = zip(*each, strict=True)
    mean, square = (float(np.average(moment, weights=counts)) for moment in (means, squares))
    return _Range(min(least), max(largest), mean, max(0.0, square - mean**2) ** 0.5)


def _marked(predictor: Predictor, sample: Sample) -> float:
    image = as_tensor(sample.image)
    with explained(image[None]):
        probabilities = as_tensor(predictor.predict(image[None].float()))
    if probabilities.shape[1] == 1:
        return float((probabilities > 0.5).float().mean())  # noqa: PLR2004 - as likely as not
    return float((probabilities.argmax(1) > 0).float().mean())
