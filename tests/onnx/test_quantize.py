from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from pladapt import DataError, InputError, Sample
from pladapt.functional.overlap import dsc
from pladapt.onnx import Contract, OnnxPredictor, quantize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.onnx


def samples(count: int, *, seed: int = 0, channels: int = 1) -> list[Sample]:
    rng = np.random.default_rng(seed)
    shape = (channels, 8, 12)
    return [Sample(f"s{i}", "g", rng.normal(size=shape).astype(np.float32)) for i in range(count)]


def test_the_report_is_what_the_two_files_predict(model: Path, tmp_path: Path) -> None:
    check, out = samples(5, seed=1), tmp_path / "int8.onnx"
    cutoff = float(np.median(OnnxPredictor(model, device="cpu").predict(check[0].image[None])))
    record = quantize(model, out, samples(8), check=check, cutoff=cutoff)
    batch = np.stack([sample.image for sample in check])
    full, small = (OnnxPredictor(path, device="cpu").predict(batch) for path in (model, out))
    assert (record.path, record.images, record.bytes) == (out, 5, out.stat().st_size)
    assert record.largest_difference == pytest.approx(np.abs(full - small).max(), abs=1e-6)
    assert record.mean_difference == pytest.approx(np.abs(full - small).mean(), abs=1e-6)
    a, b = full > cutoff, small > cutoff
    assert record.dsc == pytest.approx(float(dsc((a & b).sum(), (b & ~a).sum(), (a & ~b).sum())))
    assert 0 < record.mean_difference <= record.largest_difference < 0.05
    assert 0.5 < record.dsc <= 1


def test_weights_are_eight_bits_per_channel_and_the_contract_stays(
    model: Path, tmp_path: Path
) -> None:
    record = quantize(model, tmp_path / "int8.onnx", samples(4))
    loaded = onnx.load(record.path)
    kinds = {node.op_type for node in loaded.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    weights = [t for t in loaded.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert len(weights) >= 2
    assert max(abs(onnx.numpy_helper.to_array(t)).max() for t in weights) <= 64, "seven bits"
    before = OnnxPredictor(model, device="cpu").contract
    found = OnnxPredictor(record.path, device="cpu").contract
    assert found == record.contract == Contract(**{**vars(before), "precision": "int8"})


def test_several_classes_are_compared_together(
    net: Callable[..., Any], export_net: Callable[..., Any], tmp_path: Path
) -> None:
    path = export_net(tmp_path / "m.onnx", net(3), fixed_size=True).path
    record = quantize(path, tmp_path / "int8.onnx", samples(4), cutoff=0.3)
    assert 0.5 < record.dsc <= 1
    assert record.largest_difference < 0.05


def test_what_cannot_be_quantised_is_refused(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    with pytest.raises(InputError, match="0 images"):
        quantize(model, out, [])
    with pytest.raises(InputError, match="model expects"):
        quantize(model, out, samples(1, channels=2))
    assert not out.exists()
    quantize(model, out, samples(1))
    with pytest.raises(InputError, match="precision int8"):
        quantize(out, tmp_path / "again.onnx", samples(1))
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(DataError, match="cannot be loaded"):
        quantize(tmp_path / "text.onnx", out, samples(1))
