"""Counts of pixels and the metrics made of them, beside the libraries of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from harness import Case, Method, Target
from machine import module
from maps import lesions

from pladapt.functional.overlap import confusion, dsc, sen, spc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TITLE = "Metrics"
TEXT = """True and false positives and negatives of each mask, from which DSC, SEN and SPC follow.
Every library gets its own kind of array made before the clock starts. medpy has no counts: it is
asked for the three metrics, which are compared where they are defined. One truth in eight is
empty."""


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield the one case."""
    count, size = (8, 64) if quick else (256, 512)
    maps = lesions(count, size)
    predicted = np.ascontiguousarray((maps[:, 0] > np.float32(0.3)).astype(np.uint8))
    truth = np.ascontiguousarray((maps[:, 0] > np.float32(0.6)).astype(np.uint8))
    truth[::8] = 0
    methods = [
        Method(name="pladapt", run=lambda: confusion(predicted, truth), role="ours"),
        Method(name="numpy, axis=(1, 2)", run=lambda: _axes(predicted, truth), agrees=_same),
        _torchmetrics(predicted, truth),
        _monai(predicted, truth),
        _smp(predicted, truth),
        _medpy(predicted, truth),
    ]
    yield Case(
        name=f"{count} masks of {size} x {size}",
        methods=methods,
        items=count,
        unit="mask",
        targets=[
            Target(of="torchmetrics", to="pladapt", limit=10),
            Target(of="MONAI", to="pladapt", limit=10),
        ],
    )


def _axes(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    p, t = predicted == 1, truth == 1
    counts = [(a & b).sum(axis=(1, 2)) for a, b in ((p, t), (p, ~t), (~p, t), (~p, ~t))]
    return np.stack(counts, axis=1)


def _torchmetrics(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Method:
    torch, found = module("torch"), module("torchmetrics.functional.classification")
    if found is None:
        return Method(name="torchmetrics", missing="torchmetrics is not installed")
    p, t = torch.from_numpy(predicted), torch.from_numpy(truth)
    return Method(
        name="torchmetrics",
        run=lambda: found.binary_stat_scores(p, t, multidim_average="samplewise").numpy()[:, :4],
        agrees=lambda ours, theirs: _same(ours, theirs[:, [0, 1, 3, 2]]),  # tp, fp, tn, fn
    )


def _monai(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Method:
    torch, found = module("torch"), module("monai.metrics")
    if found is None:
        return Method(name="MONAI", missing="MONAI is not installed")
    p, t = (torch.from_numpy(masks)[:, None] for masks in (predicted, truth))
    return Method(
        name="MONAI",
        run=lambda: found.get_confusion_matrix(p, t).numpy()[:, 0],
        agrees=lambda ours, theirs: _same(ours, theirs[:, [0, 1, 3, 2]].astype(np.int64)),
    )


def _smp(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Method:
    name = "segmentation-models-pytorch"
    torch, found = module("torch"), module("segmentation_models_pytorch.metrics")
    if found is None:
        return Method(name=name, missing=f"{name} is not installed")
    p, t = (torch.from_numpy(masks)[:, None].long() for masks in (predicted, truth))
    return Method(
        name=name,
        run=lambda: torch.cat(found.get_stats(p, t, mode="binary"), dim=1).numpy(),
        agrees=_same,  # tp, fp, fn, tn as ours
    )


def _medpy(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Method:
    found = module("medpy.metric.binary")
    if found is None:
        return Method(name="medpy", missing="medpy is not installed")
    pairs = list(zip(predicted.astype(np.bool_), truth.astype(np.bool_), strict=True))

    def one(p: NDArray[np.bool_], t: NDArray[np.bool_]) -> tuple[float, float, float]:
        return found.dc(p, t), found.sensitivity(p, t), found.specificity(p, t)

    def run() -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):  # the sensitivity where the truth is empty
            return np.array([one(p, t) for p, t in pairs])

    return Method(name="medpy", run=run, agrees=_same_metrics)


def _same(ours: NDArray[np.int64], theirs: Any) -> str:
    np.testing.assert_array_equal(ours, theirs)
    return "counts equal"


def _same_metrics(ours: NDArray[np.int64], theirs: NDArray[np.float64]) -> str:
    tp, fp, fn, tn = ours.T
    own = np.stack([dsc(tp, fp, fn), sen(tp, fn), spc(fp, tn)], axis=1)
    defined = np.isfinite(own)
    np.testing.assert_allclose(own[defined], theirs[defined], rtol=1e-12)
    return "metrics equal where defined"
