"""The path of the GPU, run on the CPU's memory: the calls are the same, the streams are not."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch

from pladapt.onnx import OnnxPredictor, binding, predictor, providers
from pladapt.onnx.binding import BoundSession, Device, device_library, in_c_order
from pladapt.onnx.providers import CPU, CUDA, TENSORRT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx

REAL = onnxruntime.InferenceSession


class Recorder:
    """A session on the CPU that says it is on a GPU, and writes down its bound runs."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self, path: Any, options: Any, *, providers: Any, **more: Any) -> None:
        self._session = REAL(path, options, providers=[CPU])
        self._providers = [name for name, _ in providers]
        self.runs: list[dict[str, Any]] = []
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return self._providers

    def io_binding(self) -> Binding:
        return Binding(self._session)

    def run_with_iobinding(self, bound: Binding, options: Any) -> None:
        try:
            graph = options.get_run_config_entry("gpu_graph_id")
        except RuntimeError:  # it was not given
            graph = None
        self.runs.append({"graph": graph, **bound.told})
        self._session.run_with_iobinding(bound.real, options)


class Binding:
    """An IO binding that writes down what is bound."""

    device: str | None = None

    def __init__(self, session: Any) -> None:
        self.real = session.io_binding()
        self.told: dict[str, Any] = {}

    def bind_ortvalue_input(self, name: str, value: Any) -> None:
        self.told["input"] = value.data_ptr()
        self.told["shape"] = tuple(value.shape())
        self.real.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name: str, value: Any) -> None:
        self.told["output"] = value.data_ptr()
        self.real.bind_ortvalue_output(name, value)

    def bind_output(self, name: str, kind: str, index: int) -> None:
        self.told["output"] = (kind, index)
        self.real.bind_output(name, self.device or kind, index)

    def get_outputs(self) -> Any:
        return self.real.get_outputs()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a predictor believe in a GPU, whose memory is the host's."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(providers, "driver_trouble", lambda: None)
    monkeypatch.setattr(predictor, "Device", lambda kind, index: Device("cpu", 0))
    monkeypatch.setattr(predictor, "device_library", lambda preferred: "torch")


def runs() -> list[dict[str, Any]]:
    """Return what the sessions were bound to, run by run."""
    return [run for session in Recorder.made for run in session.runs]


@pytest.mark.usefixtures("gpu")
def test_images_on_the_device_are_bound_where_they_are(
    model: Path, images: Callable[..., Any]
) -> None:
    made, batch = OnnxPredictor(model), torch.from_numpy(images())
    found = made.predict(batch)
    assert made.provider == CUDA
    assert runs() == [
        {
            "graph": None,
            "input": batch.data_ptr(),
            "shape": (3, 1, 8, 12),
            "output": ("cpu", 0),
        }
    ]
    expected = OnnxPredictor(model, providers=[CPU]).predict(images())
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.usefixtures("gpu")
def test_images_on_the_host_give_results_on_the_device(
    model: Path, images: Callable[..., Any]
) -> None:
    found = OnnxPredictor(model, batch_size=2).predict(images())
    assert isinstance(found, torch.Tensor)
    assert found.shape == (3, 1, 8, 12)


@pytest.mark.usefixtures("gpu")
def test_results_are_numpy_where_nothing_else_can_hold_them(
    model: Path, images: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "device_library", lambda preferred: "numpy")
    for graph in (False, True):
        found = OnnxPredictor(model, batch_size=2, cuda_graph=graph).predict(images())
        assert type(found) is np.ndarray


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("convert", [lambda x: x, torch.from_numpy], ids=["numpy", "torch"])
def test_a_graph_has_fixed_buffers_and_a_padded_last_batch(
    model: Path, images: Callable[..., Any], convert: Any
) -> None:
    made = OnnxPredictor(model, batch_size=2, cuda_graph=True)
    batch = images(5, 1, 8, 12)
    expected = OnnxPredictor(model, providers=[CPU]).predict(batch)
    for _ in range(2):
        np.testing.assert_allclose(made.predict(convert(batch)), expected, atol=1e-6)
    first, *replays = runs()
    assert first["graph"] == "-1", "a run without a graph tells the shape of the output"
    assert [run["graph"] for run in replays] == ["1"] * 6
    assert {run["shape"] for run in replays} == {(2, 1, 8, 12)}
    assert len({(run["input"], run["output"]) for run in replays}) == 1


