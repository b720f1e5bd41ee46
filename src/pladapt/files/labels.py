"""From a mask's stored values to classes, or the reason why they are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.errors import DataError
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ROUNDING: Final = 1e-3
_SHOWN: Final = 10
_WITH_ALPHA: Final = (2, 4)


def to_classes(
    array: NDArray[Any],
    labels: Sequence[int],
    ignore: int | None,
    *,
    binary: bool = False,
    lossy: bool = False,
) -> NDArray[np.uint8]:
    """Return the classes ``(Z, 1, Y, X)``: 0, then 1 to F, and 255 where ignored.

    Equal channels are one. In a bitmap, what is set is the class, whatever its value is called.

    Args:
        array: ``(Z, C, Y, X)``.
        labels: The stored values of the classes.
        ignore: The stored value of pixels to leave out, or None.
        binary: Whatever is not 0, nor ignored, is the one class.
        lossy: The values are not those that were written.

    Raises:
        DataError: A value is no label, or channels differ.
    """
    rounded = _whole(_one_channel(array, binary=binary))
    if rounded.dtype.kind == "b" and len(labels) == 1:
        return rounded.astype(np.uint8)
    classes = np.zeros(rounded.shape, np.uint8)
    known = rounded == 0
    for class_, value in [*enumerate(labels, start=1), (IGNORE, ignore)]:
        if value is not None:
            marked = rounded == value
            classes[marked] = class_
            known |= marked
    if binary:
        classes[~known] = 1
        known |= rounded > 0
    if not known.all() or (binary and lossy and len(np.unique(rounded)) > 2):  # noqa: PLR2004 - 0, 1
        raise _unknown(np.unique(rounded if known.all() else rounded[~known]), labels, lossy)
    return classes


def _one_channel(array: NDArray[Any], *, binary: bool) -> NDArray[Any]:
    if (array == array[:, :1]).all() or (array.dtype.kind == "f" and array.shape[1] == 1):
        return array[:, :1]
    if binary and array.shape[1] not in _WITH_ALPHA:
        coloured: NDArray[np.bool_] = (array != 0).any(axis=1, keepdims=True)
        return coloured
    raise DataError(
        f"The mask has {array.shape[1]} channels that differ; expected one, of labels, or equal "
        "ones. Save it as greys; or, where every colour but black is foreground and nothing is "
        "transparent, ask for that (--binary)."
    )


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise DataError("Its values include NaN or infinity, which are no labels; mend the file.")
    rounded: NDArray[Any] = np.rint(array)
    if not np.allclose(array, rounded, rtol=0, atol=_ROUNDING):
        raise DataError(
            "Its values are no labels: they are not whole. If they are probabilities, give the "
            "cut-off; if the mask was resampled, do so with its nearest neighbours."
        )
    return rounded


def _unknown(values: NDArray[Any], labels: Sequence[int], lossy: bool) -> DataError:  # noqa: FBT001
    shown = f"{values[:_SHOWN].tolist()}{' and more' if len(values) > _SHOWN else ''}"
    known = f"The mask has the values {shown}, and only 0 and {list(labels)} are known. "
    if lossy:
        return DataError(f"{known}JPEG and WebP blur labels at their borders; save it as PNG.")
    return DataError(
        f"{known}Give the classes' values as labels (--label; of a truth --truth-label), and one "
        "to leave out as ignore; or, where all but 0 is foreground, as in numbered instances, ask "
        "for that (--binary)."
    )
