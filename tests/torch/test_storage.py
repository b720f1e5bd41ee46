from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from pladapt.errors import DataError, MissingDataError
from pladapt.torch import load_module, save_module
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


def test_what_is_saved_comes_back_bit_for_bit(
    net: Callable[..., nn.Module], tmp_path: Path
) -> None:
    module, other = net(), net(seed=1)
    module.half()
    other.half()
    save_module(module, tmp_path / "model.safetensors")
    load_module(other, tmp_path / "model.safetensors")
    assert state_sha256(other) == state_sha256(module)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_same_weights_are_the_same_bytes(net: Callable[..., nn.Module], tmp_path: Path) -> None:
    for name in "ab":
        save_module(net(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    save_module(module, tmp_path / "m")
    load_module(module, tmp_path / "m")


def test_a_file_of_bare_weights_loads_too(net: Callable[..., nn.Module], tmp_path: Path) -> None:
    save_file(net().state_dict(), tmp_path / "m")
    other = net(seed=1)
    load_module(other, tmp_path / "m")
    assert state_sha256(other) == state_sha256(net())


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(
    net: Callable[..., nn.Module], tmp_path: Path, kept: float
) -> None:
    path = tmp_path / "model.safetensors"
    save_module(net(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(DataError, match=r"model\.safetensors.*truncated"):
        load_module(net(), path)


def test_altered_weights_are_found_out(net: Callable[..., nn.Module], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_module(net(), path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="SHA-256"):
        load_module(net(), path)


def test_the_first_names_that_do_not_fit_are_shown(
    net: Callable[..., nn.Module], tmp_path: Path
) -> None:
    save_module(net(), tmp_path / "m")
    module = net(3)
    before = state_sha256(module)
    with pytest.raises(DataError, match=r"m does not fit.*4\.bias \(1,\), 4\.bias \(3,\)"):
        load_module(module, tmp_path / "m")
    assert state_sha256(module) == before


def test_a_missing_file_is_missing(net: Callable[..., nn.Module], tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nothing-here"):
        load_module(net(), tmp_path / "nothing-here")


def test_the_sha256_depends_on_names_types_shapes_and_values() -> None:
    def sha(name: str, tensor: torch.Tensor) -> str:
        module = nn.Module()
        module.register_buffer(name, tensor)
        return state_sha256(module)

    zeros = torch.zeros(2, 2)
    others = [
        ("b", zeros),
        ("a", zeros.to(torch.int32)),
        ("a", zeros.reshape(4)),
        ("a", zeros + 1),
        ("a", zeros.to(torch.bfloat16)),
    ]
    assert len({sha("a", zeros), *(sha(*other) for other in others)}) == 1 + len(others)
    assert sha("a", zeros) == sha("a", zeros.t().clone())


def test_the_version_of_torch_is_noted(net: Callable[..., nn.Module], tmp_path: Path) -> None:
    save_module(net(), tmp_path / "m")
    with safe_open(tmp_path / "m", framework="pt") as file:
        assert torch.__version__ in file.metadata()["pladapt"]
