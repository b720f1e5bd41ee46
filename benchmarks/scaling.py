"""How time and memory of a whole adaptation grow with the number of images.

``python benchmarks/scaling.py [--counts 1000 10000 100000] [--page FILE]``. The images are made as
they are asked for, 16 x 16 pixels; the predictor returns them, and the retrainer looks at each
label once. So what is measured is all that pladapt itself does: reading, scoring, labelling,
selecting, storing. Each count has a process of its own, whose peak memory is that of the kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from machine import in_words

import pladapt
from pladapt.plugins import PluginManager
from pladapt.types import Sample

PAGE: Final = Path(__file__).parents[1] / "docs" / "project" / "scaling.md"
_SIDE: Final = 16
_COUNTS: Final = (1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_HEAD: Final = """# Time and memory by size

How a whole adaptation grows with the number of images: reading, scoring, labelling, selecting a
quarter, storing, and one look at each kept label. The images are made as they are asked for, of
16 x 16 pixels; the predictor returns them, and the retrainer trains nothing, so this is all that
pladapt itself takes. `python benchmarks/scaling.py` repeats it. Each line is a process of its own;
its peak memory is the kernel's figure, of which about 100 MB are imports. Other processes ran on
the same cores, so the processor's time says more than the clock's.

What grows with the images is what a selection needs at once: of each its id, its score, its pixels
and its rank. What Arrow's allocator, mimalloc, keeps of what was freed comes on top; with
`ARROW_DEFAULT_MEMORY_POOL=system` in the environment it is the system's, which gives more back.

"""
_COLUMNS: Final = (
    "images",
    "seconds",
    "processor seconds",
    "microseconds an image",
    "peak memory, MB",
    "over that of the first line",
    "peak with mimalloc, MB",
)


class Images:
    """Images with a bright square each, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int, /) -> Sample:
        if not 0 <= index < self._count:
            raise IndexError(index)
        image = np.full((1, _SIDE, _SIDE), 0.1, np.float32)
        size = 4 + index % 8
        image[0, 2 : 2 + size, 2 : 2 + size] = 0.6 + (index * 0.61803399 % 1) * 0.39
        return Sample(f"s{index:07}", f"p{index // 50:05}", image)


class Given:
    """Returns the images as probabilities."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


class Looking:
    """Looks at every label once."""

    def retrain(self, predictor: Any, labels: Any, /) -> Any:
        """Return the predictor."""
        for index in range(len(labels)):
            labels[index]
        return predictor


def adapt(count: int) -> None:
    """Adapt once, and print the seconds, the seconds of the processor and the peak in MB."""
    with tempfile.TemporaryDirectory(prefix="pladapt-scaling-") as folder:
        began, used = time.perf_counter(), time.process_time()
        result = pladapt.adapt(
            Given(),
            Images(count),
            selector=pladapt.CertaintyIndexSelector(min_pixels=10, top_k=0.25),
            retrainer=Looking(),
            batch_size=32,
            workdir=folder,
            plugins=PluginManager(),
        )
        seconds, processor = time.perf_counter() - began, time.process_time() - used
        if result.rounds[0].selection.counts["kept"] != count // 4:
            raise AssertionError("Another number of samples was kept than was asked for.")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)
    print(json.dumps({"count": count, "seconds": seconds, "processor": processor, "mb": peak}))


def measure(count: int, pool: str) -> dict[str, float]:
    """Adapt in a process of its own, with one of Arrow's allocators."""
    command = [sys.executable, __file__, "--one", str(count)]
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": pool}
    run = subprocess.run(  # noqa: S603 - ours
        command, capture_output=True, text=True, check=True, env=environment
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def page(rows: list[dict[str, float]]) -> str:
    """Return the page of what was measured."""
    lines = [" | ".join(_COLUMNS), " | ".join(["---:"] * len(_COLUMNS))]
    for row in rows:
        each = row["processor"] / row["count"] * 1e6
        more = row["mb"] / rows[0]["mb"] - 1
        lines.append(
            f"{row['count']:,} | {row['seconds']:.1f} | {row['processor']:.1f} | {each:.0f} | "
            f"{row['mb']:.0f} | {more:+.0%} | {row['mimalloc']:.0f}"
        )
    table = "\n".join(f"| {line} |" for line in lines)
    return f"{_HEAD}{table}\n\n{in_words('python', 'pladapt', 'pyarrow')}\n"


def main() -> None:
    """Measure each count, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=_COUNTS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes")
    arguments = parser.parse_args()
    if arguments.one:
        adapt(arguments.one)
        return
    rows = []
    for count in arguments.counts:
        rows.append(measure(count, "system"))
        rows[-1]["mimalloc"] = measure(count, "mimalloc")["mb"]
        print(rows[-1], flush=True)
        arguments.page.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
