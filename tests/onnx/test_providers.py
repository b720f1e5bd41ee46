"""A GPU that is asked for and not got, on machines without one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from pladapt import DataError, InputError
from pladapt.errors import DeviceError
from pladapt.onnx import OnnxPredictor, providers, session, wheels
from pladapt.onnx.providers import CPU, CUDA, TENSORRT, Acceleration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx

without_gpu = pytest.mark.skipif(providers.driver_trouble() is None, reason="there is a GPU")
DEVICES = {"cuda": CUDA, "tensorrt": TENSORRT}


class Fallback:
    """A session that computes on the CPU whatever was asked for, as ONNX Runtime does."""

    config: Any = None

    def __init__(self, path: Any, options: Any, *, providers: Any, **more: Any) -> None:
        type(self).config = providers
        self._session = REAL(path, options, providers=[CPU])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


REAL = onnxruntime.InferenceSession


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime list CUDA and TensorRT and choose the CPU, which it does without a word."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallback)


@pytest.fixture
def cpu_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if (found := versions.get(name.replace("-", "_"))) is None:
            raise wheels.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(wheels, "version", version)


@without_gpu
@pytest.mark.parametrize("device", DEVICES)
def test_a_gpu_that_is_not_there_is_an_error_that_says_why(
    model: Path, gpu_wheel: None, device: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        OnnxPredictor(model, device=device)
    for told in (DEVICES[device], "no NVIDIA driver", "allow_cpu=True", "pladapt doctor"):
        assert told in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


@without_gpu
@pytest.mark.parametrize("device", DEVICES)
def test_the_installed_runtime_says_why_too(model: Path, device: str) -> None:
    with pytest.raises(DeviceError, match=rf"{DEVICES[device]} was asked for and does not work"):
        OnnxPredictor(model, device=device)


@without_gpu
@pytest.mark.parametrize("device", DEVICES)
def test_the_cpu_is_taken_where_it_is_allowed(
    model: Path, images: Callable[..., Any], device: str
) -> None:
    predictor = OnnxPredictor(model, device=device, allow_cpu=True, batch_size=2)
    assert predictor.provider == CPU
    assert predictor.describe()["provider"] == CPU
    expected = OnnxPredictor(model, device="cpu").predict(images())
    np.testing.assert_allclose(predictor.predict(images()), expected, atol=1e-6)


@without_gpu
@pytest.mark.usefixtures("gpu_wheel")
def test_auto_is_the_cpu_where_no_gpu_is_visible(model: Path) -> None:
    assert OnnxPredictor(model).provider == CPU
    assert [name for name, _ in Fallback.config] == [CPU]


@pytest.mark.usefixtures("gpu_wheel")
def test_auto_asks_for_a_gpu_that_is_visible(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "driver_trouble", lambda: None)
    monkeypatch.setattr(providers, "missing_library", lambda provider: "libx is not found: get it")
    with pytest.raises(DeviceError, match="libx is not found: get it"):
        OnnxPredictor(model)


@pytest.mark.usefixtures("cpu_wheel")
def test_auto_is_the_cpu_where_the_runtime_was_built_without_cuda(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "driver_trouble", lambda: None)
    assert OnnxPredictor(model).provider == CPU


@pytest.mark.usefixtures("cpu_wheel")
def test_a_runtime_without_cuda_names_the_one_with_it(model: Path) -> None:
    with pytest.raises(DeviceError, match=r"CPUExecutionProvider alone: pip uninstall.*onnx-gpu"):
        OnnxPredictor(model, device="cuda")


@without_gpu
def test_both_distributions_at_once_are_explained(
    model: Path, gpu_wheel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, onnxruntime="1.32.0", onnxruntime_gpu="1.31.1")
    assert wheels.installed_wheels() == {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}
    with pytest.raises(DeviceError) as caught:
        OnnxPredictor(model, device="cuda")
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed" in str(caught.value)
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in str(caught.value)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime_gpu"])
def test_one_distribution_is_no_conflict(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    installed(monkeypatch, **{name: "1.31.1"})
    assert wheels.conflict() is None


def test_a_broken_file_is_not_blamed_on_the_gpu(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    for device in DEVICES:
        with pytest.raises(DataError, match="cannot be loaded"):
            OnnxPredictor(tmp_path / "m.onnx", device=device)


@pytest.mark.usefixtures("gpu_wheel")
def test_the_options_of_a_gpu_reach_its_provider(model: Path, tmp_path: Path) -> None:
    how = {"allow_cpu": True, "batch_size": 2, "cuda_graph": True}
    OnnxPredictor(model, device="cuda:1", tf32=True, **how)
    chosen = dict(Fallback.config)
    assert chosen[CUDA] == {"device_id": 1, "use_tf32": 1, "enable_cuda_graph": 1}
    OnnxPredictor(model, device="tensorrt", fp16=True, tensorrt_cache=tmp_path, **how)
    chosen = dict(Fallback.config)
    assert list(chosen) == [TENSORRT, CUDA, CPU]
    assert chosen[TENSORRT]["trt_fp16_enable"]
    assert chosen[TENSORRT]["trt_cuda_graph_enable"]
    assert chosen[TENSORRT]["trt_engine_cache_path"] == str(tmp_path)
    assert chosen[CUDA] == {"device_id": 0, "use_tf32": 0}


def test_tf32_is_off_unless_it_is_asked_for() -> None:
    chain = dict(providers.provider_chain("cuda", 0, Acceleration()))
    assert chain[CUDA]["use_tf32"] == 0


def test_providers_may_be_given_as_onnx_runtime_takes_them(model: Path) -> None:
    predictor = OnnxPredictor(model, providers=[CPU])
    assert predictor.provider == CPU
    assert OnnxPredictor(model, providers=[(CPU, {})]).provider == CPU
    with pytest.raises(DeviceError, match="NoSuchExecutionProvider"):
        OnnxPredictor(model, providers=["NoSuchExecutionProvider", CPU])


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:3", ("cuda", 3)), ("tensorrt:1", None)],
)
def test_a_device_has_a_kind_and_a_number(device: str, expected: Any) -> None:
    assert providers.parse_device(device) == (expected or ("tensorrt", 1))


@pytest.mark.parametrize("device", ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "CUDA"])
def test_a_name_of_no_device_is_refused(device: str) -> None:
    with pytest.raises(InputError, match="names no device"):
        providers.parse_device(device)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
            "libcublasLt.so.13 is not found: pip install 'nvidia-cublas~=13.0'",
        ),
        (
            "libnvinfer.so.10: cannot open shared object file: No such file or directory",
            "libnvinfer.so.10 is not found: pip install 'tensorrt-cu13<11'",
        ),
        ("libodd.so: cannot open shared object file: x", "libodd.so is not found: install it"),
        ("/a/libonnxruntime_providers_cuda.so: undefined symbol: Provider_GetHost", None),
    ],
)
def test_a_loaders_message_becomes_what_to_install(said: str, told: str | None) -> None:
    assert providers.explain_library(said) == told


@pytest.mark.skipif(sys.platform != "linux", reason="other names of libraries")
def test_a_driver_that_shows_no_gpu_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """The two functions of NVIDIA's driver that count GPUs."""

        def __init__(self, count: int, code: int) -> None:
            self.count, self.code = count, code

        def cuInit(self, flags: int) -> int:  # noqa: N802 - NVIDIA's name
            return self.code

        def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802 - NVIDIA's name
            pointer._obj.value = self.count
            return 0

    for driver, told in (
        (Driver(2, 0), None),
        (Driver(0, 0), "0 devices"),
        (Driver(0, 100), "100"),
    ):
        monkeypatch.setattr(providers.ctypes, "CDLL", lambda name, found=driver: found)
        said = providers.driver_trouble()
        assert said is None if told is None else told in str(said)