@pytest.mark.usefixtures("gpu")
def test_each_shape_has_a_graph_of_its_own(model: Path, images: Callable[..., Any]) -> None:
    made = OnnxPredictor(model, batch_size=1, cuda_graph=True)
    for shape in ((1, 1, 8, 12), (1, 1, 4, 4), (1, 1, 8, 12)):
        made.predict(images(*shape))
    assert [run["graph"] for run in runs()] == ["-1", "1", "-1", "2", "1"]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("device", "sizes"), [("cuda", [2, 1]), ("tensorrt", [2, 2])])
def test_tensorrt_gets_one_shape_and_cuda_what_is_left(
    model: Path, images: Callable[..., Any], device: str, sizes: list[int]
) -> None:
    made = OnnxPredictor(model, device=device, batch_size=2)
    assert made.predict(images()).shape == (3, 1, 8, 12)
    assert [run["shape"][0] for run in runs()] == sizes


@pytest.mark.usefixtures("gpu")
def test_rounding_of_the_gpu_is_in_the_description(model: Path) -> None:
    assert OnnxPredictor(model, tf32=True).describe()["precision"] == "fp32+tf32"
    made = OnnxPredictor(model, device="tensorrt", fp16=True, tf32=True)
    assert made.describe()["precision"] == "fp32+fp16"


def test_a_result_outlives_its_session(model: Path, images: Callable[..., Any]) -> None:
    session = REAL(model, providers=[CPU])
    expected = session.run(None, {"images": images()})[0]
    bound = BoundSession(session, Device("cpu"))
    found, gone = bound.run(torch.from_numpy(images()), "torch"), weakref.ref(session)
    del session, bound
    gc.collect()
    assert gone() is None
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_streams_are_waited_for_before_memory_is_shared(
    model: Path, images: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []

    class Stream:
        """A stream that tells when it is waited for."""

        def synchronize(self) -> None:
            events.append("waited")

    class Session(Recorder):
        """A session that tells when it runs."""

        def run_with_iobinding(self, bound: Any, options: Any) -> None:
            events.append("run")
            super().run_with_iobinding(bound, options)

    def on_the_host(bound: BoundSession, shape: Any, element: str) -> Any:
        dtype = binding.element_type(element)
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, "cpu", 0)

    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(BoundSession, "_allocate", on_the_host)
    monkeypatch.setattr(Binding, "device", "cpu")
    for graph, expected in ((False, ["waited", "run"]), (True, ["waited", "run", "waited", "run"])):
        events.clear()
        session = Session(model, None, providers=[(CUDA, {})])
        bound = BoundSession(session, Device("cuda"), cuda_graph=graph)
        bound.run(torch.from_numpy(images()), "torch")
        assert events == expected


def test_only_a_library_that_reaches_the_gpu_holds_results(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()
    monkeypatch.setattr(binding, "_reaches_cuda", there.__contains__)
    for names, preferred, chosen in (
        (set(), "numpy", "numpy"),
        (set(), "torch", "numpy"),
        ({"torch"}, "numpy", "torch"),
        ({"torch", "cupy"}, "numpy", "cupy"),
        ({"torch", "cupy"}, "torch", "torch"),
    ):
        device_library.cache_clear()
        there.clear()
        there.update(names)
        assert device_library(preferred) == chosen
    device_library.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_torch_without_a_gpu_does_not_reach_it() -> None:
    device_library.cache_clear()
    assert device_library("torch") == "numpy"


def test_memory_is_put_in_order_for_the_runtime() -> None:
    last = torch.zeros(2, 3, 4, 4, requires_grad=True).to(memory_format=torch.channels_last)
    ready = in_c_order(last)
    assert ready.is_contiguous()
    assert not ready.requires_grad
