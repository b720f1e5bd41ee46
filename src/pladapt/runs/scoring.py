"""The pass over the target that scores and labels every sample, and can be interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pladapt.data.views import Subset, check_unlabelled
from pladapt.errors import InputError
from pladapt.predictors.prediction import predictions
from pladapt.runs.labels import packed_labels, write_labels
from pladapt.runs.manifest import fingerprint
from pladapt.runs.parts import Parts
from pladapt.selection.labelling import pseudo_labels
from pladapt.selection.scoring import score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pladapt.types import Prediction, Progress, Sample, Samples
    from pladapt.typing import Predictor, Selector

_KEYS: Final = pa.schema({name: pa.string() for name in ("id", "group", "sha256")})
"""What says of each row which sample it is of, and whether that is still the same."""

_LABEL: Final = "label:"  # before the names of a label's columns, which a score might share


def score_and_label(
    predictor: Predictor,
    target: Samples[Sample],
    selector: Selector,
    folder: Path,
    labels: Path,
    *,
    batch_size: int,
    check: Callable[[pa.Table], None],
    progress: Progress,
) -> pa.Table:
    """Score and label every sample, from where an earlier call was interrupted.

    Args:
        predictor: Predicts.
        target: What is scored.
        selector: Scores and labels.
        folder: Keeps what is finished, part by part; to be removed once the scores are stored.
        labels: The file of labels to write.
        batch_size: How many samples are predicted at once.
        check: Called with the ids, groups and SHA-256s of what an earlier call has finished.
        progress: Called as samples are finished.

    Returns:
        A row per sample: ``id``, ``group``, ``sha256`` and the selector's columns.

    Raises:
        InputError: A part returned a wrong shape, or an id stands twice.
        DataError: What an earlier call left is damaged.
    """
    parts = Parts(folder)
    before = pa.concat_tables([_KEYS.empty_table(), *parts.tables(_KEYS.names)])
    check(before)
    done = before["id"].to_pylist()
    try:
        for rows in _pass(predictor, target, selector, done, batch_size):
            _check_columns(parts.schema, rows.schema)
            parts.add(rows)
            progress("score", len(done), len(target))
            if parts.due:
                parts.write()
    finally:
        if parts.waits:
            parts.write()
    write_labels(map(_labels, parts.tables()), labels)
    return pa.concat_tables(map(_scores, parts.tables()))


def _pass(
    predictor: Predictor,
    target: Samples[Sample],
    selector: Selector,
    done: list[str],
    batch_size: int,
) -> Iterator[pa.Table]:
    """Yield the scores and labels of each batch beyond what is done, and add to that."""
    seen = set(done)
    rest = Subset(target, range(len(done), len(target)))
    for batch, prediction in predictions(predictor, rest, batch_size=batch_size):
        for sample in batch:
            check_unlabelled(sample)
            if sample.id in seen:
                raise InputError(f"The target id {sample.id!r} stands twice; ids must be unique.")
            seen.add(sample.id)
        rows = _rows(selector, batch, prediction)
        done += [sample.id for sample in batch]
        yield rows


def _rows(selector: Selector, batch: Sequence[Sample], prediction: Prediction) -> pa.Table:
    digests = pa.array([fingerprint(sample.image) for sample in batch], pa.string())
    rows = score(selector, batch, prediction).add_column(2, "sha256", digests)
    labels = packed_labels(pseudo_labels(selector, prediction)).drop_columns("id")
    for name in labels.column_names:
        rows = rows.append_column(f"{_LABEL}{name}", labels[name])
    return rows


def _check_columns(before: pa.Schema | None, now: pa.Schema) -> None:
    if before is not None and now != before:
        raise InputError(
            f"A batch's scores and labels have the columns {now.names}, those before it "
            f"{before.names}; every prediction must have the same classes."
        )


def _scores(part: pa.Table) -> pa.Table:
    return part.drop_columns([name for name in part.column_names if name.startswith(_LABEL)])


def _labels(part: pa.Table) -> pa.Table:
    names = ["id", *(name for name in part.column_names if name.startswith(_LABEL))]
    return part.select(names).rename_columns([name.removeprefix(_LABEL) for name in names])
