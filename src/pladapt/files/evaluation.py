"""Comparing the predicted masks of a folder with the true ones of another."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.data.prefetch import prefetch
from pladapt.errors import DataError
from pladapt.files.folder import Problem, nothing_usable
from pladapt.files.reading import ImageLayout
from pladapt.functional.certainty import hard_labels
from pladapt.functional.overlap import EMPTY_DSC, count_rows, evaluation
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import Item, MaskLayout
    from pladapt.types import Evaluation, Progress


def evaluate_files(
    predictions: Files,
    truth: Files,
    *,
    layout: MaskLayout,
    truth_layout: MaskLayout,
    grouping: Grouping,
    cutoff: float | None = None,
    empty: float = EMPTY_DSC,
    readers: int = 2,
    strict: bool = False,
    progress: Progress | None = None,
) -> tuple[Evaluation, list[Problem]]:
    """Measure DSC, SEN and SPC of predicted masks against the true masks of the same names.

    Args:
        predictions: The predicted masks, or their probabilities.
        truth: The true masks; a single file is compared with a single file whatever their names.
        layout: How predicted masks are read.
        truth_layout: How true masks are read; as many labels.
        grouping: What a file belongs to.
        cutoff: The predictions are probabilities, and a pixel above this is foreground.
        empty: The DSC where truth and prediction are both empty.
        readers: How many files are read at once.
        strict: Raise for what cannot be used, instead of leaving it out.
        progress: Called as files are finished.

    Returns:
        The evaluation, and what was left out.

    Raises:
        DataError: Nothing can be used, or something cannot and ``strict`` is set.
    """
    pairs, problems = _pairs(predictions, truth)
    if strict and problems:
        raise DataError(f"{problems[0].name}: {problems[0].reason}")
    reader = _Reader(layout, truth_layout, grouping, cutoff)
    rows: list[dict[str, object]] = []
    calls = (partial(reader.rows, name, *paths) for name, paths in pairs.items())
    with closing(prefetch(calls, readers)) as each:
        for done, (name, result) in enumerate(zip(pairs, each, strict=True), start=1):
            try:
                rows += result()
            except DataError as error:
                if strict:
                    raise DataError(f"{name}: {error}") from error
                problems.append(Problem(name, str(error)))
            if progress is not None:
                progress("evaluate", done, len(pairs))
    if not rows:
        raise nothing_usable(problems, predictions.root)
    said = {} if cutoff is None else {"cutoff": str(cutoff)}
    return evaluation(rows, empty=empty, **said), problems


def _pairs(
    predictions: Files, truth: Files
) -> tuple[Mapping[str, tuple[Path, Path]], list[Problem]]:
    """Match files by name; what has no partner is a problem, on either side."""
    if predictions.root.is_file() and truth.root.is_file():
        ((name, path),), (other,) = predictions.paths.items(), truth.paths.values()
        return {name: (path, other)}, []
    both = predictions.paths.keys() & truth.paths.keys()
    problems = [
        Problem(name, f"There is no {what} of this name in {files.root}.")
        for what, files in (("truth", truth), ("prediction", predictions))
        for name in sorted((predictions.paths.keys() | truth.paths.keys()) - files.paths.keys())
    ]
    return {name: (predictions.paths[name], truth.paths[name]) for name in sorted(both)}, problems


class _Reader:
    """Reads pairs of files, and counts their pixels."""

    def __init__(
        self,
        layout: MaskLayout,
        truth_layout: MaskLayout,
        grouping: Grouping,
        cutoff: float | None,
    ) -> None:
        self._masks, self._truth, self._grouping = layout, truth_layout, grouping
        self._cutoff = cutoff
        self._maps = ImageLayout(layout.dimensions, layout.axes, probabilities=True)

    def rows(self, name: str, prediction: Path, truth: Path) -> list[dict[str, object]]:
        """Count the pixels of a pair of files, a row per sample and class.

        Raises:
            DataError: The files cannot be used, or do not fit each other.
        """
        group = self._grouping.group(name)
        predicted = list(self._predicted(name, prediction))
        true = list(self._truth.items(name, self._truth.load(truth)))
        shapes = [[item.array.shape for item in side] for side in (predicted, true)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"The prediction has {_shape(predicted)} and the truth {_shape(true)}; they must "
                "agree."
            )
        return list(
            count_rows(
                [Sample(item.id, group, item.array) for item in predicted],
                np.stack([item.array for item in predicted]),
                np.stack([item.array for item in true]),
                len(self._truth.labels),
            )
        )

    def _predicted(self, name: str, path: Path) -> Iterator[Item]:
        if self._cutoff is None:
            yield from self._masks.items(name, self._masks.load(path))
        else:
            for item in self._maps.items(name, self._maps.load(path)):
                yield item._replace(array=self._labels(item.array, self._cutoff))

    def _labels(self, probabilities: NDArray[Any], cutoff: float) -> NDArray[np.uint8]:
        classes = max(1, len(probabilities) - 1)
        if classes != len(self._truth.labels):
            raise DataError(
                f"The probabilities have {len(probabilities)} channels, for {classes} classes; the "
                f"truth has the labels {list(self._truth.labels)}."
            )
        labels: NDArray[np.uint8] = hard_labels(probabilities[None], cutoff)[0]
        return labels


def _shape(items: list[Item]) -> str:
    shape = " x ".join(map(str, items[0].array.shape))
    return shape if len(items) == 1 else f"{len(items)} slices of {shape}"
