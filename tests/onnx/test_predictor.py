from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import array_api_strict
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from pladapt import DataError, InputError, Prediction
from pladapt.errors import MissingDataError
from pladapt.onnx import Contract, OnnxPredictor, session
from pladapt.onnx.contract import METADATA_KEY
from pladapt.onnx.session import default_threads
from pladapt.plugins.manager import PluginManager
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.testing import PredictorContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx


class TestOnnxPredictor(PredictorContract):
    @pytest.fixture(params=[None, 2])
    def predictor(self, model: Path, request: pytest.FixtureRequest) -> OnnxPredictor:
        return OnnxPredictor(model, device="cpu", batch_size=request.param)


@pytest.fixture
def predictor(model: Path) -> OnnxPredictor:
    return OnnxPredictor(model, device="cpu")


def relu(path: Path, shape: list[Any], *, metadata: str | None = None, inputs: int = 1) -> Path:
    """Write a foreign file that computes max(x, 0), of the shape given."""
    ports = [
        helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i in range(inputs)
    ]
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("Relu", ["x0"], ["y"])], "relu", ports, [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {METADATA_KEY: metadata})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        lambda x: torch.from_numpy(x).double().requires_grad_(),
        lambda x: torch.from_numpy(x).to(memory_format=torch.channels_last),
        array_api_strict.asarray,
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: np.broadcast_to(x, x.shape),
    ],
    ids=[
        *("torch", "float64 with a gradient", "channels last", "array-api-strict", "float64"),
        *("big-endian", "negative stride", "read-only"),
    ],
)
def test_images_of_any_library_give_the_same_in_their_library(
    predictor: OnnxPredictor, images: Callable[..., Any], convert: Any
) -> None:
    given_, expected = convert(images()), predictor.predict(images())
    found = predictor.predict(given_)
    assert type(found) is type(given_)
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_bfloat16_images_are_widened(predictor: OnnxPredictor, images: Callable[..., Any]) -> None:
    coarse = torch.from_numpy(images()).bfloat16()
    assert torch.equal(predictor.predict(coarse), predictor.predict(coarse.float()))


@given(count=st.integers(1, 7), size=st.integers(1, 8))
def test_the_size_of_the_batches_changes_nothing(model: Path, count: int, size: int) -> None:
    batch = np.random.default_rng(count).normal(size=(count, 1, 4, 8)).astype(np.float32)
    whole = OnnxPredictor(model, device="cpu").predict(batch)
    parts = OnnxPredictor(model, device="cpu", batch_size=size).predict(batch)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6)


