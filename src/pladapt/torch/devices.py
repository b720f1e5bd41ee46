"""Which device computes, in which precision, and how arrays reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
import torch.utils.dlpack

from pladapt.errors import DeviceError, InputError
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from pladapt.types import Array

Amp: TypeAlias = Literal["auto", "off", "float16", "bfloat16"]
"""Automatic mixed precision: what the device is good at, none, or a type by name."""


def resolve_device(name: str) -> torch.device:
    """Return the device of a name such as ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    ``auto`` is the first CUDA device if there is one, else the CPU.

    Raises:
        DeviceError: The device is not there.
        InputError: Not the name of a device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"{name!r} names no device; give 'auto', 'cpu', 'cuda' or 'cuda:1'."
        ) from error
    if device.type == "cuda":
        return _cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"The device {name!r} is not there. Give device='cpu' or 'auto'.")
    return device


def _cuda(device: torch.device) -> torch.device:
    index, count = device.index or 0, torch.cuda.device_count()
    if not torch.cuda.is_available() or index >= count:
        raise DeviceError(
            f"The device '{device}' was asked for and torch {torch.__version__} sees {count} CUDA "
            "devices here. Give device='cpu' or 'auto', or install a driver and a build of torch "
            "that fit the GPU."
        )
    return torch.device("cuda", index)


def autocast_type(amp: Amp, device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in on a device, or None for full precision.

    ``auto`` is bfloat16 on a CUDA device that computes in it, float16 on an older one, and full
    precision elsewhere: bfloat16 on a CPU without the instructions is far slower than float32.

    Raises:
        DeviceError: The device does not compute in the type that was asked for.
        InputError: Not a name of `Amp`.
    """
    if amp == "off" or (amp == "auto" and device.type != "cuda"):
        return None
    if amp == "auto":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if bf16 else torch.float16
    if amp not in ("float16", "bfloat16"):
        raise InputError(f"amp is {amp!r}; give 'auto', 'off', 'float16' or 'bfloat16'.")
    dtype: torch.dtype = getattr(torch, amp)
    if not _computes_in(dtype, device):
        raise DeviceError(
            f"The device '{device}' has no instructions for {amp}. Give amp='auto' or 'off'."
        )
    return dtype


def _computes_in(dtype: torch.dtype, device: torch.device) -> bool:
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - the only way to ask
    return False


def as_tensor(array: Array) -> torch.Tensor:
    """Return an array of any library as a tensor, where it is and without a copy if possible."""
    if isinstance(array, torch.Tensor):
        return array
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        return _from_dlpack(array)
    given = np.asarray(array)
    if given.dtype.kind not in "fiubc":
        raise InputError(
            f"An array has the type {given.dtype}, which holds no numbers; give floating point: "
            "numpy.asarray(image, numpy.float32)."
        )
    return _from_numpy(given)


def _from_dlpack(array: Any) -> torch.Tensor:
    try:
        return torch.utils.dlpack.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError):  # read-only, or a device that torch lacks
        return _from_numpy(to_numpy(array))


def _from_numpy(array: np.ndarray[Any, Any]) -> torch.Tensor:
    # torch takes no foreign byte order and no negative stride, and warns of read-only memory
    native = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(array, dtype=native, requirements=["C", "W"]))
