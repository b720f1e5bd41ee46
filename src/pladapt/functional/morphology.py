"""The pixels that lie deep inside a mask, and those near its boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from array_api_compat import array_namespace, device

from pladapt.errors import InputError

if TYPE_CHECKING:
    from pladapt.types import Array

Band: TypeAlias = int | Sequence[int]
"""How many pixels a band is wide: one number for every spatial axis, or one per axis."""


def check_band(band: Band) -> None:
    """Refuse a negative width.

    Raises:
        InputError: A width is negative.
    """
    for width in band if isinstance(band, Sequence) else (band,):
        if width < 0:
            raise InputError(f"The band is {width} pixels wide; it must not be negative.")


def eroded(masks: Array, band: Band) -> Array:
    """Return the pixels of masks that have no pixel of the outside within the band.

    The neighbourhood is a box of ``2 * band + 1`` pixels along each axis. The image's border is no
    boundary: beyond it a mask is taken to go on.

    Args:
        masks: ``(B, F, *S)``, boolean.
        band: The widths along the spatial axes, in pixels.

    Returns:
        ``(B, F, *S)``, boolean: true at most where ``masks`` is.

    Raises:
        InputError: A negative width, or another number of widths than of spatial axes.
    """
    check_band(band)
    spatial = range(2, masks.ndim)
    widths = tuple(band) if isinstance(band, Sequence) else (band,) * len(spatial)
    if len(widths) != len(spatial):
        raise InputError(
            f"The band has {len(widths)} widths for {len(spatial)} spatial axes; give one, or one "
            "an axis."
        )
    for axis, width in zip(spatial, widths, strict=True):
        whole = masks  # one axis after the other makes the box
        for offset in range(1, min(width, masks.shape[axis] - 1) + 1):
            masks = masks & _shifted(whole, offset, axis) & _shifted(whole, -offset, axis)
    return masks


def near_boundary(masks: Array, band: Band) -> Array:
    """Return the pixels within the band of a mask's boundary, on both of its sides.

    Args:
        masks: ``(B, F, *S)``, boolean.
        band: The widths along the spatial axes, in pixels; a width of 0 is no band.

    Returns:
        ``(B, F, *S)``, boolean.

    Raises:
        InputError: As for `eroded`.
    """
    return ~eroded(masks, band) & ~eroded(~masks, band)


def _shifted(masks: Array, offset: int, axis: int) -> Array:
    """Move masks along an axis; what comes in from beyond the border is true."""
    xp = array_namespace(masks)
    shape = (*masks.shape[:axis], abs(offset), *masks.shape[axis + 1 :])
    beyond = xp.ones(shape, dtype=xp.bool, device=device(masks))
    whole = (slice(None),) * axis
    if offset > 0:
        return xp.concat([beyond, masks[(*whole, slice(None, -offset), ...)]], axis=axis)
    return xp.concat([masks[(*whole, slice(-offset, None), ...)], beyond], axis=axis)