def test_a_file_of_a_fixed_batch_gets_its_last_batch_padded(tmp_path: Path) -> None:
    predictor = OnnxPredictor(relu(tmp_path / "m.onnx", [4, 1, 8, 8]), device="cpu")
    batch = np.random.default_rng(0).random((6, 1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(predictor.predict(batch), batch)


def test_the_selector_scores_what_it_predicts(
    predictor: OnnxPredictor, images: Callable[..., Any]
) -> None:
    selector = CertaintyIndexSelector(cutoff=0.1, min_pixels=1)
    scores = selector.score(Prediction(("a", "b", "c"), predictor.predict(images())))
    assert np.all(scores["score"] > 0.1)


@pytest.mark.parametrize("classes", [1, 3])
def test_logits_become_probabilities(
    net: Callable[..., Any],
    export_net: Callable[..., Any],
    images: Callable[..., Any],
    tmp_path: Path,
    classes: int,
) -> None:
    path = export_net(tmp_path / "m.onnx", net(classes), output="logits").path
    probabilities = OnnxPredictor(path, device="cpu").predict(images())
    logits = net(classes).eval()(torch.from_numpy(images())).detach()
    expected = logits.sigmoid() if classes == 1 else logits.softmax(1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_large_logits_do_not_overflow(tmp_path: Path) -> None:
    path = relu(tmp_path / "m.onnx", ["n", 1, "h", "w"])
    predictor = OnnxPredictor(path, device="cpu", contract=Contract(output="logits"))
    found = predictor.predict(np.array([0, 30, 3e4], np.float32).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(found.ravel(), [0.5, 1, 1], atol=1e-6)


def test_the_description_tells_file_and_provider(model: Path, predictor: OnnxPredictor) -> None:
    told = predictor.describe()
    assert json.loads(json.dumps(told)) == told
    assert told["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert told["provider"] == predictor.provider == "CPUExecutionProvider"
    assert told["precision"] == "fp32"
    assert OnnxPredictor(model, device="cpu", batch_size=2).describe() == told
    assert OnnxPredictor(model, device="cpu", tf32=True).describe() == told, "TF32 is CUDA's"


def test_it_is_made_by_its_name(model: Path) -> None:
    built = PluginManager().build("predictor", "onnx", path=str(model), device="cpu")
    assert isinstance(built, OnnxPredictor)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((1, 2, 8, 8), r"\(batch, 1, 4·n, 4·n\).*one channel, prepared so: zero mean"),
        ((1, 1, 0, 8), r"that have pixels"),
        ((1, 8, 8), r"\(1, 8, 8\); the model expects \(batch, 1, 4·n, 4·n\)"),
        ((1, 1, 8, 8, 8), r"4·n, 4·n\)\. Give slices \(--dimensions 2\)"),
        ((1, 3, 8, 8), r"Give images of one channel, .*\(--channels 1 where the images are grey\)"),
        ((0, 1, 8, 8), r"at least one image"),
    ],
    ids=str,
)
def test_images_that_break_the_contract_are_refused(
    predictor: OnnxPredictor, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        predictor.predict(np.zeros(shape, np.float32))


def test_a_model_with_the_channels_last_is_refused_as_such() -> None:
    with pytest.raises(InputError, match=r"takes the channels last\. Export it so that they come"):
        Contract().check((1, 3, 64, 64), ("batch", "rows", "columns", 3))
    Contract().check((1, 3, 64, 64), ("batch", 3, "rows", "columns"))
    Contract().check((1, 1, 64, 3), ("batch", 1, 64, 3))


@pytest.mark.parametrize("shape", [(1, 1, 9, 14), (2, 1, 8, 11), (1, 1, 3, 2)])
def test_images_of_any_size_are_padded_and_the_result_is_cropped(
    predictor: OnnxPredictor, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    margins = [(0, 0), (0, 0), *(((-n % 4) // 2, (-n % 4 + 1) // 2) for n in shape[2:])]
    padded = np.pad(images, margins, mode="edge")
    (top, _), (left, _) = margins[2:]
    expected = predictor.predict(padded)[:, :, top : top + shape[2], left : left + shape[3]]
    np.testing.assert_array_equal(predictor.predict(images), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.complex64])
def test_images_that_are_no_floats_are_refused(predictor: OnnxPredictor, dtype: Any) -> None:
    with pytest.raises(InputError, match="floating point"):
        predictor.predict(np.zeros((1, 1, 8, 8), dtype))


def test_a_foreign_file_is_taken_by_the_shape_of_its_input(tmp_path: Path) -> None:
    predictor = OnnxPredictor(relu(tmp_path / "m.onnx", ["n", 2, 8, "w"]), device="cpu")
    assert predictor.contract == Contract()
    one = np.random.default_rng(0).random((3, 1, 8, 5)).astype(np.float32)
    batch = np.concatenate([one, 1 - one], 1)
    np.testing.assert_array_equal(predictor.predict(batch), batch)
    for shape in ((3, 1, 8, 5), (3, 2, 7, 5)):
        with pytest.raises(InputError, match=r"\(batch, 2, 8, any\)"):
            predictor.predict(np.zeros(shape, np.float32))


def test_a_network_that_changes_the_size_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, f"{name}h", f"{name}w"])
        for name in "xy"
    ]
    graph = helper.make_graph(nodes, "pool", ports[:1], ports[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    predictor = OnnxPredictor(tmp_path / "m.onnx", device="cpu")
    with pytest.raises(InputError, match=r"made \(1, 1, 4, 4\) of images of shape \(1, 1, 8, 8\)"):
        predictor.predict(np.zeros((1, 1, 8, 8), np.float32))


@pytest.mark.parametrize("content", ["half", "nothing", "text"])
def test_a_file_that_is_no_whole_model_is_said_to_be_so(
    model: Path, tmp_path: Path, content: str
) -> None:
    whole = model.read_bytes()
    path = tmp_path / "broken.onnx"
    path.write_bytes({"half": whole[: len(whole) // 2], "nothing": b"", "text": b"model"}[content])
    with pytest.raises(DataError, match=r"broken.onnx cannot be loaded.*truncated"):
        OnnxPredictor(path, device="cpu")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no ONNX file .*m\.onnx"):
        OnnxPredictor(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("shape", "inputs"), [(["n", 2], 1), (["n", 1, 8, 8], 2)], ids=["a vector", "two inputs"]
)
def test_a_model_of_something_else_is_refused(
    tmp_path: Path, shape: list[Any], inputs: int
) -> None:
    path = relu(tmp_path / "m.onnx", shape, inputs=inputs)
    with pytest.raises(DataError, match="expected one input"):
        OnnxPredictor(path, device="cpu")


@pytest.mark.parametrize("metadata", ["{", "[1]", '{"channels": 0}', '{"output": "masks"}'])
def test_a_contract_that_cannot_be_read_is_refused(tmp_path: Path, metadata: str) -> None:
    path = relu(tmp_path / "m.onnx", ["n", 1, 8, 8], metadata=metadata)
    with pytest.raises(DataError, match="contract"):
        OnnxPredictor(path, device="cpu")


def test_a_contract_of_a_later_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    metadata = json.dumps({"channels": 1, "spacing": 0.7})
    path = relu(tmp_path / "m.onnx", ["n", 1, 8, 8], metadata=metadata)
    assert OnnxPredictor(path, device="cpu").contract.channels == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"device": "abacus"}, "'abacus' names no device"),
        ({"device": "cuda:x"}, "'cuda:x' names no device"),
        ({"cuda_graph": True}, "give batch_size"),
        ({"fp16": True}, "precision='fp16'"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused(
    model: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        OnnxPredictor(model, **{"device": "cpu"} | options)


def test_threads_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert default_threads() == 2


def test_threads_reach_the_session(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Recorded(onnxruntime.InferenceSession):
        def __init__(self, path: Any, options: Any, **more: Any) -> None:
            seen.append((options.intra_op_num_threads, options.inter_op_num_threads))
            super().__init__(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recorded)
    OnnxPredictor(model, device="cpu", threads=1)
    assert seen == [(1, 1)]


def test_predicting_imports_no_torch(model: Path) -> None:
    program = f"""
import sys, numpy
from pladapt.onnx import OnnxPredictor
found = OnnxPredictor({str(model)!r}).predict(numpy.zeros((1, 1, 8, 8), numpy.float32))
assert found.shape == (1, 1, 8, 8)
print(sorted({{"torch", "onnx", "onnxscript", "lightning"}} & sys.modules.keys()))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert run.stderr == ""
    assert run.stdout.strip() == "[]"


def test_the_file_may_go_once_it_is_loaded(
    model: Path, images: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    shutil.copy(model, path)
    predictor = OnnxPredictor(path, device="cpu")
    told = predictor.describe()
    path.unlink()
    assert predictor.describe() == told
    assert predictor.predict(images()).shape == (3, 1, 8, 12)
