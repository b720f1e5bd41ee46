"""Comparing the predicted masks of a folder with the true ones of another."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pladapt.data.prefetch import prefetch
from pladapt.errors import DataError
from pladapt.evaluation.details import with_details
from pladapt.files.folder import Problem, nothing_usable
from pladapt.files.pairing import Pairing, likely_pattern
from pladapt.files.places import turned_onto
from pladapt.files.reading import ImageLayout
from pladapt.functional.certainty import hard_labels
from pladapt.functional.overlap import EMPTY_DSC, count_rows, evaluation
from pladapt.types import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pladapt.data.tolerance import OnError
    from pladapt.evaluation.details import Details
    from pladapt.files.folder import Files, Grouping
    from pladapt.files.reading import Item, Loaded, MaskLayout
    from pladapt.files.series import Source
    from pladapt.types import Evaluation, Progress


def evaluate_files(
    predictions: Files,
    truth: Files,
    *,
    layout: MaskLayout,
    truth_layout: MaskLayout,
    grouping: Grouping,
    pairing: Pairing | None = None,
    cutoff: float | None = None,
    scale: float | None = None,
    empty: float = EMPTY_DSC,
    details: Details | None = None,
    readers: int = 2,
    on_error: OnError = "skip",
    progress: Progress | None = None,
) -> tuple[Evaluation, list[Problem]]:
    """Measure DSC, SEN and SPC of predicted masks against the true masks of the same names.

    Predictions whose axes run in other directions than the truth's are turned, where both files
    say their places.

    Args:
        predictions: The predicted masks, or their probabilities.
        truth: The true masks; a single file is compared with a single file whatever their names.
        layout: How predicted masks are read.
        truth_layout: How true masks are read; as many labels.
        grouping: What a file belongs to.
        pairing: Which truth belongs to a prediction, where their names differ.
        cutoff: The predictions are probabilities, and a pixel above this is foreground.
        scale: What probability 1 is stored as, as in `pladapt.files.ImageLayout`.
        empty: The DSC where truth and prediction are both empty.
        details: What else is measured: borders, lesions, volumes. The size of a pixel is that in
            the true mask's file, or in the prediction's where that says none.
        readers: How many files are read at once.
        on_error: What becomes of a pair that cannot be used: ``skip`` leaves it out, ``raise`` ends
            the call.
        progress: Called as files are finished.

    Returns:
        The evaluation, and what was left out.

    Raises:
        DataError: Nothing can be used, or something cannot and ``on_error`` is ``raise``.
        InputError: Some files say how large their pixels are, and others do not.
    """
    predictions, truth = layout.arranged(predictions), truth_layout.arranged(truth)
    pairs, problems = (pairing or Pairing()).match(predictions, truth, "prediction")
    if on_error == "raise" and problems:
        raise DataError(f"{problems[0].name}: {problems[0].reason}")
    reader = _Reader(
        layout,
        truth_layout,
        partial(predictions.group, grouping=grouping),
        cutoff=cutoff,
        scale=scale,
        details=details,
    )

    def read(name: str) -> _Rows:
        return reader.rows(name, predictions.paths[name], truth.paths[pairs[name]])

    rows, more = _Rows([], [])
    calls = (partial(read, name) for name in pairs)
    with closing(prefetch(calls, readers)) as each:
        for done, (name, result) in enumerate(zip(pairs, each, strict=True), start=1):
            try:
                found = result()
                rows += found.counts
                more += found.details
            except DataError as error:
                if on_error == "raise":
                    raise DataError(f"{name}: {error}") from error
                problems.append(Problem(name, str(error)))
            if progress is not None:
                progress("evaluate", done, len(pairs))
    if not rows:
        raise nothing_usable(problems, predictions.root, hint=_hint(pairs, predictions, truth))
    said = {} if cutoff is None else {"cutoff": str(cutoff)}
    measured = evaluation(rows, empty=empty, **said)
    return (measured if details is None else with_details(measured, more, details)), problems


def _hint(pairs: dict[str, str], predictions: Files, truth: Files) -> str:
    """Return what would pair the files, where no two have the same name."""
    pattern = None if pairs else likely_pattern(predictions.paths, truth.paths)
    return "" if pattern is None else f"These names would pair with --match '{pattern}'."


class _Rows(NamedTuple):
    """Rows of the same samples and classes, in the same order; details only if asked for."""

    counts: list[dict[str, object]]
    details: list[dict[str, Any]]


class _Reader:
    """Reads pairs of files, and counts their pixels."""

    def __init__(
        self,
        layout: MaskLayout,
        truth_layout: MaskLayout,
        group: Callable[[str], str],
        *,
        cutoff: float | None,
        scale: float | None,
        details: Details | None,
    ) -> None:
        self._masks, self._truth, self._group = layout, truth_layout, group
        self._cutoff, self._details = cutoff, details
        self._maps = ImageLayout(
            layout.dimensions,
            layout.axes,
            probabilities=True,
            scale=scale,
            key=layout.key,
            max_values=layout.max_values,
        )

    def rows(self, name: str, prediction: Source, truth: Source) -> _Rows:
        """Measure a pair of files, a row per sample and class.

        Raises:
            DataError: The files cannot be used, or do not fit each other.
        """
        group = self._group(name)
        fixed = self._truth.load(truth)
        loaded = self._turned(prediction, fixed)
        predicted = list(self._predicted(name, loaded))
        true = list(self._truth.items(name, fixed))
        shapes = [[item.array.shape for item in side] for side in (predicted, true)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"The prediction has {_shape(predicted)} and the truth {_shape(true)}; they must "
                "agree."
            )
        samples = [Sample(item.id, group, item.array) for item in predicted]
        masks, truths = (np.stack([item.array for item in side]) for side in (predicted, true))
        classes = len(self._truth.labels)
        counts = list(count_rows(samples, masks, truths, classes))
        if self._details is None:
            return _Rows(counts, [])
        spacings = [fixed.spacing or loaded.spacing] * len(samples)
        return _Rows(counts, list(self._details.rows(samples, masks, truths, classes, spacings)))

    def _turned(self, source: Source, fixed: Loaded) -> Loaded:
        layout = self._masks if self._cutoff is None else self._maps
        return turned_onto(layout.load(source), fixed)

    def _predicted(self, name: str, loaded: Loaded) -> Iterator[Item]:
        if self._cutoff is None:
            yield from self._masks.items(name, loaded)
        else:
            for item in self._maps.items(name, loaded):
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
