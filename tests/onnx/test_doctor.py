from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from pladapt import InputError
from pladapt.cli.application import application
from pladapt.onnx import diagnosis, probe, providers, wheels
from pladapt.plugins.manager import PluginManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx

without_gpu = pytest.mark.skipif(providers.driver_trouble() is None, reason="there is a GPU")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(application(PluginManager()), list(arguments))


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Why each device does not work, for a test to fill in; the wheel has all of them."""
    told: dict[str, str | None] = {"cpu": None, "cuda": None, "tensorrt": None}
    monkeypatch.setattr(providers, "built_for", lambda: list(probe.DEVICES.values()))
    monkeypatch.setattr(providers, "driver_trouble", lambda: None)
    monkeypatch.setattr(diagnosis, "probe", told.__getitem__)
    return told


def test_the_probe_is_the_model_that_it_says_it_is() -> None:
    model = onnx.load_from_string(probe.MODEL)
    onnx.checker.check_model(model, full_check=True)
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 2, 2]) for n in "xy"]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [2.0])
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    expected = helper.make_graph(nodes, "probe", ports[:1], ports[1:], [weight])
    model.graph.initializer[0].CopyFrom(weight)  # floats as such or as bytes
    assert model.graph == expected


def test_the_cpu_is_found_to_work() -> None:
    assert probe.probe("cpu") is None


@without_gpu
def test_a_gpu_is_found_not_to_work() -> None:
    assert "onnxruntime" in str(probe.probe("cuda")) or "driver" in str(probe.probe("cuda"))


def test_a_probe_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    died = subprocess.CompletedProcess([], -11, "", "Segmentation fault")
    monkeypatch.setattr(probe.subprocess, "run", lambda *a, **k: died)
    assert probe.probe("cuda") == "it ended with status -11: Segmentation fault"


def test_a_probe_that_hangs_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*arguments: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("probe", 1)

    monkeypatch.setattr(probe.subprocess, "run", hang)
    assert "did not end" in str(probe.probe("cuda"))


def test_a_provider_that_computes_nonsense_does_not_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probe, "MODEL", probe.MODEL.replace(b"\x00\x00\x00@", b"\x00\x00\x80?"))
    assert probe.compute("cpu") == 1
    assert "it computed" in capsys.readouterr().out


@without_gpu
def test_the_doctor_finds_what_works_here() -> None:
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    for told in ("pladapt 0", "Python 3", "numpy", "NVIDIA GPU: there is no NVIDIA driver"):
        assert told in result.output
    assert "computes on: cpu." in result.output


@without_gpu
def test_a_device_that_must_work_and_does_not_is_a_problem() -> None:
    result = invoke("doctor", "--require", "cuda", "--require", "cpu")
    assert result.exit_code == 1
    assert "Problem:" in result.output
    assert "onnx-gpu" in result.output or "driver" in result.output


def test_everything_works(works: dict[str, str | None]) -> None:
    result = invoke("doctor", "--require", "tensorrt")
    assert result.exit_code == 0, result.output
    assert "computes on: cpu, cuda, tensorrt." in result.output
    assert "NVIDIA GPU: visible" in result.output


def test_a_visible_gpu_that_the_runtime_cannot_use_is_a_problem(
    works: dict[str, str | None],
) -> None:
    works |= {"cuda": "libx is not found", "tensorrt": "libnvinfer is not found"}
    found = diagnosis.diagnose()
    assert found.problems == ["cuda does not work: libx is not found"]
    assert "tensorrt does not work" in diagnosis.diagnose(("tensorrt",)).problems[1]


def test_both_distributions_are_a_problem(
    works: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "version", lambda name: "1.31.1")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "are both installed" in result.output


def test_no_runtime_is_no_problem_unless_it_is_required() -> None:
    program = """
import sys
sys.modules["onnxruntime"] = None
from typer.testing import CliRunner
from pladapt.onnx import diagnosis, wheels
from pladapt.cli.application import application
diagnosis.installed_wheels = dict
for arguments in (["doctor"], ["doctor", "--require", "cuda"]):
    result = CliRunner().invoke(application(), arguments)
    print(result.exit_code, result.output)
"""
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    plain, required = said.split("\n1 pladapt")
    assert plain.startswith("0 pladapt")
    assert "ONNX Runtime is not installed. Run: pip install" in plain
    assert "built for cuda" in required
    assert "pip install 'pladapt[onnx-gpu]'" in required


def test_an_unknown_device_is_refused() -> None:
    assert isinstance(invoke("doctor", "--require", "gpu").exception, InputError)


def test_help_waits_for_no_framework() -> None:
    program = """
import sys
from pladapt.cli.application import application
application()
print(sorted({"torch", "onnx", "onnxruntime", "lightning"} & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"


MODEL_MODULE = """
from torch import nn

def build(classes=1, bias=True):
    return nn.Conv2d(1, classes, 3, padding=1, bias=bias)

def nothing():
    return None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_networks.py").write_text(MODEL_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return tmp_path


def test_a_model_is_exported_from_the_command_line(
    own_module: Path, images: Callable[..., Any]
) -> None:
    from torch import nn

    from pladapt.onnx import OnnxPredictor
    from pladapt.torch import TorchPredictor, save_module

    module = nn.Conv2d(1, 2, 3, padding=1, bias=False)
    save_module(module, own_module / "weights.safetensors")
    result = invoke(
        *("onnx", "export", "own_networks:build", "out.onnx", "--weights", "weights.safetensors"),
        *("--argument", "classes=2", "--argument", "bias=false", "--example", "1,8,12"),
        *("--multiple-of", "4", "--normalisation", "none"),
    )
    assert result.exit_code == 0, result.output
    assert "Largest difference from torch:" in result.output
    made = OnnxPredictor(own_module / "out.onnx", device="cpu")
    assert made.contract.normalisation == "none"
    expected = TorchPredictor(module, device="cpu").predict(images())
    assert abs(made.predict(images()) - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("factory", "more", "told"),
    [
        ("own_networks:absent", (), "makes no network"),
        ("no_such_module:build", (), "makes no network"),
        ("own_networks:build", ("--argument", "colour=1"), "makes no network"),
        ("own_networks:build", ("--argument", "classes"), "has no '='"),
        ("own_networks:nothing", (), "made a NoneType"),
        ("own_networks:build", ("--example", "1x8"), "such as 1,512,512"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("own_module")
def test_what_makes_no_module_is_refused(factory: str, more: tuple[str, ...], told: str) -> None:
    given = ("--example", "1,8,8", *more)
    result = invoke("onnx", "export", factory, "out.onnx", *given)
    assert isinstance(result.exception, InputError)
    assert told in str(result.exception)
