"""The certainty index of a batch, beside other ways to compute it and a plain read of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from harness import Case, Method, Target
from machine import gpu, module
from maps import KINDS

from pladapt import certainty_index
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TITLE = "Scoring"
TEXT = """The certainty index at a cut-off of 0.5, with N and the check that every value is in
[0, 1] and none is NaN, which the peers leave out. The floor is `maps.sum()`: one read of the same
bytes. cleanlab's score is another one, for the same purpose."""

_CUTOFF = 0.5


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for each kind of map and each library that holds it."""
    count, size = (4, 64) if quick else (64, 512)
    for kind, make in KINDS.items():
        maps = make(count, size)
        yield _case(f"numpy, {kind}", maps, _numpy_methods(maps), Target(**_floor(3.5)))
        if torch := module("torch"):
            tensor = torch.from_numpy(maps)
            yield _case(f"torch on the CPU, {kind}", maps, _torch_methods(torch, tensor))
            if gpu():
                methods = _torch_methods(torch, tensor.cuda())
                yield _case(f"torch on the GPU, {kind}", maps, methods)


def _floor(limit: float) -> dict[str, Any]:
    return {"of": "pladapt", "to": "plain read", "limit": limit, "at_most": True}


def _case(name: str, maps: NDArray[np.float32], methods: list[Method], *targets: Target) -> Case:
    shape = " x ".join(map(str, (len(maps), *maps.shape[2:])))
    return Case(
        name=f"{name}, {shape}", methods=methods, items=len(maps), unit="image", targets=targets
    )


def _numpy_methods(maps: NDArray[np.float32]) -> list[Method]:
    return [
        Method(name="pladapt", run=lambda: certainty_index(maps, _CUTOFF), role="ours"),
        Method(name="plain read", run=maps.sum, role="floor"),
        Method(
            name="boolean indexing per image", run=lambda: _by_indexing(maps), agrees=_same_index
        ),
        Method(name="sum(where=)", run=lambda: _by_where(maps), agrees=_same_index),
        _cleanlab(maps),
    ]


def _by_indexing(maps: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    kept = [plane[plane > _CUTOFF] for plane in maps[:, 0]]
    means = [float(values.mean(dtype=np.float64)) if values.size else np.nan for values in kept]
    return np.array(means)[:, None], np.array([values.size for values in kept])[:, None]


def _by_where(maps: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    above = maps > _CUTOFF
    counts = above.sum(axis=(2, 3))
    totals = maps.sum(axis=(2, 3), where=above, dtype=np.float64)
    return totals / np.where(counts, counts, np.nan), counts


def _cleanlab(maps: NDArray[np.float32]) -> Method:
    name = "cleanlab (another score)"
    rank = module("cleanlab.segmentation.rank")
    if rank is None:
        return Method(name=name, missing="cleanlab is not installed")
    labels = (maps[:, 0] > _CUTOFF).astype(np.int64)
    both = np.concatenate([1 - maps, maps], axis=1)
    return Method(
        name=name,
        run=lambda: rank.get_label_quality_scores(labels, both, verbose=False),
        agrees=lambda _ours, theirs: f"another score: {len(theirs[0])} of them",
    )


def _torch_methods(torch: Any, maps: Any) -> list[Method]:
    wait = torch.cuda.synchronize if maps.device.type == "cuda" else lambda: None

    def finished(function: Any) -> Any:
        def run() -> Any:
            result = function()
            wait()
            return result

        return run

    def by_where() -> tuple[Any, Any]:
        above = maps > _CUTOFF
        counts = above.sum((2, 3))
        return torch.where(above, maps, 0).sum((2, 3), dtype=torch.float64) / counts, counts

    return [
        Method(name="pladapt", run=finished(lambda: certainty_index(maps, _CUTOFF)), role="ours"),
        Method(name="plain read", run=finished(maps.sum), role="floor"),
        Method(name="torch.where and sum", run=finished(by_where), agrees=_same_index),
    ]


def _same_index(ours: tuple[Any, Any], theirs: tuple[Any, Any]) -> str:
    (ci, pixels), (other, counts) = (tuple(map(to_numpy, pair)) for pair in (ours, theirs))
    np.testing.assert_array_equal(pixels, counts)
    np.testing.assert_allclose(ci, other, rtol=1e-6)
    return "N equal, CI to 1e-6"
