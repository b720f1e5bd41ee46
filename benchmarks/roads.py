"""The roads from images to probabilities that the benchmarks of inference compare."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from harness import Case, Method, Target
from machine import gpu, module
from networks import missing, module_of, sized
from rates import matrix_rates

from pladapt import Prediction
from pladapt.functional.arrays import to_numpy
from pladapt.selection.certainty_index import CertaintyIndexSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from networks import Network

SCORING = "scoring the predictions"
NO_CUDA = "torch sees no CUDA device"
# a name, the precision, and what makes the call; making and trying it may fail
Road: TypeAlias = "tuple[str, str, Callable[[], Callable[[], Any]]]"


def nothing(name: str, missing: str) -> Case:
    """Return a case of which this machine can measure nothing, and why."""
    ours = Method(name="numpy (nothing to run)", run=lambda: np.zeros(1), role="ours")
    return Case(name=name, methods=[ours, Method(name=name, missing=missing)])


def cuda_cases(roads: Callable[[Network, Any], Sequence[Road]], *, quick: bool) -> Iterator[Case]:
    """Yield a case for the GPU, where there is one, of the roads for a network and images."""
    network, batch = sized(quick=quick), 4 if quick else 32
    if absent := missing() or ("" if gpu() else NO_CUDA):
        yield nothing(network.title, absent)
        return
    yield cuda_case(network, batch, roads(network, network.images(batch)))


def cuda_case(network: Network, batch: int, roads: Sequence[Road]) -> Case:
    """Compare roads on a CUDA device with the first of them that works."""
    flops = network.flops() * batch
    tried = [made(name, make, flops=flops, precision=kind) for name, kind, make in roads]
    working = [method for method in tried if method.run]
    if not working:
        raise RuntimeError("; ".join(f"{method.name}: {method.missing}" for method in tried))
    first = replace(working[0], role="ours", agrees=None)
    others = [method for method in tried if method.name != first.name]
    names = dict.fromkeys((first.name, working[-1].name))
    return Case(
        name=f"{network.title}, batch of {batch}, cuda",
        methods=[first, *others, scoring(first.run() if first.run else None)],
        items=batch,
        unit="image",
        targets=[Target(of=SCORING, to=name, limit=0.01, at_most=True) for name in names],
        rates=partial(matrix_rates, "cuda"),
        seconds=20,
    )


def made(
    name: str, make: Callable[[], Callable[[], Any]], *, flops: float, precision: str = ""
) -> Method:
    """Make a method and try it; what this machine lacks for it is reported in its place."""
    try:
        run = make()
        run()
    except Exception as error:  # noqa: BLE001 - every compiler and provider fails in its own way
        reason = (str(error).splitlines() or [""])[0]
        return Method(name=name, missing=f"{type(error).__name__}: {reason}")
    return Method(name=name, run=run, agrees=difference, flops=flops, precision=precision)


def copied(network: Network, layout: Any = None) -> Any:
    """Return a module of its own, to be moved and compiled."""
    mine = copy.deepcopy(module_of(network.encoder))
    return mine if layout is None else mine.to(memory_format=layout)


def torch_road(
    network: Any, images: Any, precision: Any = None, *, tf32: bool = True
) -> Callable[[], Any]:
    """Return a call of a torch network, with its sigmoid."""
    torch = module("torch")
    # left out, `enabled` would turn cuDNN off; ONNX Runtime looks for the quickest kernels as well
    flags = {"enabled": True, "benchmark": True, "allow_tf32": tf32}

    def run() -> Any:
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(**flags),
            torch.autocast(images.device.type, precision, enabled=precision is not None),
        ):
            result = torch.sigmoid(network(images).float())
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        return result

    return run


def onnx_road(path: Any, images: Any, **options: Any) -> Callable[[], Any]:
    """Return a call of an ONNX file through our predictor."""
    predictor = module("pladapt.onnx").OnnxPredictor(path, **options)
    return partial(predictor.predict, images)


def scoring(probabilities: Any) -> Method:
    """Score a batch where it is, as the selector does, and bring the scores to the host."""
    ids = tuple(map(str, range(len(probabilities))))
    xp = array_namespace(probabilities)
    kept = xp.asarray(probabilities, copy=True)  # the next run may use the memory again
    selector, prediction = CertaintyIndexSelector(), Prediction(ids, kept)
    return Method(
        name=SCORING,
        run=lambda: {name: to_numpy(c) for name, c in selector.score(prediction).items()},
    )


def difference(ours: Any, theirs: Any) -> str:
    """Say how far apart two results are, of which lower precision may be a reason."""
    return f"largest difference {np.abs(to_numpy(ours) - to_numpy(theirs)).max():.1g}"
