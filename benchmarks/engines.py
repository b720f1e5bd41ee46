"""What it costs to have images read and predicted by Ray's workers, against one process.

``python benchmarks/engines.py [--counts 500 2000] [--workers 2] [--times 3] [--page FILE]``. A
cluster is started on this machine; with ``--address`` another one is used, which must see the
temporary folder. Images of 64 x 64 are scored, once as given probabilities, where nothing but
reading, scoring and storing is to be done, and once by a small U-shaped network. A figure is the
median, with the least and the most in brackets.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from machine import in_words

from pladapt.files import Files, GivenProbabilities, Grouping, ImageLayout, score_files
from pladapt.ray import RayEngine
from pladapt.selection import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable

    from pladapt.typing import Predictor

PAGE: Final = Path(__file__).parents[1] / "docs" / "project" / "engines.md"
_HEAD: Final = """# What Ray costs

How long `pladapt score` takes in one process, and with `--engine ray` on {workers} workers of one
machine, each with one CPU: images of 64 x 64 pixels in files of their own, `--batch-size 8`. With
*given probabilities* nothing is predicted, so that reading, scoring and storing are all there is;
the *small network* has four convolutions of 16 channels and predicts in torch, with one thread.
Each time is the median of {times}, with the least and the most in brackets, and includes starting
the workers, which import what the predictor needs; to join the cluster took {joined:.1f} seconds
more, once a process. `python benchmarks/engines.py` repeats it. The tables of both engines were the
same to the byte each time. Other processes ran on the same cores, which neither engine had for
itself, so this says what Ray adds and not how much a cluster brings.

| predictor | images | one process, seconds | Ray, seconds | Ray adds, ms an image |
|---|---:|---:|---:|---:|
"""


def network() -> Predictor:
    """Return a small network with weights that are always the same."""
    import torch  # noqa: PLC0415 - only some of the rows need it

    from pladapt.torch import TorchPredictor  # noqa: PLC0415 - the same

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[Any] = []
    for channels in (1, 16, 16):
        layers += [torch.nn.Conv2d(channels, 16, 3, padding=1), torch.nn.ReLU()]
    return TorchPredictor(torch.nn.Sequential(*layers, torch.nn.Conv2d(16, 1, 1)), device="cpu")


_PREDICTORS: Final[dict[str, Callable[[], Predictor]]] = {
    "given probabilities": GivenProbabilities,
    "small network": network,
}


def write(folder: Path, count: int) -> Files:
    """Write images, and return them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        np.save(folder / f"{number:06}.npy", rng.random((64, 64), np.float32))
    return Files.find(folder)


def seconds(files: Files, output: Path, make: Callable[[], Predictor], **how: Any) -> float:
    """Score the images, and return how long that took."""
    predictor = make()
    began = time.perf_counter()
    score_files(
        predictor,
        files,
        output,
        selector=CertaintyIndexSelector(cutoff=0.5),
        layout=ImageLayout(probabilities=make is GivenProbabilities),
        grouping=Grouping(),
        overwrite=True,
        **how,
    )
    return time.perf_counter() - began


def row(name: str, count: int, workers: int, times: int) -> str:
    """Measure one row of the table."""
    make = _PREDICTORS[name]
    with tempfile.TemporaryDirectory(prefix="pladapt-engines-") as folder:
        images, place = Path(folder, "images"), Path(folder)
        images.mkdir()
        files = write(images, count)
        engine = partial(RayEngine, predictor=make, workers=workers)
        local, ray = [], []
        for _ in range(times):
            local.append(seconds(files, place / "local.parquet", make))
            ray.append(seconds(files, place / "ray.parquet", make, engine=engine()))
            if (place / "local.parquet").read_bytes() != (place / "ray.parquet").read_bytes():
                raise AssertionError("The engines do not give the same table.")
    added = 1000 * (median(ray) - median(local)) / count
    return f"| {name} | {count:,} | {_spread(local)} | {_spread(ray)} | {added:.2f} |"


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--address", default="local")
    parser.add_argument("--predictors", nargs="+", choices=_PREDICTORS, default=[*_PREDICTORS])
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many threads as a worker has CPUs
    os.environ.setdefault("RAY_worker_niceness", "0")  # as this process, on a machine that is busy
    began = time.perf_counter()
    RayEngine(address=given.address)
    joined = time.perf_counter() - began
    rows = []
    for name in given.predictors:
        for count in given.counts:
            rows.append(row(name, count, given.workers, given.times))
            print(rows[-1], flush=True)
    head = _HEAD.format(workers=given.workers, times=given.times, joined=joined)
    where = in_words("python", "pladapt", "pyarrow", "ray", "torch")
    given.page.write_text(head + "\n".join(rows) + f"\n\n{where}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
