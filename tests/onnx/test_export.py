from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from torch import nn

from pladapt import DataError, InputError
from pladapt.onnx import Contract, OnnxPredictor, export
from pladapt.torch import Preparation, Prepared, TorchPredictor
from pladapt.torch.steps import BytesToUnit, Clip, Normalise, NormaliseEach, Transform
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

pytestmark = pytest.mark.onnx


def difference(path: Path, module: nn.Module, images: np.ndarray) -> float:
    expected = TorchPredictor(module, device="cpu").predict(images).numpy()
    found = OnnxPredictor(path, device="cpu").predict(images)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize(
    "shape", [(1, 1, 8, 12), (2, 1, 8, 12), (5, 1, 4, 4), (3, 1, 16, 8)], ids=str
)
def test_batches_and_sizes_give_what_torch_gives(
    model: Path, net: Callable[..., Any], images: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    assert difference(model, net(), images(*shape)) < 1e-5


@pytest.mark.parametrize("output", ["probabilities", "logits"])
def test_several_classes_are_a_softmax(
    net: Callable[..., Any],
    export_net: Callable[..., Any],
    images: Callable[..., Any],
    tmp_path: Path,
    output: str,
) -> None:
    record = export_net(tmp_path / "m.onnx", net(3), output=output)
    assert record.largest_difference < 1e-5
    assert difference(record.path, net(3), images()) < 1e-5


def test_three_spatial_axes_and_several_channels_of_a_fixed_size(
    net: Callable[..., Any],
    export_net: Callable[..., Any],
    images: Callable[..., Any],
    tmp_path: Path,
) -> None:
    module, shape = net(channels=2, spatial=3), (1, 2, 8, 4, 12)
    record = export_net(tmp_path / "m.onnx", module, example=shape, fixed_size=True)
    assert difference(record.path, module, images(3, *shape[1:])) < 1e-5
    with pytest.raises(InputError, match=r"\(batch, 2, 8, 4, 12\).*Resize"):
        OnnxPredictor(record.path, device="cpu").predict(images(1, 2, 4, 4, 12))


def test_half_precision_changes_little(
    net: Callable[..., Any],
    export_net: Callable[..., Any],
    images: Callable[..., Any],
    tmp_path: Path,
) -> None:
    record = export_net(tmp_path / "m.onnx", precision="fp16")
    stored = {t.data_type for t in onnx.load(record.path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in stored
    assert onnx.TensorProto.FLOAT not in stored
    assert 0 < record.largest_difference < 5e-3
    assert difference(record.path, net(), images()) < 5e-3
    assert OnnxPredictor(record.path, device="cpu").predict(images()).dtype == np.float32


def test_the_record_tells_what_was_written(model: Path, export_net: Callable[..., Any]) -> None:
    record = export_net(model.with_name("again.onnx"), TorchPredictor(nn.Conv2d(1, 1, 1)), opset=18)
    assert record.path == model.with_name("again.onnx")
    assert record.bytes == record.path.stat().st_size
    assert 0 <= record.largest_difference < 1e-5
    loaded = onnx.load(record.path)
    assert record.opset == 18 == loaded.opset_import[0].version
    assert [p.name for p in model.parent.iterdir() if ".partial" in p.name] == []


def test_the_file_is_alone_and_names_no_path_of_this_machine(model: Path) -> None:
    onnx.checker.check_model(onnx.load(model, load_external_data=False), full_check=True)
    assert b"conftest" not in model.read_bytes()
    assert b"site-packages" not in model.read_bytes()


def test_the_contract_is_in_the_metadata(model: Path) -> None:
    (item,) = onnx.load(model).metadata_props
    told = json.loads(item.value)
    assert item.key == "pladapt"
    assert told["channels"] == 1
    assert told["multiple_of"] == 4
    assert told["normalisation"] == "zero mean, unit variance"
    assert OnnxPredictor(model, device="cpu").contract == Contract(**told)


def test_the_module_is_left_as_it_was(
    net: Callable[..., Any], export_net: Callable[..., Any], tmp_path: Path
) -> None:
    module = net().train()
    before = state_sha256(module)
    export_net(tmp_path / "m.onnx", module, fixed_size=True)
    assert state_sha256(module) == before
    assert all(part.training for part in module.modules())


def test_a_file_that_differs_from_torch_is_not_kept(
    export_net: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"differs from torch by .*more than"):
        export_net(tmp_path / "m.onnx", tolerance=-1.0)
    assert not (tmp_path / "m.onnx").exists()


def test_a_difference_that_is_not_a_number_is_no_small_one(
    net: Callable[..., Any], export_net: Callable[..., Any], tmp_path: Path
) -> None:
    module = net()
    module[0].weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match="differs from torch by nan"):
        export_net(tmp_path / "m.onnx", module)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("example", [(1, 8, 12), (1, 1, 8, 10), (1, 1, 0, 8), (1,) * 6], ids=str)
def test_an_example_that_does_not_fit_is_refused(
    export_net: Callable[..., Any], tmp_path: Path, example: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"multiples of 4"):
        export_net(tmp_path / "m.onnx", example=example)


def test_an_example_may_be_an_array(
    export_net: Callable[..., Any], images: Callable[..., Any], tmp_path: Path
) -> None:
    record = export_net(tmp_path / "m.onnx", nn.Conv2d(2, 1, 1), example=images(1, 2, 8, 8))
    assert record.contract.channels == 2


def test_a_precision_that_is_not_known_is_refused(
    export_net: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"precision is 'int4'"):
        export_net(tmp_path / "m.onnx", precision="int4")


def test_a_module_that_torch_cannot_export_is_refused(
    export_net: Callable[..., Any], tmp_path: Path
) -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum().item() > 0 else -x

    with pytest.raises(InputError, match=r"cannot export Undecided"):
        export_net(tmp_path / "m.onnx", Undecided())
    assert list(tmp_path.iterdir()) == []


def test_what_prepares_images_goes_into_the_file(net: Any, tmp_path: Path) -> None:
    steps = (Clip(0.0, 200.0), BytesToUnit(), NormaliseEach("box"), Normalise((0.1,), (2.0,)))
    preparation = Preparation(steps=steps, multiple_of=4, patch_size=(8, 8))
    module = Prepared(net(), preparation).eval()
    made = export(module, tmp_path / "m.onnx", example=(1, 1, 8, 12), multiple_of=2)
    assert made.contract.multiple_of == 4
    predictor = OnnxPredictor(tmp_path / "m.onnx", device="cpu")
    images = np.random.default_rng(0).uniform(1, 255, (2, 1, 12, 16)).astype(np.float32)
    expected = TorchPredictor(module.at_once(), device="cpu").predict(images)
    np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-5)
    assert predictor.predict(images[..., :11, :13]).shape == (2, 1, 11, 13)


def test_a_transform_by_name_does_not_go_into_the_file(net: Any, tmp_path: Path) -> None:
    module = Prepared(net(), Preparation(steps=(Transform("numpy:abs"),)))
    with pytest.raises(InputError, match=r"'numpy:abs' cannot go into the exported file"):
        export(module, tmp_path / "m.onnx", example=(1, 1, 8, 12), multiple_of=4)
    assert not (tmp_path / "m.onnx").exists()
