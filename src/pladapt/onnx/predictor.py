"""A predictor that runs an ONNX file, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.onnx.binding import (
    BoundSession,
    Device,
    device_library,
    element_type,
    in_c_order,
    library_of,
)
from pladapt.onnx.contract import Contract
from pladapt.onnx.output import Reading, check_logits, check_probabilities
from pladapt.onnx.providers import (
    CUDA,
    TENSORRT,
    Acceleration,
    parse_device,
    provider_chain,
)
from pladapt.onnx.session import check_options, open_session, ports

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pladapt.onnx.binding import Library
    from pladapt.onnx.output import Activation
    from pladapt.onnx.providers import Provider
    from pladapt.types import Array


class OnnxPredictor:
    """Predicts with an ONNX file: one input ``(B, C, *S)``, and one output that counts.

    Images whose size is no multiple that the model takes are padded with their edges, and the
    result is cropped.

    The file says what its images must be (`Contract`) if `export` made it. Of a file made elsewhere
    the shape of its input is known, and its output is taken for probabilities unless ``activation``
    or ``contract`` says otherwise; the first prediction shows whether they are.

    Args:
        path: The file.
        device: ``auto`` (CUDA where a GPU is visible and ONNX Runtime was built for it, else the
            CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``tensorrt``.
        providers: ONNX Runtime's own list of providers, the wanted one first, in place of what
            ``device`` stands for; each a name, or a name and its options.
        batch_size: Images that go through the network at once; None for all that are given.
        allow_cpu: Compute on the CPU where the device asked for does not work.
        threads: Of one operator on the CPU; None for OMP_NUM_THREADS if it is set, else the cores
            that the process may use.
        tf32: Let CUDA round the factors of its products to TF32.
        fp16: Let TensorRT compute in half precision. For CUDA export with ``precision="fp16"``.
        cuda_graph: Record the kernels once per shape and replay them; the last batch is padded to
            ``batch_size``, which must be given.
        tensorrt_cache: A folder that keeps TensorRT's engines between processes.
        contract: What the images must be and the output is, in place of what the file says; or its
            values by name.
        activation: What makes probabilities of the output: ``none`` if they are some, ``sigmoid``
            or ``softmax`` of logits, or ``auto``, a sigmoid for one channel, else a softmax. By
            default what the contract says: none, or ``auto`` for logits.
        output: The output's name or place, where the file has several.
        channel: The only channel of the output to use, from 0: for classes that overlap, one at a
            time.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed (when the module is imported).
        MissingDataError: There is no such file.
        DataError: The file is truncated, no ONNX model, or maps no images to a prediction.
        DeviceError: The device asked for does not work here; says why. ONNX Runtime by itself
            would compute on the CPU.
        InputError: An option is not one of those above, or the file has several outputs that may be
            the prediction.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        providers: Literal["auto"] | Sequence[str | tuple[str, Mapping[str, Any]]] = "auto",
        batch_size: int | None = None,
        allow_cpu: bool = False,
        threads: int | None = None,
        tf32: bool = False,
        fp16: bool = False,
        cuda_graph: bool = False,
        tensorrt_cache: Path | None = None,
        contract: Contract | Mapping[str, Any] | None = None,
        activation: Activation | None = None,
        output: str | int | None = None,
        channel: int | None = None,
    ) -> None:
        check_options(batch_size, threads)
        how = Acceleration(
            tf32=tf32, fp16=fp16, cuda_graph=cuda_graph, tensorrt_cache=tensorrt_cache
        )
        chain = _chain(device, providers, how, batch_size)
        self.path = Path(path)
        self._session = open_session(self.path, chain, allow_cpu=allow_cpu, threads=threads)
        self._how, self._batch_size = how, batch_size
        self._input, self._output = ports(self._session, self.path, output)
        found = Contract.from_metadata(self._session.get_modelmeta().custom_metadata_map, self.path)
        self.contract = Contract.of(contract) or found or Contract()
        told: Activation = "auto" if self.contract.output == "logits" else "none"
        self._reading = Reading(activation=activation or told, channel=channel)
        self._asked = activation
        self._named = None if output is None else self._output.name
        self._seen = False
        with self.path.open("rb") as file:
            self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._bound = self._bind(dict(chain))

    @property
    def provider(self) -> str:
        """The execution provider that computes, such as ``CUDAExecutionProvider``."""
        return str(self._session.get_providers()[0])

    def predict(self, images: Array, /) -> Array:
        """Return the probabilities ``(B, K, *S)`` in float32.

        On the CPU they are an array of the images' library. On a GPU they stay there: an array of
        the images' library if that is torch or CuPy, of CuPy or torch (whichever is installed) for
        images in numpy, and numpy on the host where neither is.

        Args:
            images: ``(B, C, *S)``, floating point, of any array library.

        Raises:
            InputError: The images' shape or type is not what the model expects.
            OutputError: The output is taken for probabilities and is none, or has classes that
                overlap.
        """
        output = self.run(images)
        probabilities = self._reading.probabilities(output)
        if not self._seen and self._reading.activation == "none":
            check_probabilities(probabilities)
        if not self._seen and self._asked == "auto":
            check_logits(output)
        self._seen = True
        return probabilities

    def run(self, images: Array, /) -> Array:
        """Return the output ``(B, K, *S)`` in float32 as the file gives it; else as `predict`.

        Args:
            images: As for `predict`.

        Raises:
            InputError: The images' shape or type is not what the model expects.
        """
        library, ready = self._library(images), self._ready(images)
        parts = [self._predict(part, library) for part in self._parts(ready)]
        result = parts[0] if len(parts) == 1 else array_namespace(parts[0]).concat(parts)
        _check_size(result.shape, ready.shape)
        result = _cropped(result, images.shape)
        if is_numpy_array(result) and not is_numpy_array(images):
            return array_namespace(images).from_dlpack(result)
        return result

    def feed(self, images: Array) -> dict[str, Array]:
        """Return images as ONNX Runtime takes them: their input's name, and the checked array.

        Raises:
            InputError: As for `predict`.
        """
        return {self._input.name: self._ready(images)}

    def describe(self) -> dict[str, Any]:
        """Return what the probabilities depend on, for a run's manifest.

        The size of the batches is not part of it, so that a run may go on with another.
        """
        rounding = {
            "tf32": self._how.tf32 and self.provider == CUDA,
            "fp16": self._how.fp16 and self.provider == TENSORRT,
        }
        return {
            "sha256": self._sha256,
            "provider": self.provider,
            "precision": "+".join(
                [self.contract.precision, *(k for k, v in rounding.items() if v)]
            ),
            "output": "probabilities" if self._reading.activation == "none" else "logits",
            **self._reading.describe(),
            **({} if self._named is None else {"port": self._named}),
        }

    def _bind(self, options: Mapping[str, Mapping[str, Any]]) -> BoundSession | None:
        """Return what keeps arrays on the GPU, or None where the session is not on one."""
        if self.provider not in (CUDA, TENSORRT):
            return None
        index = int(options.get(self.provider, {}).get("device_id", 0))
        return BoundSession(self._session, Device("cuda", index), self._how.cuda_graph)

    def _ready(self, images: Array) -> Array:
        """Return checked images as the session reads them: on its device, or as numpy."""
        _check_floats(images)
        images = self._bordered(images)
        self.contract.check(images.shape, self._input.shape)
        dtype = element_type(self._input.type)
        xp = array_namespace(images)
        cast = xp.astype(images, getattr(xp, dtype.__name__), copy=False)
        if self._bound is not None and self._bound.device.holds(cast):
            return in_c_order(cast)
        return np.require(to_numpy(cast), dtype, "C")

    def _bordered(self, images: Array) -> Array:
        """Return images that are padded with their edges to the multiple that the model takes."""
        xp, multiple = array_namespace(images), self.contract.multiple_of
        for axis, declared in list(enumerate(self._input.shape))[2 : images.ndim]:
            length = images.shape[axis]
            lacking = 0 if isinstance(declared, int) else -length % multiple
            if lacking:
                inside = np.arange(length + lacking) - lacking // 2
                places = xp.asarray(inside.clip(0, length - 1), device=device(images))
                images = xp.take(images, places, axis=axis)
        return images

    def _parts(self, images: Array) -> Iterator[Array]:
        size = self._fixed_batch or self._batch_size or images.shape[0]
        for start in range(0, images.shape[0], size):
            yield images[start : start + size, ...]

    @property
    def _fixed_batch(self) -> int | None:
        """The number of images that every run must have, or None for any."""
        declared = self._input.shape[0]
        if isinstance(declared, int):
            return declared
        # TensorRT builds an engine for each shape, which takes minutes
        fixed = self._bound is not None and (self._how.cuda_graph or self.provider == TENSORRT)
        return self._batch_size if fixed else None

    def _predict(self, images: Array, library: Library) -> Array:
        count = images.shape[0]
        result = self._run(_padded(images, self._fixed_batch or count), library)
        xp = array_namespace(result)
        return xp.astype(result[:count, ...], xp.float32, copy=False)

    def _run(self, images: Array, library: Library) -> Array:
        if self._bound is not None:
            return self._bound.run(images, library)
        return self._session.run([self._output.name], {self._input.name: images})[0]

    def _library(self, images: Array) -> Library:
        """Return what shall hold the results for these images."""
        known = is_numpy_array(images) or library_of(images) != "numpy"
        return device_library(library_of(images)) if self._bound is not None and known else "numpy"


