from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pladapt.errors import DeviceError, InputError
from pladapt.torch import ModulePredictor, TorchPredictor
from pladapt.torch.storage import state_sha256
from pladapt.typing import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch


def cpu(module: nn.Module, **options: Any) -> TorchPredictor:
    return TorchPredictor(module, device="cpu", **options)


def images(batch: int = 3, *, spatial: int = 2, seed: int = 0) -> np.ndarray:
    shape = (batch, 1, *(8, 6, 10)[:spatial])
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("spatial", [2, 3])
def test_one_channel_is_the_sigmoid_of_the_logits(
    net: Callable[..., nn.Module], spatial: int
) -> None:
    module, batch = net(spatial=spatial), images(spatial=spatial)
    probabilities = cpu(module).predict(batch)
    logits = module.eval()(torch.from_numpy(batch)).detach().numpy().astype(np.float64)
    assert probabilities.dtype == torch.float32
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize("spatial", [2, 3])
def test_several_channels_are_a_softmax(net: Callable[..., nn.Module], spatial: int) -> None:
    module, batch = net(3, spatial=spatial), images(spatial=spatial)
    probabilities = cpu(module).predict(batch)
    odds = np.exp(module.eval()(torch.from_numpy(batch)).detach().numpy().astype(np.float64))
    np.testing.assert_allclose(probabilities, odds / odds.sum(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        lambda x: torch.from_numpy(x).double(),
        array_api_strict.asarray,
        lambda x: x.astype(">f4"),
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: np.broadcast_to(x, x.shape),
    ],
    ids=["torch", "float64", "array-api-strict", "big-endian", "negative stride", "read-only"],
)
def test_images_of_any_array_library_give_the_same(
    net: Callable[..., nn.Module], convert: Any
) -> None:
    predictor, batch = cpu(net()), images()
    torch.testing.assert_close(predictor.predict(convert(batch)), predictor.predict(batch))


@given(batch=st.integers(1, 7), size=st.integers(1, 8))
def test_the_size_of_the_batches_changes_nothing(batch: int, size: int) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    whole = cpu(module).predict(images(batch))
    parts = cpu(module, batch_size=size).predict(images(batch))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)


def test_channels_last_changes_nothing(net: Callable[..., nn.Module]) -> None:
    for spatial in (2, 3):
        module, batch = net(spatial=spatial), images(spatial=spatial)
        expected = cpu(module).predict(batch)
        torch.testing.assert_close(cpu(module, channels_last=True).predict(batch), expected)


def test_predicting_leaves_weights_buffers_and_modes_as_they_were(
    net: Callable[..., nn.Module],
) -> None:
    module = net()
    module.train()
    module[3].eval()
    modes, before = [m.training for m in module.modules()], state_sha256(module)
    first, second = (cpu(module).predict(images()) for _ in range(2))
    assert torch.equal(first, second), "dropout was at work"
    assert [m.training for m in module.modules()] == modes
    assert state_sha256(module) == before


def test_modes_come_back_after_an_error(net: Callable[..., nn.Module]) -> None:
    module = net().train()
    with pytest.raises(InputError, match="cannot be used on images"):
        cpu(module).predict(np.zeros((1, 5, 8, 8), np.float32))
    assert all(m.training for m in module.modules())


def test_no_gradient_is_kept_and_the_callers_mode_stays(net: Callable[..., nn.Module]) -> None:
    assert not cpu(net()).predict(images()).requires_grad
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_it_is_a_predictor_whose_module_can_be_replaced(net: Callable[..., nn.Module]) -> None:
    predictor = cpu(net(), batch_size=2)
    other = predictor.with_module(net(seed=1))
    assert isinstance(predictor, Predictor)
    assert isinstance(predictor, ModulePredictor)
    assert (other.batch_size, other.device) == (2, "cpu")
    assert not torch.equal(other.predict(images()), predictor.predict(images()))


def test_the_description_changes_with_what_changes_the_probabilities(
    net: Callable[..., nn.Module],
) -> None:
    said = cpu(net()).describe()
    assert json.loads(json.dumps(said)) == said
    assert said["device"] == "cpu"
    assert said["precision"] == "float32"
    assert cpu(net(), batch_size=2).describe() == said
    assert cpu(net(seed=1)).describe() != said
    changed = net()
    changed[1].running_mean[0] += 1e-3  # a buffer, not a parameter
    assert cpu(changed).describe()["sha256"] != said["sha256"]


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Conv2d(1, 1, 3), "spatial shape"),
        (nn.Flatten(), "spatial shape"),
        (nn.ModuleList(), None),
    ],
    ids=["smaller", "flat", "no forward"],
)
def test_a_module_that_gives_no_logits_is_refused(module: nn.Module, told: str | None) -> None:
    with pytest.raises(InputError if told else NotImplementedError, match=told):
        cpu(module).predict(images())


def test_a_module_that_returns_a_tuple_is_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    with pytest.raises(InputError, match="tuple"):
        cpu(Pair()).predict(images())


@pytest.mark.parametrize(
    "batch",
    [np.zeros((1, 8, 8), np.float32), np.zeros((1, 1, 8, 8), np.uint8), np.zeros((1,) * 6)],
    ids=["no batch", "integers", "four spatial axes"],
)
def test_images_of_another_kind_are_refused(
    net: Callable[..., nn.Module], batch: np.ndarray
) -> None:
    with pytest.raises(InputError, match="expected floating point"):
        cpu(net()).predict(batch)


@pytest.mark.parametrize(("activation", "channels"), [("sigmoid", 2), ("softmax", 1)])
def test_an_activation_that_does_not_fit_the_channels_is_refused(
    net: Callable[..., nn.Module], activation: str, channels: int
) -> None:
    with pytest.raises(InputError, match=f"{channels} channels"):
        cpu(net(channels), activation=activation).predict(images())


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"activation": "relu"}, {"amp": "float8"}, {"device": "abacus"}]
)
def test_an_unknown_option_is_refused(
    net: Callable[..., nn.Module], options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=next(iter(options.values())).__str__()):
        TorchPredictor(net(), **{"device": "cpu", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_gpu_that_is_not_there_is_said_to_be_absent(
    net: Callable[..., nn.Module], device: str
) -> None:
    with pytest.raises(DeviceError, match=rf"{device}.*device='cpu'"):
        TorchPredictor(net(), device=device)


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_is_refused_where_the_processor_lacks_it(
    net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: there)
    if there:
        assert cpu(net(), amp="bfloat16").describe()["precision"] == "bfloat16"
    else:
        with pytest.raises(DeviceError, match="no instructions for bfloat16"):
            cpu(net(), amp="bfloat16")
    assert cpu(net(), amp="auto").describe()["precision"] == "float32"


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 in this processor"
)
def test_mixed_precision_changes_little_and_gives_float32(net: Callable[..., nn.Module]) -> None:
    full, mixed = (cpu(net(), amp=amp).predict(images()) for amp in ("off", "bfloat16"))
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, full)
    torch.testing.assert_close(mixed, full, rtol=0, atol=0.01)


def test_float16_is_refused_on_a_processor(net: Callable[..., nn.Module]) -> None:
    with pytest.raises(DeviceError, match="float16"):
        cpu(net(), amp="float16")
