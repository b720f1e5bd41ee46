"""How far the border of a predicted mask lies from that of the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pladapt.errors import InputError
from pladapt.functional.overlap import check_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PERCENTILE: Final = 95
_ROUNDING: Final = 1e-6  # headers hold sizes in single precision: three steps of 0.1 are 0.3000001


class SurfaceDistances(NamedTuple):
    """The distances between two borders.

    Args:
        predicted: Of each border pixel of the prediction, to the nearest of the truth.
        true: Of each border pixel of the truth, to the nearest of the prediction.
    """

    predicted: NDArray[np.float64]
    true: NDArray[np.float64]


def surface_distances(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float] | None = None
) -> SurfaceDistances | None:
    """Measure the distances between the borders of two masks.

    A border pixel is one with a neighbour along an axis that is outside the mask, or beyond the
    image. Distances run between the centres of pixels. This is the definition of MONAI and MedPy.

    Args:
        prediction: ``(*S)``, boolean, with two or three axes.
        truth: The same.
        spacing: The size of a pixel along each axis, in mm; None to measure in pixels.

    Returns:
        The distances; None where one of the masks is empty, or both are.

    Raises:
        InputError: The shapes differ, or the spacing has another number of axes or is not above 0.
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    steps = _checked(prediction, truth, spacing)
    if not prediction.any() or not truth.any():
        return None
    # all that is beyond the masks is as far away as the edge of the image
    (box,) = ndimage.find_objects((prediction | truth).astype(np.uint8))
    borders = [_border(mask[box]) for mask in (prediction, truth)]
    to_predicted, to_true = (
        ndimage.distance_transform_edt(~border, sampling=steps) for border in borders
    )
    return SurfaceDistances(to_true[borders[0]], to_predicted[borders[1]])


def _checked(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float] | None
) -> tuple[float, ...]:
    check_shapes(prediction, truth)
    steps = (1.0,) * truth.ndim if spacing is None else tuple(spacing)
    if len(steps) != truth.ndim or not all(0 < step < np.inf for step in steps):
        raise InputError(
            f"The spacing is {steps} for masks of shape {truth.shape}; expected the size of a "
            "pixel along each axis, above 0."
        )
    return steps


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy import ndimage  # noqa: PLC0415 - slow to import

    border: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return border


def nsd(distances: SurfaceDistances, tolerance: float) -> float:
    """Return the normalised surface distance: the part of both borders within the tolerance.

    S. Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for
    radiotherapy", J. Med. Internet Res. 23(7), 2021, there called surface DSC.

    Args:
        distances: Of the masks.
        tolerance: How far apart borders may lie and still be one, in the unit of the distances.

    Returns:
        In [0, 1]; 1 where no border pixel is further away.

    Raises:
        InputError: The tolerance is negative or no number.
    """
    if not tolerance >= 0:
        raise InputError(f"The tolerance is {tolerance}; expected 0 or more.")
    every = np.concatenate(distances)
    return float(np.mean(every <= tolerance * (1 + _ROUNDING)))


def hd95(distances: SurfaceDistances) -> float:
    """Return the 95th percentile of the Hausdorff distance: the larger one of both directions.

    Args:
        distances: Of the masks.

    Returns:
        In the unit of the distances.
    """
    return float(max(np.percentile(side, _PERCENTILE) for side in distances))
