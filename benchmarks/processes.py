"""A training in one process and in several: are the weights the same, and what does it cost?

``python benchmarks/processes.py [--processes 2] [--images 64] [--epochs 5] [--page FILE]``. Each
training is a process, or a `torchrun` of several, of its own, with one thread each, on CPUs.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import in_words
from torch import nn

from pladapt.torch import TrainingOptions, fit, run_distributed
from pladapt.types import LabelledSample

PAGE: Final = Path(__file__).parents[1] / "docs" / "project" / "processes.md"
_SIDE: Final = 64
_HEAD: Final = """# Training in several processes

A training of a small network in one process, and in {processes} on the CPUs of one machine, which
`torchrun` starts, each with one thread: {images} images of 64 x 64 pixels in batches of 8, {epochs}
epochs, stochastic gradient descent. The weights at the end are compared with those of one process;
the tests compare those of the processes with each other, bit for bit, at each step. Without batch
normalisation they differ by rounding alone. With it each process normalises its own part of a batch
on CPUs, so that they differ more; on GPUs the whole batch is normalised. *Seconds* are of all
epochs, without the start. `python benchmarks/processes.py` repeats it. Other processes ran on the
same cores.

| batch normalisation | one process, seconds | {processes} processes, seconds | largest difference |
|---|---:|---:|---:|
"""


class Network(nn.Module):
    """A few convolutions."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 16)):
            layers.append(nn.Conv2d(before, after, 3, padding=1))
            layers += [nn.BatchNorm2d(after)] if norm else []
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Conv2d(16, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, 1, H, W)``."""
        logits: torch.Tensor = self.layers(images)
        return logits


def samples(count: int, name: str) -> list[LabelledSample]:
    """Return noisy images with a bright square each."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        mask = np.zeros((_SIDE, _SIDE), np.uint8)
        row, column = rng.integers(0, _SIDE // 2, 2)
        mask[row : row + 20, column : column + 20] = 1
        image = (mask[None] + rng.normal(0, 0.5, (1, _SIDE, _SIDE))).astype(np.float32)
        made.append(LabelledSample(f"{name}{number}", f"{name}{number}", image, mask))
    return made


def train(folder: Path, images: int, epochs: int, *, norm: bool) -> None:
    """Train, and leave weights and seconds in a folder."""
    options = TrainingOptions(
        epochs=epochs,
        batch_size=8,
        device="cpu",
        optimizer=functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9),
    )
    given = Network(norm=norm), samples(images, "t"), samples(8, "v")
    began = time.perf_counter()
    result = fit(*given, options)
    seconds = time.perf_counter() - began
    torch.save(result.module.state_dict(), folder / "weights.pt")
    (folder / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def run(folder: Path, given: argparse.Namespace, processes: int, *, norm: bool) -> float:
    """Train in a process of its own, or in several, and return the seconds."""
    folder.mkdir()
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(several if processes > 1 else []), __file__, "--inside"]
    command += [str(folder), "--images", str(given.images), "--epochs", str(given.epochs)]
    subprocess.run([*command, *(["--norm"] if norm else [])], check=True)  # noqa: S603 - ours
    seconds: float = json.loads((folder / "seconds.json").read_text(encoding="utf-8"))
    return seconds


def row(folder: Path, given: argparse.Namespace, *, norm: bool) -> str:
    """Measure one row of the table."""
    one, several = folder / f"one-{norm}", folder / f"several-{norm}"
    alone = run(one, given, 1, norm=norm)
    together = run(several, given, given.processes, norm=norm)
    before, after = (torch.load(place / "weights.pt") for place in (one, several))
    differences = [float((after[name] - each).abs().max()) for name, each in before.items()]
    words = "yes" if norm else "no"
    return f"| {words} | {alone:.1f} | {together:.1f} | {max(differences):.0e} |"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--norm", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside is not None:
        program = functools.partial(train, given.inside, given.images, given.epochs)
        run_distributed(functools.partial(program, norm=given.norm))
        return
    with tempfile.TemporaryDirectory(prefix="pladapt-processes-") as folder:
        rows = [row(Path(folder), given, norm=norm) for norm in (False, True)]
    head = _HEAD.format(processes=given.processes, images=given.images, epochs=given.epochs)
    given.page.write_text(
        head + "\n".join(rows) + f"\n\n{in_words('python', 'pladapt', 'torch')}\n", encoding="utf-8"
    )
    print("\n".join(rows))


if __name__ == "__main__":
    main()
