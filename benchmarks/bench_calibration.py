"""Every cut-off's counts at once, beside a loop over the cut-offs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from harness import Case, Method, Target
from maps import KINDS, lesions

from pladapt.evaluation.calibration import count_above

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TITLE = "Cut-off calibration"
TEXT = """True and false positives of every image for every cut-off. The loop is what one writes:
threshold all images, and sum. The two others are the best that we could make of it: with
`count_nonzero`, and image by image besides, so that an image stays in the cache."""

_LOOP = "loop over cut-offs"


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case for each number of cut-offs and each kind of map."""
    size = 64 if quick else 512
    for steps, count, least in ((101, 32, 15), (1001, 8, 150)):
        for kind, make in KINDS.items():
            images = 2 if quick else count
            yield _case(steps, kind, make(images, size)[:, 0], lesions(images, size, seed=1), least)


def _case(
    steps: int, kind: str, maps: NDArray[np.float32], others: NDArray[np.float32], least: float
) -> Case:
    truth = others[:, 0] > np.float32(0.5)
    cutoffs = np.linspace(0, 1, steps + 2)[1:-1]
    config = cutoffs.tolist()
    pairs = list(zip(maps, truth, strict=True))

    def ours() -> NDArray[np.int64]:
        return np.array([count_above(p, t, config)[:, 1:] for p, t in pairs])

    def image_by_image() -> NDArray[np.int64]:
        return np.concatenate([_counted(p[None], t[None], cutoffs) for p, t in pairs])

    methods = [
        Method(name="pladapt", run=ours, role="ours"),
        Method(name=_LOOP, run=lambda: _summed(maps, truth, cutoffs), agrees=_same),
        Method(
            name="loop, count_nonzero", run=lambda: _counted(maps, truth, cutoffs), agrees=_same
        ),
        Method(name="loop, count_nonzero, image by image", run=image_by_image, agrees=_same),
    ]
    return Case(
        name=f"{steps} cut-offs, {kind}, {len(maps)} x {maps.shape[1]} x {maps.shape[2]}",
        methods=methods,
        items=len(maps),
        unit="image",
        targets=[Target(of=_LOOP, to="pladapt", limit=least)],
    )


def _summed(
    maps: NDArray[np.float32], truth: NDArray[np.bool_], cutoffs: NDArray[np.float64]
) -> NDArray[np.int64]:
    counts = np.empty((len(maps), 2, len(cutoffs)), np.int64)
    for index, cutoff in enumerate(cutoffs.astype(maps.dtype)):
        above = maps > cutoff
        counts[:, 1, index] = (above & truth).sum(axis=(1, 2))
        counts[:, 0, index] = (above & ~truth).sum(axis=(1, 2))
    return counts


def _counted(
    maps: NDArray[np.float32], truth: NDArray[np.bool_], cutoffs: NDArray[np.float64]
) -> NDArray[np.int64]:
    counts = np.empty((len(maps), 2, len(cutoffs)), np.int64)
    for index, cutoff in enumerate(cutoffs.astype(maps.dtype)):
        above = maps > cutoff
        positive = [np.count_nonzero(plane) for plane in above]
        above &= truth
        true = [np.count_nonzero(plane) for plane in above]
        counts[:, 1, index], counts[:, 0, index] = true, np.subtract(positive, true)
    return counts


def _same(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> str:
    np.testing.assert_array_equal(ours, theirs)
    return "equal bit for bit"
