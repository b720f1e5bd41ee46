"""Which true lesions were found, and which predicted ones are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pladapt.functional.overlap import check_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LesionCounts(NamedTuple):
    """The lesions of a mask.

    Args:
        lesions: How many the truth has.
        found: How many of these have a predicted pixel.
        false: How many predicted ones have no true pixel.
    """

    lesions: int
    found: int
    false: int


def count_lesions(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> LesionCounts:
    """Count the lesions of two masks: the pieces that touch nowhere, not even by a corner.

    Args:
        prediction: ``(*S)``, boolean.
        truth: The same.

    Returns:
        The counts. Two lesions under one predicted piece are both found.

    Raises:
        InputError: The shapes differ.
    """
    check_shapes(prediction, truth)
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    touching = ndimage.generate_binary_structure(truth.ndim, truth.ndim)
    (true, lesions), (predicted, pieces) = (
        ndimage.label(mask, touching) for mask in (truth, prediction)
    )
    found, right = (np.unique(labels[prediction & truth]).size for labels in (true, predicted))
    return LesionCounts(lesions, found, pieces - right)
