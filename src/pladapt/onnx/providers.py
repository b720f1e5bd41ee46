"""Which execution provider computes, and why one that was asked for does not.

ONNX Runtime lists the providers that it was built with, whether or not they work here, and falls
back to the CPU without an exception. So what a session really uses is looked at afterwards, and the
reason is sought in the libraries and the driver.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pladapt.errors import InputError
from pladapt.onnx.runtime import onnxruntime
from pladapt.onnx.wheels import REINSTALL, conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

Provider: TypeAlias = "tuple[str, Mapping[str, Any]]"

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"

_BRINGS: Final = {
    "libcublas": "pip install 'nvidia-cublas~=13.0'",
    "libcublasLt": "pip install 'nvidia-cublas~=13.0'",
    "libcuda": "install the NVIDIA driver",
    "libcudart": "pip install 'nvidia-cuda-runtime~=13.0'",
    "libcudnn": "pip install 'nvidia-cudnn-cu13~=9.0'",
    "libcurand": "pip install 'nvidia-curand~=10.0'",
    "libnvinfer": "pip install 'tensorrt-cu13<11'",
    "libnvonnxparser": "pip install 'tensorrt-cu13<11'",
}


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """How a GPU computes.

    Args:
        tf32: Round the factors of convolutions and matrix products to TF32, where the GPU has it.
        fp16: Let TensorRT compute in half precision.
        cuda_graph: Record the network's kernels once per shape and replay them.
        tensorrt_cache: A folder that keeps TensorRT's engines, which take minutes to build.
    """

    tf32: bool = False
    fp16: bool = False
    cuda_graph: bool = False
    tensorrt_cache: Path | None = None


def parse_device(device: str) -> tuple[str, int]:
    """Return the kind of device, ``cpu``, ``cuda`` or ``tensorrt``, and its number.

    ``auto`` is CUDA where a GPU is visible and the installed ONNX Runtime was built for it, else
    the CPU.

    Raises:
        InputError: Not the name of a device.
    """
    if device == "auto":
        built = CUDA in built_for()
        return ("cuda", 0) if built and not driver_trouble() else ("cpu", 0)
    match = re.fullmatch(r"(cpu)|(cuda|tensorrt)(?::(\d+))?", device)
    if match is None:
        raise InputError(
            f"{device!r} names no device; give 'auto', 'cpu', 'cuda', 'cuda:1' or 'tensorrt'."
        )
    return match[1] or match[2], int(match[3] or 0)


def provider_chain(kind: str, index: int, how: Acceleration) -> list[Provider]:
    """Return the providers to try, in order, with ONNX Runtime's options for them."""
    cpu: Provider = (CPU, {})
    if kind == "cpu":
        return [cpu]
    cuda: Provider = (CUDA, {"device_id": index, "use_tf32": int(how.tf32)})
    if kind == "cuda":
        return [(CUDA, {**cuda[1], "enable_cuda_graph": int(how.cuda_graph)}), cpu]
    return [(TENSORRT, _tensorrt_options(index, how)), cuda, cpu]


def _tensorrt_options(index: int, how: Acceleration) -> dict[str, Any]:
    options: dict[str, Any] = {
        "device_id": index,
        "trt_fp16_enable": how.fp16,
        "trt_cuda_graph_enable": how.cuda_graph,
    }
    if how.tensorrt_cache is not None:
        folder = str(how.tensorrt_cache)
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": True, "trt_timing_cache_path": folder}
    return options


def preload() -> None:
    """Load the CUDA libraries of NVIDIA's wheels; ONNX Runtime does not do so by itself."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()


def built_for() -> list[str]:
    """Return the providers that the installed ONNX Runtime has, whether they work or not."""
    return list(onnxruntime.get_available_providers())


def cuda_libraries() -> list[str]:
    """Return the libraries that the CUDA and TensorRT providers load on Linux."""
    major = str(onnxruntime.cuda_version).partition(".")[0]
    versions = {"cudart": major, "cublas": major, "cublasLt": major, "curand": "10", "cudnn": "9"}
    return ["libcuda.so.1", *(f"lib{k}.so.{v}" for k, v in versions.items()), "libnvinfer.so.10"]


def driver_trouble() -> str | None:
    """Say why no NVIDIA GPU can be used by any program here, or return None."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError as error:
        return f"there is no NVIDIA driver ({error})"
    count = ctypes.c_int(0)
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        return f"the NVIDIA driver shows no GPU (code {code}, {count.value} devices)"
    return None


def trouble(provider: str) -> list[str]:
    """Return what keeps a provider from working, as far as can be found; empty if nothing is."""
    available = built_for()
    if provider not in available:
        return [f"the installed onnxruntime has {', '.join(available)} alone: {REINSTALL}"]
    if provider not in (CUDA, TENSORRT):
        return []
    found = [conflict(), driver_trouble(), missing_library(provider)]
    return [reason for reason in found if reason]


def missing_library(provider: str) -> str | None:
    """Say which library the provider's own lacks and what brings it, or return None (Linux)."""
    if sys.platform != "linux":
        return None
    preload()
    short = provider.removesuffix("ExecutionProvider").lower()
    path = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{short}.so"
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return explain_library(str(error))
    return None


def explain_library(error: str) -> str | None:
    """Say what brings the library that a loader's message misses; None for another message."""
    match = re.match(r"((lib\w+)\S*): cannot open shared object file", error)
    if match is None:
        return None  # symbols that ONNX Runtime itself provides, when it loads the library
    return f"{match[1]} is not found: {_BRINGS.get(match[2], 'install it')}"
