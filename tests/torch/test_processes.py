from __future__ import annotations

import functools
import multiprocessing
import os
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import pladapt
from pladapt.errors import DataError, InputError, ProcessError
from pladapt.torch import TorchPredictor, TrainingOptions, fit, run_distributed
from pladapt.torch.storage import state_sha256
from pladapt.types import LabelledSample, Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes"),
]

OPTIONS = TrainingOptions(
    epochs=2,
    batch_size=4,
    device="cpu",
    optimizer=functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
)


class Net(nn.Module):
    """Notes its weights at each step of a training, by process."""

    def __init__(self, folder: Path, *, norm: bool = False) -> None:
        super().__init__()
        self.folder = folder
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1),
                nn.BatchNorm2d(4) if norm else nn.Identity(),
                nn.ReLU(),
                nn.Conv2d(4, 1, 3, padding=1),
            )
            self.unused = nn.Linear(2, 2)  # such as a head that is not asked for in training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            with (self.folder / f"weights-{os.environ.get('RANK')}").open("a") as file:
                file.write(f"{state_sha256(self)}\n")
        return self.layers(images)


class Broken(list[LabelledSample]):
    """Samples that one process cannot read, but for the first."""

    def __init__(self, samples: list[LabelledSample], rank: int) -> None:
        super().__init__(samples)
        self.rank = str(rank)

    def __getitem__(self, index: Any) -> Any:
        if index and os.environ.get("RANK") == self.rank:
            raise DataError("The disk of this machine is not there.")
        return super().__getitem__(index)

    def __reduce__(self) -> Any:
        return Broken, ([*self], int(self.rank))


def blobs(count: int, name: str) -> list[LabelledSample]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(count):
        mask = np.zeros((16, 16), np.uint8)
        row, column = rng.integers(0, 10, 2)
        mask[row : row + 5, column : column + 5] = 1
        image = (mask[None] + rng.normal(0, 0.3, (1, 16, 16))).astype(np.float32)
        made.append(LabelledSample(f"{name}{number}", f"{name}{number}", image, mask))
    return made


def in_two(program: Callable[[], Any]) -> tuple[int | None, int | None]:
    """Run a program as torchrun would in two processes, and return how they exit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # torch is imported once
    both = [context.Process(target=_process, args=(program, rank, port)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        process.kill()
        process.join()
    return both[0].exitcode, both[1].exitcode


def _process(program: Callable[[], Any], rank: int, port: int) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {name: str(value) for name, value in told.items()}
    torch.set_num_threads(1)
    run_distributed(program)


def _fits(folder: Path, *, norm: bool) -> None:
    result = fit(Net(folder, norm=norm), blobs(11, "t"), blobs(7, "v"), OPTIONS)
    torch.save((result.module.state_dict(), result.history), folder / "result")


@pytest.mark.parametrize("norm", [False, True])
def test_two_processes_train_as_one_does(tmp_path: Path, *, norm: bool) -> None:
    tolerance = 0.02 if norm else 1e-6  # on CPUs, batch normalisation is of each one's own images
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    _fits(one, norm=norm)
    assert in_two(functools.partial(_fits, two, norm=norm)) == (0, 0)
    alone, alone_history = torch.load(one / "result")
    together, history = torch.load(two / "result")
    for name, values in alone.items():
        torch.testing.assert_close(together[name], values, rtol=0, atol=tolerance)
    for row, other in zip(history, alone_history, strict=True):
        for name in ("train_loss", "val_loss", "val_dsc"):
            assert row[name] == pytest.approx(other[name], abs=10 * tolerance)
    steps = [(two / f"weights-{rank}").read_text().split() for rank in range(2)]
    assert steps[0] == steps[1]
    assert len(set(steps[0])) == 6  # three steps in each of two epochs


def _adapts(folder: Path, epochs: int) -> None:
    target = [Sample(each.id, each.group, each.image) for each in blobs(12, "t")]
    options = replace(OPTIONS, epochs=epochs)
    made = pladapt.recipe(
        "paper", options=options, validation=0.25, top_k=10, min_pixels=1, gate=False
    )
    result = made.adapt(TorchPredictor(Net(folder), device="cpu"), target, workdir=folder / "run")
    (folder / "said").write_text(f"{result.verdict}")


def test_a_recipe_has_one_writer_and_goes_on_where_it_was(tmp_path: Path) -> None:
    assert in_two(functools.partial(_adapts, tmp_path, 2)) == (0, 0)
    written = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert any(path.name == "model.safetensors" for path in written)
    (tmp_path / "said").unlink()
    assert in_two(functools.partial(_adapts, tmp_path, 2)) == (0, 0)
    assert (tmp_path / "said").exists()
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == written


def _continues(folder: Path, options: TrainingOptions, stop: int | None) -> None:
    def progress(_stage: str, done: int, _total: int) -> None:
        if done == stop:
            os._exit(9)

    checkpoint = folder / "training"
    samples = blobs(8, "t")
    result = fit(Net(folder), samples, None, options, progress=progress, checkpoint=checkpoint)
    torch.save(result.module.state_dict(), folder / "result")


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=3, keep="last", augmentation=None)
    kept = {}
    for name, stops in {"whole": [None], "killed": [4, None]}.items():
        folder = tmp_path / name
        folder.mkdir()
        for stop in stops:
            ends = in_two(functools.partial(_continues, folder, options, stop))
            assert (ends == (0, 0)) is (stop is None)
        kept[name] = torch.load(folder / "result")
    assert all(torch.equal(kept["whole"][name], kept["killed"][name]) for name in kept["whole"])


def _fails(folder: Path, samples: list[LabelledSample]) -> None:
    try:
        fit(Net(folder), samples, None, replace(OPTIONS, keep="last"))
    except ProcessError as error:
        (folder / "said").write_text(str(error))
        raise


def test_a_process_that_fails_ends_the_others_with_its_message(tmp_path: Path) -> None:
    samples = Broken(blobs(8, "t"), 1)
    assert in_two(functools.partial(_fails, tmp_path, samples)) == (1, 1)
    said = (tmp_path / "said").read_text()
    assert said.startswith("Process 1 of 2")
    assert "The disk of this machine is not there." in said


def test_where_the_leader_fails_the_others_end(tmp_path: Path) -> None:
    samples = Broken(blobs(8, "t"), 0)
    assert in_two(functools.partial(_fails, tmp_path, samples)) == (1, 1)
    assert not (tmp_path / "said").exists()  # its own error comes through, not another's


REFUSED = {
    "batch_size of 2 or more": replace(OPTIONS, batch_size=1),
    "cannot be sent": replace(OPTIONS, optimizer=lambda p: torch.optim.SGD(p, lr=0.1)),
    "each takes the GPU of its number": replace(OPTIONS, device="cpu:0"),
}


def _refused(folder: Path) -> None:
    for message, options in REFUSED.items():
        with pytest.raises(InputError, match=message):
            fit(Net(folder), blobs(8, "t"), None, replace(options, keep="last"))
    (folder / "said").touch()


def test_a_training_that_cannot_be_shared_says_why(tmp_path: Path) -> None:
    assert in_two(functools.partial(_refused, tmp_path)) == (0, 0)
    assert (tmp_path / "said").exists()


def test_without_torchrun_the_program_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    called: list[bool] = []
    run_distributed(lambda: called.append(True))
    assert called == [True]