def _chain(
    device: str,
    providers: Literal["auto"] | Sequence[str | tuple[str, Mapping[str, Any]]],
    how: Acceleration,
    batch_size: int | None,
) -> list[Provider]:
    """Return the providers to try, and refuse options that do not fit them."""
    if providers == "auto":
        chain = provider_chain(*parse_device(device), how)
    else:
        chain = [(item, {}) if isinstance(item, str) else item for item in providers]
    if how.cuda_graph and batch_size is None:
        raise InputError("cuda_graph needs one shape for every run; give batch_size.")
    if how.fp16 and (not chain or chain[0][0] != TENSORRT):
        raise InputError(
            "fp16 is TensorRT's own rounding, and TensorRT was not asked for. Give "
            "device='tensorrt', or export the model with precision='fp16'."
        )
    return chain


def _check_floats(images: Array) -> None:
    if not array_namespace(images).isdtype(images.dtype, "real floating") or not images.shape[0]:
        raise InputError(
            f"Images have shape {tuple(images.shape)} and type {images.dtype}; expected at least "
            "one image, floating point, (batch, channel, *spatial)."
        )


def _check_size(made: tuple[int, ...], given: tuple[int, ...]) -> None:
    if tuple(made[2:]) != tuple(given[2:]):
        raise InputError(
            f"The model made {tuple(made)} of images of shape {tuple(given)}; expected their "
            "spatial shape. Give images of a size that the network keeps, often a multiple of 32."
        )


def _cropped(made: Array, given: tuple[int, ...]) -> Array:
    """Return the middle of what was made of images that were padded."""
    firsts = [(n - want) // 2 for n, want in zip(made.shape[2:], given[2:], strict=True)]
    return made[:, :, *(slice(a, a + n) for a, n in zip(firsts, given[2:], strict=True))]


def _padded(images: Array, size: int) -> Array:
    """Fill a batch up to a fixed size with zeros."""
    lacking = size - images.shape[0]
    if not lacking:
        return images
    xp = array_namespace(images)
    shape = (lacking, *images.shape[1:])
    zeros = xp.zeros(shape, dtype=images.dtype, device=device(images))
    return xp.concat([images, zeros])
