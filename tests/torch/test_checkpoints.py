"""Weights from the files that people have."""

from __future__ import annotations

import argparse
import collections
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.torch import load_weights, read_weights
from pladapt.torch.checkpoints import put_weights
from pladapt.torch.storage import state_sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

PREFIXES = st.lists(
    st.sampled_from(["module.", "_orig_mod.", "model.", "net.", "network."]), max_size=3
).map("".join)


class Inner(nn.Module):
    """A module whose own parts are named like the prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Conv2d(1, 2, 1)
        self.head = nn.BatchNorm2d(2)


def loaded(make: Callable[[], nn.Module], path: Path) -> str:
    module = make()
    load_weights(module, path)
    return state_sha256(module)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize(
    "key",
    ["", "state_dict", "model_state_dict", "model", "network_weights", "net", "checkpoint.model"],
)
def test_a_state_dict_is_found_in_what_training_scripts_write(
    net: Callable[..., nn.Module], tmp_path: Path, suffix: str, key: str
) -> None:
    state: Any = net().state_dict()
    for part in reversed([part for part in key.split(".") if part]):
        name = {"checkpoint": "state_dict"}.get(part, part)
        state = {name: state, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 1.0}]}}
    torch.save(state, tmp_path / f"m{suffix}")
    assert loaded(lambda: net(seed=1), tmp_path / f"m{suffix}") == state_sha256(net())


@given(prefix=PREFIXES)
def test_a_prefix_of_usual_names_is_left_out(prefix: str) -> None:
    module, other = Inner(), Inner()
    state = {f"{prefix}{name}": value for name, value in module.state_dict().items()}
    put_weights(other, state, path=None)  # type: ignore[arg-type]  # for messages alone
    assert state_sha256(other) == state_sha256(module)


def test_what_lies_beside_a_prefix_is_left_out(tmp_path: Path) -> None:
    module = Inner()
    state = {f"model.{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": torch.ones(2)}}, tmp_path / "m.ckpt")
    assert loaded(Inner, tmp_path / "m.ckpt") == state_sha256(module)


def test_a_compiled_part_on_either_side_fits(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self, *, compiled: bool) -> None:
            super().__init__()
            self.part = torch.compile(nn.Conv2d(1, 1, 1)) if compiled else nn.Conv2d(1, 1, 1)

    for compiled in (False, True):
        there, here = Outer(compiled=compiled), Outer(compiled=not compiled)
        torch.save(there.state_dict(), tmp_path / "m.pt")
        load_weights(here, tmp_path / "m.pt")
        assert torch.equal(here.part.weight, there.part.weight)


def test_a_checkpoint_of_lightning_is_read(tmp_path: Path) -> None:
    class Lit(pl.LightningModule):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = nn.Conv2d(1, width, 1)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    lit = Lit(3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.strategy.connect(lit)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert loaded(lambda: nn.Conv2d(1, 3, 1), tmp_path / "last.ckpt") == state_sha256(lit.model)


def test_numbers_of_numpy_beside_the_weights_are_read(
    net: Callable[..., nn.Module], tmp_path: Path
) -> None:
    beside = {
        "best": np.float64(0.5),
        "seen": np.int64(7),
        "name": np.str_("a"),
        "curve": np.arange(3.0),
        "mask": np.ones((2, 2), bool),
    }
    torch.save({"state_dict": net().state_dict(), **beside}, tmp_path / "m.pt")
    assert loaded(lambda: net(seed=1), tmp_path / "m.pt") == state_sha256(net())


def test_safetensors_of_another_program_may_have_prefixes(tmp_path: Path) -> None:
    module = nn.Conv2d(1, 1, 3)
    save_file(
        {f"module.{k}": v for k, v in module.state_dict().items()}, tmp_path / "m.safetensors"
    )
    assert loaded(lambda: nn.Conv2d(1, 1, 3), tmp_path / "m.safetensors") == state_sha256(module)


def test_counts_of_batches_may_be_missing(tmp_path: Path) -> None:
    module = nn.BatchNorm2d(2)
    nn.init.normal_(module.weight)
    state = {k: v for k, v in module.state_dict().items() if k != "num_batches_tracked"}
    torch.save(state, tmp_path / "old.pth")
    assert loaded(lambda: nn.BatchNorm2d(2), tmp_path / "old.pth") == state_sha256(module)


class Danger:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_what_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "x": Danger(tmp_path / "harm")}, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"open.*can run code.*module\.state_dict\(\)"):
        read_weights(tmp_path / "m.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "held",
    [nn.Conv2d(1, 1, 1), {"args": argparse.Namespace(lr=1), "state_dict": {}}],
    ids=["a whole module", "options of a script"],
)
def test_more_than_weights_is_refused_with_the_way_out(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / "m.pth")
    with pytest.raises(InputError, match=r"more than weights \([\w.]+\).*torch\.save\("):
        read_weights(tmp_path / "m.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Conv2d(1, 1, 1)), tmp_path / "m.pt")
    with pytest.raises(InputError, match="TorchScript"):
        read_weights(tmp_path / "m.pt")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, kept: float) -> None:
    torch.save(nn.Conv2d(1, 1, 9).state_dict(), tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=r"m\.pt cannot be read"):
        read_weights(tmp_path / "m.pt")


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"m\.pth cannot be read"):
        read_weights(tmp_path / "m.pth")


@pytest.mark.parametrize("held", [[1, 2], {"epoch": 3, "weights_of_mine": {"w": torch.ones(1)}}])
def test_a_checkpoint_without_weights_says_what_it_has(tmp_path: Path, held: Any) -> None:
    torch.save(held, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"no weights under a usual key, but .*(list|epoch)"):
        read_weights(tmp_path / "m.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(InputError, match=r"m\.onnx; expected \.safetensors"):
        read_weights(tmp_path / "m.onnx")
    with pytest.raises(MissingDataError, match=r"no file of weights .*none\.pt"):
        read_weights(tmp_path / "none.pt")


def test_what_does_not_fit_is_listed_by_its_kind(tmp_path: Path) -> None:
    module = nn.Sequential(collections.OrderedDict(a=nn.Conv2d(1, 2, 1), b=nn.Conv2d(2, 1, 1)))
    state = {"a.weight": torch.ones(3, 1, 1, 1), "a.bias": torch.ones(2), "c.x": torch.ones(1)}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(DataError) as caught:
        load_weights(module, tmp_path / "m.pt")
    assert (
        "does not fit the Sequential: 2 missing (b.weight, b.bias); 1 unexpected (c.x); "
        "1 of another shape (a.weight (3, 1, 1, 1) for (2, 1, 1, 1))"
    ) in str(caught.value)


def test_a_file_of_which_nothing_fits_leaves_no_random_network(
    net: Callable[..., nn.Module], tmp_path: Path
) -> None:
    torch.save({"encoder.weight": torch.ones(2)}, tmp_path / "m.pt")
    with pytest.raises(DataError, match="of whose weights it has none"):
        load_weights(net(), tmp_path / "m.pt")
