"""Running a session with inputs and outputs that stay on the device.

The arrays of torch and CuPy travel without a copy, by DLPack. ONNX Runtime computes on a stream of
its own and waits for it before a run returns, but knows nothing of the libraries' streams: theirs
are waited for before each run, so that an input is finished, and so that nothing still reads an
output whose memory ONNX Runtime uses again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_torch_array

from pladapt.onnx.runtime import onnxruntime

if TYPE_CHECKING:
    from pladapt.types import Array

Library: TypeAlias = Literal["numpy", "torch", "cupy"]
"""What holds an array: numpy on the host, the others on the device."""

_DLPACK_KINDS: Final = {"cpu": 1, "cuda": 2}
_NO_GRAPH: Final = "-1"


@dataclass(frozen=True)
class Device:
    """Where a session's inputs and outputs are: ``cpu`` or ``cuda``, and its number."""

    kind: str
    index: int = 0

    def holds(self, array: Array) -> bool:
        """Tell whether an array of torch or CuPy is on this very device."""
        if library_of(array) == "numpy":
            return False
        return tuple(map(int, array.__dlpack_device__())) == (_DLPACK_KINDS[self.kind], self.index)


def library_of(array: Array) -> Library:
    """Return ``torch`` or ``cupy`` for their arrays, and ``numpy`` for those of any other."""
    if is_torch_array(array):
        return "torch"
    return "cupy" if is_cupy_array(array) else "numpy"


@cache
def device_library(preferred: Library) -> Library:
    """Return what can hold results on a CUDA device: the preferred one, CuPy, torch, or numpy."""
    candidates: tuple[Library, ...] = (preferred, "cupy", "torch")
    return next((name for name in candidates if _reaches_cuda(name)), "numpy")


def _reaches_cuda(library: Library) -> bool:
    if library == "numpy" or find_spec(library) is None:
        return False
    return bool(import_module(library).cuda.is_available())


@dataclass(frozen=True)
class _Captured:
    """The fixed buffers of one shape, and the run option that names its CUDA graph."""

    binding: onnxruntime.IOBinding
    images: onnxruntime.OrtValue
    result: onnxruntime.OrtValue
    options: onnxruntime.RunOptions


@dataclass(eq=False)
class BoundSession:
    """Runs a session by IO binding.

    Args:
        session: With one input, of which the first output is wanted.
        device: Where inputs and outputs are.
        cuda_graph: Whether the session records CUDA graphs: each shape then has its own buffers,
            and the first run of a shape records.
    """

    session: onnxruntime.InferenceSession
    device: Device
    cuda_graph: bool = False
    _captured: dict[tuple[int, ...], _Captured] = field(default_factory=dict, init=False)

    def run(self, images: Array, library: Library) -> Array:
        """Return the first output for a batch, as an array of ``library``.

        Args:
            images: ``(B, C, *S)`` of the input's type, in C order: numpy, or torch or CuPy on the
                device.
            library: numpy for a result on the host; torch or CuPy for one on the device.
        """
        self._wait(library_of(images), library)
        if self.cuda_graph:
            return self._replay(images, library)
        result = self._run(self._value(images), onnxruntime.RunOptions())
        return result.numpy() if library == "numpy" else import_module(library).from_dlpack(result)

    def _run(
        self, images: onnxruntime.OrtValue, options: onnxruntime.RunOptions
    ) -> onnxruntime.OrtValue:
        binding = self._binding(images)
        name = self.session.get_outputs()[0].name
        binding.bind_output(name, self.device.kind, self.device.index)
        self.session.run_with_iobinding(binding, options)
        return binding.get_outputs()[0]

    def _binding(self, images: onnxruntime.OrtValue) -> onnxruntime.IOBinding:
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(self.session.get_inputs()[0].name, images)
        return binding

    def _value(self, images: Array) -> onnxruntime.OrtValue:
        if library_of(images) == "numpy":
            where = (self.device.kind, self.device.index)
            return onnxruntime.OrtValue.ortvalue_from_numpy(images, *where)
        return onnxruntime.OrtValue.from_dlpack(images)

    def _replay(self, images: Array, library: Library) -> Array:
        shape = tuple(images.shape)
        if shape not in self._captured:
            self._captured[shape] = self._capture(images)
        fixed, source = self._captured[shape], library_of(images)
        if source == "numpy":
            fixed.images.update_inplace(images)
        else:
            import_module(source).from_dlpack(fixed.images)[...] = images
            self._wait(source)
        self.session.run_with_iobinding(fixed.binding, fixed.options)
        if library == "numpy":
            return fixed.result.numpy().copy()  # on the host it may be the buffer itself
        view = import_module(library).from_dlpack(fixed.result)
        return array_namespace(view).asarray(view, copy=True)  # before the next replay

    def _capture(self, images: Array) -> _Captured:
        """Make the buffers of a shape; a run without a graph tells the output's."""
        example = self._run(self._value(images), _graph(_NO_GRAPH))
        given = self._allocate(images.shape, self.session.get_inputs()[0].type)
        made = self._allocate(example.shape(), example.data_type())
        binding = self._binding(given)
        binding.bind_ortvalue_output(self.session.get_outputs()[0].name, made)
        return _Captured(binding, given, made, _graph(str(len(self._captured) + 1)))

    def _allocate(self, shape: tuple[int, ...], element: str) -> onnxruntime.OrtValue:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            list(shape), element_type(element), self.device.kind, self.device.index
        )

    def _wait(self, *libraries: Library) -> None:
        """Wait until the libraries that share memory with ONNX Runtime have nothing under way."""
        if self.device.kind != "cuda":
            return
        for name in sorted({*libraries} - {"numpy"}):
            cuda = import_module(name).cuda
            stream = cuda.current_stream if name == "torch" else cuda.get_current_stream
            stream().synchronize()


def in_c_order(images: Array) -> Array:
    """Return an array of torch or CuPy laid out as ONNX Runtime reads memory."""
    if library_of(images) == "torch":
        return images.detach().contiguous()
    return import_module("cupy").ascontiguousarray(images)


def element_type(name: str) -> type[np.floating[Any]]:
    """Return numpy's type for ONNX Runtime's name of one of the two that models take."""
    return np.float16 if name == "tensor(float16)" else np.float32


def _graph(name: str) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", name)
    return options
