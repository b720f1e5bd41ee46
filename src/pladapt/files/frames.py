"""Where the slices of DICOM lie, and their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.files.stored import Stored

_SAME_MM: Final = 1e-3
_UNEVEN: Final = 0.1
"""By how much of the usual distance slices may be off; a missing slice is off by 1."""
_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def frame_item(dataset: Any, index: int, name: str) -> Any:
    """Return what a multi-frame file says of a frame under ``name``, its own or shared; or None."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for group in (*own[index : index + 1], *shared[:1]):
        if group.get(name):
            return group[name][0]
    return None


def by_position(stored: Stored, dataset: Any) -> Stored:
    """Sort the frames of a file by their places; without places they stay in their order.

    Frames that share places are times, not slices.
    """
    places = _places_of_frames(dataset, len(stored.array))
    if places is None:
        return stored
    order = order_of_frames(dataset, len(stored.array))
    if order is None:
        return stored._replace(axes=stored.axes.replace("Z", "T"))
    measures = frame_item(dataset, 0, "PixelMeasuresSequence")
    spacing = None if measures is None else measures.get("PixelSpacing")
    return stored._replace(
        array=stored.array[order],
        affine=_affine([places[index] for index in order], spacing),
    )


def order_of_frames(dataset: Any, count: int) -> NDArray[np.intp] | None:
    """Return the order of a file's frames by their places; None where these tell none."""
    places = _places_of_frames(dataset, count)
    if places is None:
        return None
    normal = np.cross(*places[0][1])
    heights = np.array([place @ normal for place, _ in places])
    order = np.argsort(heights, kind="stable")
    if len(order) > 1 and np.diff(heights[order]).min() < _SAME_MM:
        return None
    return order


def sorted_series(stored: Stored, datasets: Sequence[Any], names: Sequence[str]) -> Stored:
    """Sort the slices of a series by their places, or by their numbers where those are missing.

    Raises:
        DataError: As for `order_of_slices`.
    """
    order = order_of_slices(datasets, names)
    array = stored.array[order]
    places = [_plane(dataset, dataset) for dataset in datasets]
    if any(place is None for place in places):
        return stored._replace(array=array)
    spacing = datasets[0].get("PixelSpacing")
    return stored._replace(array=array, affine=_affine([places[index] for index in order], spacing))


def order_of_slices(datasets: Sequence[Any], names: Sequence[str]) -> NDArray[np.intp]:
    """Return the order of a series' slices by their places, or by their numbers without any.

    Raises:
        DataError: Two slices are at one place, or one seems to be missing.
    """
    places = [_plane(dataset, dataset) for dataset in datasets]
    if any(place is None for place in places):
        return _by_number(datasets)
    normal = np.cross(*places[0][1])
    heights = np.array([place @ normal for place, _ in places])
    order = np.argsort(heights, kind="stable")
    _check_even(heights[order], [names[index] for index in order])
    return order


def _places_of_frames(dataset: Any, count: int) -> list[Any] | None:
    places = [
        _plane(
            frame_item(dataset, index, "PlanePositionSequence"),
            frame_item(dataset, index, "PlaneOrientationSequence"),
        )
        for index in range(count)
    ]
    return None if any(place is None for place in places) else places


def _plane(position: Any, orientation: Any) -> Any:
    """Return the place of the first pixel and the directions along a row and a column; or None."""
    if position is None or orientation is None:
        return None
    place = position.get("ImagePositionPatient")
    directions = orientation.get("ImageOrientationPatient")
    if not place or not directions:
        return None
    return np.array(place, np.float64), np.array(directions, np.float64).reshape(2, 3)


def _by_number(datasets: Sequence[Any]) -> NDArray[np.intp]:
    numbers = [dataset.get("InstanceNumber") for dataset in datasets]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise DataError(
            "Its files have neither places nor different numbers; the order of its slices cannot "
            "be told."
        )
    return np.argsort(np.array(numbers, np.int64))


def _check_even(heights: NDArray[np.float64], names: Sequence[str]) -> None:
    gaps = np.diff(heights)
    if len(gaps) == 0:
        return
    usual = float(np.median(gaps))
    first, widest = int(np.argmin(gaps)), int(np.argmax(gaps))
    if gaps[first] < _SAME_MM:
        raise DataError(
            f"{names[first]} and {names[first + 1]} lie at the same place; keep one volume (one "
            "time, one reconstruction) in a folder."
        )
    if gaps[widest] - usual > _UNEVEN * usual or usual - gaps[first] > _UNEVEN * usual:
        raise DataError(
            f"Its slices lie {gaps.min():g} to {gaps.max():g} mm apart, the widest between "
            f"{names[widest]} and {names[widest + 1]}: some seem to be missing. Complete the "
            "series, or resample it."
        )


def _affine(places: Sequence[Any], spacing: Any) -> NDArray[np.float64] | None:
    """Return the affine of slices in order; None where the pixels' size is not said."""
    if not spacing:
        return None
    (first, axes), (last, _) = places[0], places[-1]
    step = (last - first) / (len(places) - 1) if len(places) > 1 else np.cross(*axes)
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * float(spacing[1])
    affine[:3, 1] = axes[1] * float(spacing[0])
    affine[:3, 2] = step
    affine[:3, 3] = first
    return _LPS_TO_RAS @ affine
