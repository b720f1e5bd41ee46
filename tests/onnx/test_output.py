"""What becomes of an ONNX file's outputs: logits, several, and classes that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.errors import InputError, OutputError
from pladapt.onnx import Contract, OnnxPredictor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.onnx


def write(path: Path, outputs: Sequence[tuple[str, str]], channels: int = 1) -> Path:
    """Write a model whose outputs are each an operator of the images."""
    shape = ["n", channels, "h", "w"]
    nodes = [
        helper.make_node(operator, ["x"], [name], **({"axis": 1} if operator == "Softmax" else {}))
        for name, operator in outputs
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("x", *(name for name, _ in outputs))
    ]
    graph = helper.make_graph(nodes, "outputs", ports[:1], ports[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path


def open_(path: Path, **options: Any) -> OnnxPredictor:
    return OnnxPredictor(path, device="cpu", **options)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_logits_are_refused_with_the_option_that_makes_probabilities(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    path, batch = write(tmp_path / "m.onnx", [("y", "Identity")]), images()
    plain = open_(path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"reaches from -.*--option activation=auto"):
            plain.predict(batch)
    for options in ({"activation": "auto"}, {"activation": "sigmoid"}, {"contract": LOGITS}):
        found = open_(path, **options).predict(batch)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, sigmoid(batch), atol=1e-6)


LOGITS = {"output": "logits"}


def test_several_channels_of_logits_are_a_softmax(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    path, batch = write(tmp_path / "m.onnx", [("y", "Identity")], 3), images(2, 3, 4, 4)
    odds = np.exp(batch)
    found = open_(path, activation="auto").predict(batch)
    np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), atol=1e-6)
    assert open_(path, contract=Contract(output="logits")).describe()["output"] == "logits"


def test_probabilities_said_to_be_logits_are_refused(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    path = write(tmp_path / "m.onnx", [("y", "Sigmoid")])
    with pytest.raises(InputError, match="probabilities already"):
        open_(path, activation="auto").predict(3 * images())
    np.testing.assert_allclose(open_(path).predict(3 * images()), sigmoid(3 * images()), atol=1e-6)


def test_a_contract_by_its_values_must_be_one(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [("y", "Sigmoid")])
    assert open_(path, contract={"multiple_of": 4}).contract == Contract(multiple_of=4)
    for wrong in ({"multiple": 4}, "logits", 3):
        with pytest.raises(InputError, match=r"contract is .*mapping of \['channels'"):
            open_(path, contract=wrong)


def test_several_outputs_must_be_chosen_from(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    path, batch = write(tmp_path / "m.onnx", [("aux", "Relu"), ("main", "Sigmoid")]), images()
    with pytest.raises(InputError, match=r"several outputs .*aux .*main .*--option output=aux"):
        open_(path)
    for output in ("main", 1):
        chosen = open_(path, output=output)
        np.testing.assert_allclose(chosen.predict(batch), sigmoid(batch), atol=1e-6)
        assert chosen.describe()["port"] == "main"
    for wrong in ("side", 2, -1):
        with pytest.raises(InputError, match=r"outputs \['aux', 'main'\], and none is"):
            open_(path, output=wrong)


def test_overlapping_classes_are_taken_one_at_a_time(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    probabilities = write(tmp_path / "p.onnx", [("y", "Sigmoid")], 3)
    logits = write(tmp_path / "l.onnx", [("y", "Identity")], 3)
    batch = images(2, 3, 4, 4)
    with pytest.raises(InputError, match=r"3 channels .*do not sum to 1.*--option channel=0"):
        open_(probabilities).predict(batch)
    with pytest.raises(InputError, match="classes that overlap"):
        open_(logits, activation="sigmoid").predict(batch)
    for channel in range(3):
        expected = sigmoid(batch[:, channel : channel + 1])
        one = open_(probabilities, channel=channel)
        np.testing.assert_allclose(one.predict(batch), expected, atol=1e-6)
        other = open_(logits, activation="sigmoid", channel=channel)
        np.testing.assert_allclose(other.predict(batch), expected, atol=1e-6)
        assert one.describe()["channel"] == channel


@pytest.mark.parametrize("channel", [3, -1, "1", True, 0.5])
def test_a_channel_must_be_there(
    tmp_path: Path, images: Callable[..., np.ndarray], channel: Any
) -> None:
    path = write(tmp_path / "p.onnx", [("y", "Sigmoid")], 3)
    with pytest.raises(InputError, match="channel is"):
        open_(path, channel=channel).predict(images(2, 3, 4, 4))


def test_an_unknown_activation_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.onnx", [("y", "Sigmoid")])
    with pytest.raises(InputError, match="activation is 'relu'"):
        open_(path, activation="relu")


def test_a_softmax_is_taken_as_it_is(tmp_path: Path, images: Callable[..., np.ndarray]) -> None:
    path = write(tmp_path / "p.onnx", [("y", "Softmax")], 3)
    found = open_(path).predict(images(2, 3, 4, 4))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_the_options_work_on_the_command_line(
    tmp_path: Path, images: Callable[..., np.ndarray]
) -> None:
    write(tmp_path / "m.onnx", [("aux", "Relu"), ("main", "Identity")])
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images/a.npy", images(8, 12))
    line = f"score {tmp_path}/m.onnx {tmp_path}/images -o {tmp_path}/s.parquet"
    wrong = CliRunner().invoke(application(), [*line.split(), "--option", "output=main"])
    assert wrong.exit_code == 1
    assert isinstance(wrong.exception, OutputError)
    assert "--option activation=auto" in str(wrong.exception)
    assert not list(tmp_path.glob("s.parquet*"))
    options = ["--option", "output=main", "--option", "activation=auto"]
    right = CliRunner().invoke(application(), [*line.split(), *options])
    assert right.exit_code == 0, right.output
