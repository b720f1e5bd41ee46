"""Where the lung is in a slice: from the data set's files, by lungmask, or by a threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np
from scipy import ndimage

from pladapt.errors import DataError, InputError
from pladapt_covid_ct.slices import Intensity, Slices, Volumes, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.types import Progress
    from pladapt_covid_ct.datasets import Dataset
    from pladapt_covid_ct.lung_segmentation import LungMask, Model
    from pladapt_covid_ct.slices import Pixels, Row, Slice

Lungs: TypeAlias = Literal[
    "files", "threshold", "files-or-threshold", "none", "lungmask", "lungmask-covidweb"
]
"""Where lung masks come from: the data set; `threshold_lungs`; the data set where it has them and
else `threshold_lungs`; nowhere, and the whole slice counts; or lungmask's models R231 and
R231CovidWeb, for which the data set has to go through `with_lungs`."""

LUNGS: Final[tuple[Lungs, ...]] = get_args(Lungs)
_MODELS: Final[dict[str, Model]] = {"lungmask": "R231", "lungmask-covidweb": "R231CovidWeb"}

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
        case "threshold":
            return threshold_lungs(slice_.image)
        case "none":
            return None
        case _:
            return slice_.lung


def origin(slice_: Slice, lungs: Lungs) -> Lungs:
    """Tell which way `find_lung` takes for a slice: every one but ``files-or-threshold``.

    Raises:
        DataError: There is no way: see `find_lung`.
        InputError: ``lungs`` is none of `LUNGS`.
    """
    if lungs not in LUNGS:
        raise InputError(f"lungs is {lungs!r}; it must be one of {', '.join(LUNGS)}.")
    if lungs == "none":
        return "none"
    if lungs in _MODELS:
        if slice_.lung is None or slice_.lung_origin != lungs:
            raise DataError(f"Slice {slice_.id} has no mask by {lungs}: call with_lungs first.")
        return lungs
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


def with_lungs(
    dataset: Dataset,
    lungs: Lungs,
    *,
    weights: Path | None = None,
    accept_unknown: bool = False,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Dataset:
    """Make a data set's lung masks by lungmask if ``lungs`` says so, and note whence they come.

    Every volume is segmented now, or found in the cache; whatever else ``lungs`` says, the data set
    comes back as it was but for the note.

    Args:
        dataset: What was read.
        lungs: Where lung masks come from.
        weights: See `LungMask`, as the rest.
        accept_unknown: Take weights that are not of lungmask's release.
        cache: The folder that keeps the masks.
        device: ``cpu``; anything else takes a GPU if there is one.
        progress: Told of every volume, under the name ``lungs``.

    Raises:
        MissingDependencyError: lungmask is not installed.
        MissingDataError: There are no weights, or their release cannot be reached.
        DataError: The weights are not those of the release, or a volume is not in Hounsfield units.
    """
    if lungs not in _MODELS:
        return replace(dataset, notes=(*dataset.notes, _note(dataset.slices, lungs)))
    from pladapt_covid_ct.lung_segmentation import LungMask  # noqa: PLC0415 - torch is slow

    segment = LungMask(_MODELS[lungs], weights, accept_unknown, cache, device)
    slices = _segmented(dataset.slices, segment, lungs, progress)
    return replace(dataset, slices=slices, notes=(*dataset.notes, f"Lung masks: by {segment}."))


def _segmented(slices: Slices, segment: LungMask, name: str, progress: Progress | None) -> Slices:
    from pladapt_covid_ct.lung_segmentation import SegmentedSource  # noqa: PLC0415 - the same

    sources = [SegmentedSource(source, segment, name) for source in slices.volumes.sources]
    volumes = Volumes(sources, max_bytes=slices.volumes.max_bytes)
    numbers = sorted({row.volume for row in slices.rows})
    described: dict[str, Row] = {}
    for done, number in enumerate(numbers, 1):
        described |= {row.id: row for row in rows_of(volumes[number], number)}
        if progress is not None:
            progress("lungs", done, len(numbers))
    return Slices(volumes, [described[row.id] for row in slices.rows])


def _note(slices: Slices, lungs: Lungs) -> str:
    with_mask = sum(row.lung_pixels is not None for row in slices.rows)
    from_files = {"files": len(slices), "files-or-threshold": with_mask}.get(lungs, 0)
    ways = {"files": from_files, "threshold": len(slices) - from_files}
    told = [f"{way} ({count} slices)" for way, count in ways.items() if count]
    return f"Lung masks: {'none' if lungs == 'none' else ', '.join(told)}."


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
