"""Pseudo-labels that leave out the pixels a prediction is not sure of, or count them for less."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import class_cutoffs, hard_labels
from pladapt.functional.morphology import check_band, near_boundary
from pladapt.functional.uncertainty import pixel_entropy
from pladapt.types import IGNORE, SoftLabels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.functional.morphology import Band
    from pladapt.types import Array, Prediction
    from pladapt.typing import Selector

Labeller: TypeAlias = "Callable[[Prediction], Array | SoftLabels]"
"""What makes pseudo-labels of a prediction, as `pladapt.typing.Selector.label` does."""

_ROUNDING: Final = 1e-6  # how far a mean of members, say, may leave [0, 1]


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """Label the pixels that are sure, and have the others ignored; for `pladapt.compose`.

    A pixel is labelled with the likeliest class above its cut-off. It is background where no class
    is above its background cut-off. Between the two it is ignored (255), and so is what lies
    within ``boundary`` pixels of the boundary of a class, on either side. With the defaults these
    are the hard labels of `pladapt.hard_labels`.

    Where a predictor averages several predictions, augmented views say, the probabilities are the
    members' mean, and so the labels are those of the average.

    Args:
        cutoff: The probability above which a pixel is foreground, in (0, 1); one for every class,
            or one per foreground class.
        background_cutoff: The probability up to which a pixel is background, at most the cut-off;
            None for the cut-off.
        boundary: How many pixels on either side of a boundary are ignored; one number, or one per
            spatial axis.

    Raises:
        InputError: A cut-off outside (0, 1), a background cut-off above the cut-off, or a negative
            boundary.
    """

    cutoff: Cutoff = 0.5
    background_cutoff: Cutoff | None = None
    boundary: Band = 0

    def __post_init__(self) -> None:
        check_band(self.boundary)
        given = [
            self.cutoff,
            self.cutoff if self.background_cutoff is None else self.background_cutoff,
        ]
        classes = max(1 if isinstance(value, float | int) else len(value) for value in given)
        high, low = (class_cutoffs(value, classes) for value in given)
        if any(one > other for one, other in zip(low, high, strict=True)):
            raise InputError(
                f"background_cutoff is {self.background_cutoff} and cutoff is {self.cutoff}; the "
                "pixels to ignore lie between them, so the first must not be the higher."
            )

    def __call__(self, prediction: Prediction, /) -> Array:
        """Return the labels ``(B, *S)`` as uint8, 255 where a pixel is ignored.

        Raises:
            InputError: As for `pladapt.hard_labels`.
        """
        labels = hard_labels(prediction.probabilities, self.cutoff)
        xp = array_namespace(labels)
        ignored = xp.full_like(labels, IGNORE)
        if self.background_cutoff is not None:
            possible = hard_labels(prediction.probabilities, self.background_cutoff)
            labels = xp.where((labels == 0) & (possible > 0), ignored, labels)
        if self.boundary != 0:
            labels = xp.where(
                self._near(labels, prediction.probabilities.shape[1]), ignored, labels
            )
        return labels

    def _near(self, labels: Array, channels: int) -> Array:
        """Tell which pixels are near the boundary of any class."""
        xp = array_namespace(labels)
        masks = xp.stack([labels == class_ for class_ in range(1, max(2, channels))], axis=1)
        return xp.any(near_boundary(masks, self.boundary), axis=1)


@dataclass(frozen=True, kw_only=True)
class SoftLabelling:
    """Label as another part does, and add the probabilities or weights; for `pladapt.compose`.

    Args:
        labeller: Makes the hard labels. The pixels that it ignores stay ignored, and validation
            is on its labels. What else it changes is lost where probabilities are learnt: have it
            ignore small components, say, rather than make them background.
        probabilities: Whether the probabilities are learnt in place of the labels.
        weight: Whether a pixel counts by its certainty: 1 less its entropy over log K, so 1 where
            a class is certain and 0 where all are equally likely.

    Raises:
        InputError: Neither is asked for.
    """

    labeller: Labeller = field(default_factory=Labelling)
    probabilities: bool = True
    weight: bool = False

    def __post_init__(self) -> None:
        if not (self.probabilities or self.weight):
            raise InputError(
                "probabilities and weight are both False, which leaves the labels as they are; "
                "give the labeller itself, or ask for one of the two."
            )

    def __call__(self, prediction: Prediction, /) -> SoftLabels:
        """Return the labeller's labels with what is asked for."""
        labels = soft(self.labeller(prediction))
        if self.probabilities:
            labels = replace(labels, probabilities=prediction.probabilities)
        if self.weight:
            labels = replace(labels, weight=1 - pixel_entropy(prediction.probabilities))
        return labels


def soft(labels: Array | SoftLabels) -> SoftLabels:
    """Return labels as `SoftLabels`, without probabilities or weights where they have none."""
    return labels if isinstance(labels, SoftLabels) else SoftLabels(labels)


def pseudo_labels(
    selector: Selector, prediction: Prediction
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Yield each sample's id and pseudo-label, on the host.

    That is its ``label`` ``(*S)`` uint8, and what `SoftLabels` add to it: ``probabilities``
    ``(K, *S)``, ``weight`` ``(*S)``, or both.

    Raises:
        InputError: The selector's ``label`` returned something else.
    """
    batch, channels, *spatial = prediction.probabilities.shape
    name = f"{type(selector).__name__}.label"
    labels = soft(selector.label(prediction))
    made = {"label": to_numpy(labels.label)}
    expected = (batch, *spatial)
    if made["label"].shape != expected or made["label"].dtype != np.uint8:
        raise InputError(
            f"{name} returned {made['label'].dtype} of shape {made['label'].shape}; expected uint8 "
            f"of shape {expected}."
        )
    if labels.probabilities is not None:
        made["probabilities"] = to_numpy(labels.probabilities)
        _check_soft(name, "probabilities", made["probabilities"], (batch, channels, *spatial))
    if labels.weight is not None:
        made["weight"] = to_numpy(labels.weight)
        _check_soft(name, "weight", made["weight"], expected)
    for index, id_ in enumerate(prediction.ids):
        yield id_, {kind: array[index] for kind, array in made.items()}


def _check_soft(name: str, kind: str, array: NDArray[Any], expected: tuple[int, ...]) -> None:
    if array.shape != expected or array.dtype.kind != "f":
        raise InputError(
            f"{name} returned {kind} of {array.dtype} and shape {array.shape}; expected floating "
            f"point of shape {expected}."
        )
    if not np.all(np.abs(array - 0.5) <= 0.5 + _ROUNDING):
        raise InputError(f"{name} returned {kind} outside [0, 1], or NaN; expected [0, 1].")
