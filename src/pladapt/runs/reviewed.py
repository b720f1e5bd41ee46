"""A further round, which people's answers teach."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from pladapt.data.views import Mapped, Subset
from pladapt.evaluation.few_labels import LEAST
from pladapt.functional.overlap import EMPTY_DSC, dsc
from pladapt.runs.answers import answers_of, answers_table, read_answers
from pladapt.runs.labels import StoredLabels
from pladapt.runs.manifest import note_reviews, read_manifest
from pladapt.selection.rules import kept_rows, selection_of
from pladapt.storage import is_stored, read_stored_table, read_table, write_stored_table
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.runs.answers import Answer
    from pladapt.types import PseudoLabelled, Samples, Selection

CANDIDATES: Final = "candidates"
"""The folder of the runs that gave the candidates, where labelled images chose."""

REVIEWED_FILE: Final = "reviewed.parquet"
"""The file of the answers that a round is taught with."""

REJECTED: Final = "rejected"
"""The rule that drops what a person rejected."""

DOUBTED: Final = "doubted"
"""The rule that drops what nobody reviewed, where people's masks say that it is not worth it."""

WORTH: Final = 0.5
"""The DSC with people's masks below which pseudo-labels are not worth learning."""

REPEATS: Final = 10
"""How often a reviewed sample is gone through at most, for each time that another one is."""

_SHOWN: Final = ["id", "decision", "who", "at", "seconds"]


def reviewed_run(run: Path) -> Path:
    """Return the folder of the run whose masks are reviewed, and which answers teach.

    It is the one given; where labelled images chose (``--labelled``), it is that of the candidate
    which stays unless another is clearly better. They choose again once it has been taught.

    Raises:
        MissingDataError: There is no run.
        DataError: Its manifest is damaged.
    """
    config = read_manifest(run)["config"]
    return run / CANDIDATES / config["start"] if "chooser" in config else run


def answers_for(run: Path, number: int, before: Mapping[str, Answer]) -> dict[str, Answer]:
    """Return the answers that a round is taught with; none where nothing new was said.

    They are stored with the round when it begins, so that it ends with the same bytes whatever is
    said meanwhile; the manifest notes who gave them.

    Args:
        run: The run folder.
        number: The round's.
        before: Those of the reviewed round before.
    """
    path = run / f"round-{number}" / REVIEWED_FILE
    if not is_stored(path):
        found = answers_table(read_answers(run))
        if not len(found) or found.equals(answers_table(before)):
            return {}
        write_stored_table(found, path)
    table = read_stored_table(path)
    note_reviews(run, _noted(table, number))
    return answers_of(table)


def _noted(table: pa.Table, number: int) -> list[dict[str, Any]]:
    """Return what the manifest says of each person's answers."""
    by_person: dict[str, list[dict[str, Any]]] = {}
    for row in table.select(_SHOWN).sort_by("at").to_pylist():
        by_person.setdefault(row["who"], []).append(row)
    return [
        {
            "round": number,
            "who": who,
            **Counter(row["decision"] for row in rows),
            "seconds": round(sum(row["seconds"] for row in rows), 1),
            "first": rows[0]["at"],
            "last": rows[-1]["at"],
        }
        for who, rows in sorted(by_person.items())
    ]


def stored_review(folder: Path) -> pa.Table | None:
    """Return who said what of which sample before a round, or None where nobody did.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / REVIEWED_FILE
    return read_stored_table(path, _SHOWN) if is_stored(path) else None


def _worth_learning(answers: Mapping[str, Answer], path: Path) -> bool:
    """Tell whether pseudo-labels are worth learning beside people's masks.

    They are not where at least `pladapt.evaluation.few_labels.LEAST` masks that people accepted or
    corrected have a DSC below `WORTH`, all pixels together, with the pseudo-labels of the same
    samples: a model that is wrong on those teaches its faults on the others.

    Args:
        answers: By the samples' ids.
        path: The file of the pseudo-labels of all samples.

    Raises:
        DataError: It is damaged.
    """
    rows = {id_: row for row, id_ in enumerate(read_table(path, ["id"])["id"].to_pylist())}
    masks = {id_: each.mask for id_, each in answers.items() if each.mask is not None}
    known = [id_ for id_ in masks if id_ in rows]
    if len(known) < LEAST:
        return True
    stored = StoredLabels(path)
    counts = np.sum([_overlap(stored[rows[id_]][1]["label"], masks[id_]) for id_ in known], axis=0)
    return bool(dsc(*counts, empty=EMPTY_DSC) >= WORTH)


def _overlap(label: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return true positives, false positives and false negatives; a wrong class is both false."""
    counted = (label != IGNORE) & (mask != IGNORE)
    marked, right = (label > 0) & counted, (mask > 0) & counted
    hit = marked & (label == mask)
    return np.array([hit.sum(), (marked & ~hit).sum(), (right & ~hit).sum()], np.int64)


def with_answers(selection: Selection, answers: Mapping[str, Answer], labels: Path) -> Selection:
    """Keep what has a person's mask, as the surest, and drop what a person rejected.

    What nobody reviewed is kept as far as it was selected, where it is worth it.

    Args:
        selection: By the scores.
        answers: By the samples' ids.
        labels: The file of the pseudo-labels of all samples.

    Raises:
        DataError: It is damaged.
    """
    table, ids = selection.table, selection.table["id"].to_pylist()
    taught = [row for row, id_ in enumerate(ids) if _mask(answers, id_) is not None]
    others = [row for row in kept_rows(selection).tolist() if ids[row] not in answers]
    rules = table["rule"].to_pylist()
    if not _worth_learning(answers, labels):
        rules = [DOUBTED if rule is None else rule for rule in rules]
        others = []
    rules = [REJECTED if id_ in answers else rules[row] for row, id_ in enumerate(ids)]
    score = table["score"].to_numpy()
    return selection_of(
        table, score, np.array([*taught, *others], np.int64), pa.array(rules, pa.string())
    )


def taught_labels(
    labels: Samples[PseudoLabelled], selection: Selection, answers: Mapping[str, Answer]
) -> Samples[PseudoLabelled]:
    """Put people's masks in the place of pseudo-labels.

    A sample with such a mask has the highest score and no pixel weights, and stands there several
    times: as often as makes the reviewed samples about as many as the others, and at most `REPEATS`
    times, so that a few masks that are right are heard among many that may not be.

    Args:
        labels: The kept samples', in their order.
        selection: What `with_answers` returned.
        answers: By the samples' ids.
    """
    first = sum(_mask(answers, id_) is not None for id_ in selection.kept)
    surest = max(
        (each for each in selection.table["score"].to_pylist() if each is not None), default=1.0
    )

    def corrected(item: PseudoLabelled) -> PseudoLabelled:
        mask = _mask(answers, item.id)
        if mask is None:
            return item
        return replace(item, label=mask, score=surest, probabilities=None, weight=None)

    others = len(labels) - first
    times = min(REPEATS, max(1, round(others / max(1, first))))
    order = [*range(first)] * times + [*range(first, len(labels))]
    return Subset(Mapped(labels, corrected), order)


def _mask(answers: Mapping[str, Answer], id_: str) -> Any:
    return answers[id_].mask if id_ in answers else None
