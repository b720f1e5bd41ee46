"""What pseudo-labels were worth, where the truth is known afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.errors import MissingDataError
from pladapt.evaluation.few_labels import AS_IT_IS
from pladapt.functional.overlap import EMPTY_DSC, confusion, dsc, sen
from pladapt.reports.document import Section, Table, Text
from pladapt.reports.tables import overlap_evaluators
from pladapt.runs.labels import StoredLabels
from pladapt.runs.restarting import SO_FAR
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from pladapt.runs.records import Round, RunRecord
    from pladapt.types import Evaluation, LabelledSample, Samples

_READING: Final = (
    "The truth came afterwards and decided nothing. `pseudo-labels` are what was learnt from; "
    "`predictions` are those of the model that made them, at the evaluator's cut-off, for the kept "
    "and the dropped samples alike, so that these two can be compared. What people reviewed "
    "is in neither: their masks were taught in the place of pseudo-labels. Pixels are pooled. "
    "Precision is the fraction of the marked pixels that are right, undefined where none is marked."
)


def label_sections(
    record: RunRecord, truth: Samples[LabelledSample] | None = None
) -> Iterator[Section]:
    """Show what the pseudo-labels of each round were worth.

    Args:
        record: What the run did; its evaluators' counts tell of predictions.
        truth: The target's samples with masks, in any order, some or all of them; with these, and
            a run that was kept in a folder, the stored pseudo-labels are measured, too.
    """
    rows = tuple(
        row for number in range(len(record.rounds)) for row in _round(record, number, truth)
    )
    if rows:
        table = Table(
            "Kept against dropped, by the truth",
            ("round", "class", "what", "samples", "DSC", "precision", "SEN"),
            rows,
        )
        yield Section("What the pseudo-labels were worth", (Text(_READING), table))


def label_counts(
    record: RunRecord, number: int, truth: Samples[LabelledSample]
) -> Mapping[int, NDArray[np.int64]]:
    """Count the pixels of the pseudo-labels that a run's folder holds; ignored ones are left out.

    Args:
        record: A run that was kept in a folder.
        number: The round, from 1.
        truth: Samples of the target with masks.

    Returns:
        For each class ``(samples, 4)``: true and false positives, false and true negatives, of the
        kept samples that ``truth`` has and nobody reviewed.

    Raises:
        MissingDataError: The run was kept in no folder, or the round has no pseudo-labels.
    """
    if record.stages is None:
        raise MissingDataError("The run was kept in no folder; its pseudo-labels are gone.")
    path = record.stages / f"round-{number}" / "labels" / "labels.parquet"
    if not path.exists():
        raise MissingDataError(f"There is no {path}; the round labelled nothing.")
    places = {truth[index].id: index for index in range(len(truth))}
    current = record.rounds[number - 1]
    kept = set(current.selection.kept) & places.keys() - _reviewed(current)
    stored = StoredLabels(path)
    each = (stored[index] for index in range(len(stored)))
    known = [(id_, arrays["label"]) for id_, arrays in each if id_ in kept]
    pairs = [(label, np.asarray(truth[places[id_]].mask)) for id_, label in known]
    marked = [int(a[a != IGNORE].max(initial=1)) for pair in pairs for a in pair]
    return {
        class_: np.concatenate([_counts(*pair, class_) for pair in pairs])
        for class_ in range(1, max(marked, default=0) + 1)
    }


def _counts(label: NDArray[np.uint8], truth: NDArray[Any], class_: int) -> NDArray[np.int64]:
    seen = np.where(label == IGNORE, IGNORE, truth)
    return confusion(label[None], seen[None], class_)


def _round(
    record: RunRecord, place: int, truth: Samples[LabelledSample] | None
) -> Iterator[tuple[str, ...]]:
    current = record.rounds[place]
    number = str(current.number)
    kept = current.selection.kept
    if truth is not None and record.stages is not None and kept:
        for class_, counts in label_counts(record, current.number, truth).items():
            yield (number, str(class_), "pseudo-labels, kept", *_measured(counts))
    for name in overlap_evaluators(record)[:1]:
        evaluation = _labeller(record, place, name)
        if evaluation is None:
            continue
        people = _reviewed(current)
        parts = {"kept": {*kept} - people, "dropped": current.selection.dropped.keys() - people}
        parts |= {"reviewed": people} if people else {}
        for class_ in np.unique(evaluation.samples["class"].to_numpy()).tolist():
            for fate, ids in parts.items():
                counts = _of(evaluation, ids, class_)
                yield (number, str(class_), f"predictions, {fate}", *_measured(counts))


def _reviewed(current: Round) -> set[str]:
    """Return the ids of the samples that people reviewed before a round."""
    return set() if current.reviewed is None else {*current.reviewed["id"].to_pylist()}


def _labeller(record: RunRecord, place: int, name: str) -> Evaluation | None:
    """Return what was measured of the predictor that made a round's pseudo-labels, if it was."""
    start = record.rounds[place].start
    if start is not None and start.choice.name == AS_IT_IS:
        return record.before[name]
    if start is not None and start.choice.name != SO_FAR:
        return None
    return replace(record, rounds=record.rounds[:place], choice=None).after[name]


def _of(evaluation: Evaluation, ids: Collection[str], class_: int) -> NDArray[np.int64]:
    table = evaluation.samples
    wanted = pc.is_in(table["id"], pa.array(list(ids), pa.string()))
    rows = table.filter(pc.and_(wanted, pc.equal(table["class"], class_)))
    return np.stack([rows[name].to_numpy() for name in ("tp", "fp", "fn", "tn")], axis=1)


def _measured(counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the number of samples, and the pooled DSC, precision and SEN."""
    if not len(counts):
        return ("0", "", "", "")
    tp, fp, fn, _ = counts.sum(axis=0)
    precision = sen(tp, fp)  # TP / (TP + FP)
    values = (dsc(tp, fp, fn, empty=EMPTY_DSC), precision, sen(tp, fn))
    return (str(len(counts)), *(f"{float(value):.3f}" for value in values))
