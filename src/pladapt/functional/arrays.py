"""Moving arrays between libraries and devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array, to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pladapt.types import Array

_TORCH_FLOATS: Final = ("torch.float16", "torch.float32", "torch.float64")


def to_numpy(array: Array) -> NDArray[Any]:
    """Return an array of any library as a numpy array on the host, without a copy if possible.

    Types that numpy lacks become the next that it has: torch's bfloat16 becomes float32.
    """
    if isinstance(array, np.ndarray):
        return array
    if is_torch_array(array):
        host = array.detach().cpu()
        return np.asarray(host.float() if _lacking(host) else host)
    try:
        return np.from_dlpack(array)
    except (AttributeError, BufferError, RuntimeError, TypeError):
        return np.asarray(to_device(array, "cpu"))


def _lacking(tensor: Array) -> bool:
    """Tell whether numpy has no type for a tensor's floating-point values."""
    return tensor.is_floating_point() and str(tensor.dtype) not in _TORCH_FLOATS


def host_view(array: Array) -> NDArray[np.floating] | None:
    """Return a numpy view of a floating-point array in host memory, or None where there is none."""
    if is_numpy_array(array):
        view = array
    elif is_torch_array(array) and array.device.type == "cpu":
        try:
            view = np.from_dlpack(array.detach())
        except (BufferError, RuntimeError, TypeError):  # bfloat16, which numpy lacks
            return None
    else:
        return None
    return view if view.dtype.kind == "f" else None


def native_float(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the values as a contiguous array of float32, or of float64 where that would round."""
    fits = np.can_cast(array.dtype, np.float32)
    return np.ascontiguousarray(array, np.float32 if fits else np.float64)


def stack(arrays: Sequence[Array]) -> Array:
    """Stack arrays of one shape and library along a new first axis."""
    xp = array_namespace(arrays[0])
    return xp.stack(list(arrays))
