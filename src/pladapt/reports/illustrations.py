"""The charts of a run, each with what it shows in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.reports import figures
from pladapt.reports.comparison import by_name, selected
from pladapt.reports.document import Figure, Gallery
from pladapt.reports.galleries import KEPT
from pladapt.storage import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.runs.records import Round, RunRecord


def score_charts(current: Round, parameters: Mapping[str, Any]) -> Gallery:
    """Draw a round's scores by what became of the samples, with the marks of the rules.

    Args:
        current: The round.
        parameters: The selector's: ``cutoff``, ``limit`` and ``min_pixels``.
    """
    name = "certainty index (CI)" if "ci_limit" in parameters else "score"
    score = current.selection.table["score"].to_numpy()
    fates = _fates(current)
    charts = [_histogram(current, score, fates, parameters, name)]
    if "pixels" in current.scores.column_names:
        pixels = current.scores["pixels"].to_numpy().astype(float)
        points = {fate: (score[places], pixels[places]) for fate, places in fates.items()}
        charts.append(
            Figure(
                figures.score_against_pixels(points, parameters.get("min_pixels"), name=name),
                f"Scatter plot of the {name} against the number of pixels above the cut-off.",
                f"The {name} against N, the number of pixels above the cut-off, whose mean it is.",
            )
        )
    return Gallery(f"The scores of round {current.number}", tuple(charts))


def _histogram(
    current: Round,
    score: NDArray[np.floating],
    fates: Mapping[str, NDArray[np.intp]],
    parameters: Mapping[str, Any],
    name: str,
) -> Figure:
    marks = _marks(current, parameters)
    counted = [f"{len(places)} {fate}" for fate, places in fates.items()]
    without = int(np.isnan(score).sum())
    missing = f"; {without} more have none" if without else ""
    return Figure(
        figures.score_histogram(
            {fate: score[places] for fate, places in fates.items()}, marks, name=name
        ),
        f"Histogram of the {name}: {', '.join(counted)}; marked are {', '.join(marks)}.",
        f"The {name} of {len(score) - without} samples, by what became of them{missing}.",
    )


def _fates(current: Round) -> dict[str, NDArray[np.intp]]:
    """Return the positions of the kept samples and of those that each rule dropped."""
    rules = np.array([rule or KEPT for rule in current.selection.table["rule"].to_pylist()])
    return {rule: np.flatnonzero(rules == rule) for rule in current.selection.counts}


def _marks(current: Round, parameters: Mapping[str, Any]) -> dict[str, float]:
    """Return where the cut-off, the limit and the last kept score stand, by what to call them."""
    cutoffs = parameters.get("cutoff", [])
    marks = {f"cut-off {value:g}": float(value) for value in np.atleast_1d(cutoffs)}
    if (limit := parameters.get("limit")) is not None:
        marks[f"limit {limit:g}"] = limit
    if kept := current.selection.kept:
        place = current.selection.table["rank"].index(len(kept)).as_py()
        last = current.selection.table["score"][place].as_py()
        marks[f"k = {len(kept)}: {last:.3f}"] = last
    return marks


def overlap_charts(record: RunRecord, evaluator: str, class_: int, name: str) -> Gallery:
    """Draw the DSC of each sample and of each group, before and after.

    Args:
        record: What the run did.
        evaluator: One that counted pixels.
        class_: The class, from 1.
        name: What the metric is called: ``DSC``, or ``DSC of class 2``.
    """
    charts = (
        _scatter(record, evaluator, class_, name),
        _dumbbells(record, evaluator, class_, name),
    )
    return Gallery(f"{name} before and after", charts)


def _scatter(record: RunRecord, evaluator: str, class_: int, name: str) -> Figure:
    before, after = by_name(record, evaluator, by="id", class_=class_)
    old, new = before["dsc"].to_numpy(), after["dsc"].to_numpy()
    taught = np.isin(before["id"].to_pylist(), sorted(selected(record)))
    points = {
        label: (old[mask], new[mask])
        for label, mask in (("not retrained on", ~taught), ("retrained on", taught))
        if mask.any()
    }
    said = _gains("samples", old, new)
    return Figure(
        figures.before_against_after(points, metric=name),
        f"Scatter plot of the {name} of each sample, after against before: {said}.",
        f"The {name} of each sample; above the diagonal it gained. Of {said}.",
    )


def _dumbbells(record: RunRecord, evaluator: str, class_: int, name: str) -> Figure:
    before, after = by_name(record, evaluator, by="group", class_=class_)
    old, new = before["dsc"].to_numpy(), after["dsc"].to_numpy()
    order = np.argsort(-old, kind="stable")
    names = [before["group"][int(place)].as_py() for place in order]
    said = _gains("groups", old, new)
    return Figure(
        figures.dumbbells(names, old[order], new[order], metric=name),
        f"The {name} of each group before and after: {said}.",
        f"The {name} of each group (patient), its pixels pooled. Of {said}.",
    )


def _gains(what: str, old: NDArray[np.floating], new: NDArray[np.floating]) -> str:
    return f"{len(old)} {what}, {(new > old).sum()} gained and {(new < old).sum()} lost"


def training_chart(path: Path) -> Gallery:
    """Draw a training from its ``history.json``: ``epochs``, ``best_epoch`` and ``validation``."""
    history = read_json(path)
    epochs, best = history["epochs"], history["best_epoch"]
    validated = f", validated on {history['validation']}" if "validation" in history else ""
    said = f"{len(epochs)} epochs{validated}; the weights of epoch {best} are kept."
    chart = Figure(figures.training_curves(epochs, best), f"Line chart: {said}", said)
    return Gallery("Losses and validation DSC by epoch", (chart,))