def fresh(program: str) -> str:
    """Return what a program prints in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.strip()


@pytest.mark.parametrize("name", ["OnnxPredictor", "quantize", "export"])
def test_a_missing_runtime_ends_in_the_command_to_run(name: str) -> None:
    program = f"""
import sys
sys.modules["onnxruntime"] = None
try:
    from pladapt.onnx import {name}
except ModuleNotFoundError as error:
    print(type(error).__name__, error)
"""
    said = fresh(program)
    assert said.startswith("MissingDependencyError")
    assert said.endswith("pip install 'pladapt[onnx-gpu]'")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxconverter_common"])
def test_a_missing_part_of_the_exporter_ends_in_the_command_to_run(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
try:
    from pladapt.onnx import export
except ModuleNotFoundError as error:
    print(error)
"""
    assert fresh(program).endswith("pip install 'pladapt[onnx-export]'")


def test_a_runtime_that_lost_its_parts_is_explained() -> None:
    program = """
import sys
sys.modules["onnxruntime"] = type(sys)("onnxruntime")
try:
    from pladapt.onnx import OnnxPredictor
except ModuleNotFoundError as error:
    print(error)
"""
    said = fresh(program)
    assert "lost its parts" in said
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in said


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    package = importlib.import_module("pladapt.onnx")
    with pytest.raises(AttributeError, match="nonsense"):
        package.nonsense  # noqa: B018 - that is the test
    assert set(package.__all__) == set(package._HOMES)


def test_exceptions_of_the_runtime_while_opening_on_a_gpu_are_device_errors(
    model: Path, gpu_wheel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Fallback):
        def __init__(self, path: Any, options: Any, *, providers: Any, **more: Any) -> None:
            if providers[0][0] == CUDA:
                raise ValueError("CUDA failure 999")
            super().__init__(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Failing)
    with pytest.raises(DeviceError, match="CUDA failure 999"):
        OnnxPredictor(model, device="cuda")
    assert session.open_session(
        model, [(CUDA, {}), (CPU, {})], allow_cpu=True, threads=1
    ).get_providers() == [CPU]
