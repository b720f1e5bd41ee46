"""From files on disk to scores.parquet, beside the bare network on arrays that are loaded."""

from __future__ import annotations

from itertools import count as counter
from typing import TYPE_CHECKING, Any

import networks
import numpy as np
import pyarrow.parquet as pq
import scratch
from harness import Case, Method, Target
from machine import cores, gpu, module
from networks import Network

from pladapt.files import Files, Grouping, ImageLayout, score_files
from pladapt.functional.arrays import to_numpy
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TITLE = "The whole scoring pass"
TEXT = """`pladapt score` from its files to `scores.parquet`: finding, reading, checking,
predicting, scoring and writing. Beside it the same predictor on the same images in memory, batch by
batch, whose predictions stay where they are. The files are in the page cache."""

_BARE, _PASS = "bare network on loaded arrays", "files to scores.parquet"
_FORMATS = {"npy": "NPY, float32", "png": "PNG, 8 bits"}
_LAYOUTS = {"npy": ImageLayout(), "png": ImageLayout(window=(0, 255))}


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for each format, on the CPU, and on the GPU where there is one."""
    network = Network("resnet18", 64) if quick else Network("resnet34", 512)
    if absent := networks.missing():
        methods = [
            Method(name="numpy (nothing to run)", run=lambda: np.zeros(1), role="ours"),
            Method(name=_PASS, missing=absent),
        ]
        yield Case(name="pass", methods=methods)
        return
    sizes = [("cpu", 8 if quick else 24, 2 if quick else 4)]
    if gpu():
        sizes.append(("cuda", 8 if quick else 2048, 2 if quick else 32))
    for device, count, batch in sizes:
        for extension in _FORMATS:
            yield _case(network, device, extension, count, batch)


def _case(network: Network, device: str, extension: str, count: int, batch: int) -> Case:
    folder = _write(network, extension, count)
    options = {"batch_size": batch} if device == "cuda" else {}
    predictor = module("pladapt.onnx").OnnxPredictor(network.file(), device=device, **options)
    layout = _LAYOUTS[extension]
    images = [_image(path, layout) for path in Files.find(folder).paths.values()]
    batches = [np.stack(images[start : start + batch]) for start in range(0, count, batch)]
    return Case(
        name=f"{count} files of {_FORMATS[extension]}, {network.title}, {device}",
        methods=[
            Method(name=_PASS, run=_pass(folder, layout, predictor, batch), role="ours"),
            Method(name=_BARE, run=_bare(predictor, batches, device), role="floor", agrees=_same),
        ],
        items=count,
        unit="image",
        targets=[
            Target(of=_PASS, to=_BARE, limit=1.15 if device == "cuda" else 1.05, at_most=True)
        ],
        seconds=90,
    )


def _image(path: Path, layout: ImageLayout) -> Any:
    """Return a file's image as the pass reads it."""
    (item,) = layout.items(path.stem, layout.load(path))
    return item.array


def _write(network: Network, extension: str, count: int) -> Path:
    """Write images to a folder of their own; a few different ones, again and again."""
    folder = scratch.folder()
    images = network.images(min(count, 16))[:, 0]
    for index in range(count):
        image = images[index % len(images)]
        if extension == "npy":
            np.save(folder / f"{index:05}.npy", image)
        else:
            grey = ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)
            module("PIL.Image").fromarray(grey).save(folder / f"{index:05}.png")
    return folder


def _pass(folder: Path, layout: ImageLayout, predictor: Any, batch: int) -> Callable[[], Any]:
    numbers, results = counter(), scratch.folder()

    def run() -> Any:
        output = results / f"{next(numbers)}.parquet"
        problems = score_files(
            predictor,
            Files.find(folder),
            output,
            selector=CertaintyIndexSelector(),
            layout=layout,
            grouping=Grouping(),
            batch_size=batch,
            readers=max(2, cores() // 2),
        )
        scores = pq.read_table(output)
        output.unlink()
        if problems:
            raise AssertionError(f"{len(problems)} files were left out: {problems[0]}")
        return scores

    return run


def _bare(predictor: Any, batches: list[Any], device: str) -> Callable[[], Any]:
    def run() -> Any:
        results = [predictor.predict(images) for images in batches]
        if device == "cuda":
            module("torch").cuda.synchronize()
        return results[-1]

    return run


def _same(scores: Any, last: Any) -> str:
    """Compare the last batch's numbers of pixels above the cut-off."""
    counts = np.count_nonzero(to_numpy(last) > np.float32(0.5), axis=(1, 2, 3))
    np.testing.assert_array_equal(scores["pixels"].to_numpy()[-len(counts) :], counts)
    return "N of the last batch equal"
