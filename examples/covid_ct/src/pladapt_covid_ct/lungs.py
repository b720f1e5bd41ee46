"""Where the lung is in a slice: from the data set's files, or by threshold and morphology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np
from scipy import ndimage

from pladapt.errors import DataError, InputError
from pladapt_covid_ct.slices import Intensity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt_covid_ct.slices import Pixels, Slice

Lungs: TypeAlias = Literal["files", "threshold", "files-or-threshold", "none"]
"""Where lung masks come from: the data set; `threshold_lungs`; the data set where it has them and
else `threshold_lungs`; or nowhere, and the whole slice counts."""

LUNGS: Final[tuple[Lungs, ...]] = get_args(Lungs)

_AIR_HU: Final = -320.0  # half-way between aerated lung and soft tissue
_LEAST_OF_IMAGE: Final = 0.001  # of the image's area: smaller air is bowel, noise or an airway
_LEAST_OF_LARGEST: Final = 0.1  # of the larger lung's area: the trachea beside full lungs is less
_LARGEST_HOLE: Final = 0.02  # of the image's area: a large lesion or hilum; a heart is more
_CLOSING: Final = 0.02  # of the image's width: vessels and lesions at the pleura this thick


def find_lung(slice_: Slice, lungs: Lungs) -> NDArray[np.bool_] | None:
    """Return a slice's lung mask ``(H, W)``, or None where ``lungs`` is ``none``.

    Raises:
        DataError: The data have no lung mask and ``lungs`` is ``files``, or the slice is not in
            Hounsfield units and would have to be thresholded.
        InputError: ``lungs`` is none of `LUNGS`.
    """
    match origin(slice_, lungs):
        case "files":
            return slice_.lung
        case "threshold":
            return threshold_lungs(slice_.image)
        case _:
            return None


def origin(slice_: Slice, lungs: Lungs) -> Literal["files", "threshold", "none"]:
    """Tell which way `find_lung` takes for a slice, for the record of a run.

    Raises:
        DataError: There is no way: see `find_lung`.
        InputError: ``lungs`` is none of `LUNGS`.
    """
    if lungs not in LUNGS:
        raise InputError(f"lungs is {lungs!r}; it must be one of {', '.join(LUNGS)}.")
    if lungs == "none":
        return "none"
    if lungs != "threshold" and slice_.lung is not None:
        return "files"
    if lungs == "files":
        raise DataError(f"Slice {slice_.id} has no lung mask; pass lungs='files-or-threshold'.")
    if slice_.intensity is not Intensity.HU:
        raise DataError(
            f"Slice {slice_.id} has {slice_.intensity} intensities: a lung can be thresholded in "
            "Hounsfield units only. Give lung masks, or pass lungs='none'."
        )
    return "threshold"


def threshold_lungs(image: Pixels) -> NDArray[np.bool_]:
    """Find the lung as air inside the body.

    Air below -320 HU that the body surrounds, without small pieces, its holes filled and its
    border closed over vessels and lesions. A consolidation that is wide along the pleura stays
    outside, and gas in bowel or stomach may be taken for lung: a trained lung segmentation does
    better. The body must not be cut off by the image's border.

    Args:
        image: ``(H, W)``, or ``(Z, H, W)`` to be treated slice by slice, in Hounsfield units.

    Returns:
        A mask of the same shape.
    """
    if image.ndim == 3:  # noqa: PLR2004 - a volume
        return np.stack([threshold_lungs(plane) for plane in image])
    air = np.asarray(image < _AIR_HU)
    inside = ndimage.binary_fill_holes(_largest(~air)) & air
    lungs = _close(_without_small_pieces(inside), radius=_CLOSING * image.shape[-1])
    return _fill_small_holes(lungs)


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Label connected pieces; the areas are those of labels 0, 1, ... with 0 for label 0."""
    labels, _ = ndimage.label(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return labels, areas


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, areas = _pieces(mask)
    return np.asarray(labels == areas.argmax()) & mask


def _without_small_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, areas = _pieces(mask)
    least = max(_LEAST_OF_IMAGE * mask.size, _LEAST_OF_LARGEST * areas.max())
    return cast("NDArray[np.bool_]", (areas >= least)[labels])


def _fill_small_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what a lung surrounds, but not a mediastinum between two lungs that touch."""
    labels, areas = _pieces(np.asarray(ndimage.binary_fill_holes(mask)) & ~mask)
    small = (areas > 0) & (areas <= _LARGEST_HOLE * mask.size)
    return np.asarray(mask | small[labels])


def _close(mask: NDArray[np.bool_], *, radius: float) -> NDArray[np.bool_]:
    """Close with a disc; by distances, whose cost does not grow with the disc."""
    if not mask.any():
        return mask
    margin = int(radius) + 1
    padded = np.pad(mask, margin)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    return np.asarray(closed[margin:-margin, margin:-margin]) | mask
