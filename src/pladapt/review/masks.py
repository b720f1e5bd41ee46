"""The masks that a run holds, by sample and by who made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pladapt.data.batches import batches
from pladapt.errors import InputError, MissingDataError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import foreground, hard_labels
from pladapt.functional.uncertainty import soft_dice
from pladapt.predictors.prediction import predict_finite
from pladapt.runs.labels import StoredLabels, packed_labels, write_labels
from pladapt.storage import is_stored, read_stored_table, read_table, write_stored_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Progress, Sample, Samples
    from pladapt.typing import Predictor

_SCORED: Final = pa.schema([("id", pa.string()), ("group", pa.string()), ("score", pa.float64())])

CANDIDATES: Final = "review/candidates"
"""Where masks of other predictors are, in a file for each by its name."""


SCORES: Final = "review/scores"
"""Where the groups and scores of these masks are, likewise."""


class Candidate(NamedTuple):
    """What made a mask of every sample.

    Args:
        name: ``round-1``, say, or that of a file in `CANDIDATES`.
        labels: The masks.
        rows: Where among them each sample's is, by its id.
    """

    name: str
    labels: StoredLabels
    rows: dict[str, int]

    def mask(self, id_: str) -> NDArray[np.uint8]:
        """Return a sample's mask ``(*S)``."""
        mask: NDArray[np.uint8] = self.labels[self.rows[id_]][1]["label"]
        return mask


class RunMasks:
    """The masks of a run, and what is known of its samples.

    Args:
        run: The run folder.

    Raises:
        MissingDataError: There is no run, or none of its rounds has labelled anything.
        DataError: A file is damaged.
    """

    def __init__(self, run: Path) -> None:
        self.candidates = _candidates(run)
        """Those of the rounds, the last one first, and then the others by name."""
        if not self.candidates:
            raise MissingDataError(
                f"{run} has no masks to review: no round has labelled anything. Have the "
                "adapted model predict them (pladapt review RUN --who NAME --predict)."
            )
        self.ids = list(self.candidates[0].rows)
        """The samples, in the target's order."""
        self.groups, self.scores = _known(run, self.candidates[0].name, self.ids)

    def mask(self, id_: str) -> NDArray[np.uint8]:
        """Return the mask that is reviewed: that of the first candidate.

        Raises:
            InputError: There is no such sample.
        """
        self.check(id_)
        return self.candidates[0].mask(id_)

    def others(self, id_: str) -> dict[str, NDArray[np.uint8]]:
        """Return every candidate's mask of a sample, by its name."""
        self.check(id_)
        return {each.name: each.mask(id_) for each in self.candidates if id_ in each.rows}

    def check(self, id_: str) -> None:
        """Make sure that there is such a sample.

        Raises:
            InputError: There is none.
        """
        if id_ not in self.candidates[0].rows:
            raise InputError(
                f"The run has no sample {id_!r}; it has {len(self.ids)}, such as {self.ids[0]!r}."
            )


def _candidates(run: Path) -> list[Candidate]:
    rounds = sorted(run.glob("round-*/labels/labels.parquet"), key=_number, reverse=True)
    paths = {path.parent.parent.name: path for path in rounds}
    paths |= {path.stem: path for path in sorted((run / CANDIDATES).glob("[!.]*.parquet"))}
    return [_candidate(name, path) for name, path in paths.items() if is_stored(path)]


def _number(path: Path) -> int:
    return int(path.parent.parent.name.removeprefix("round-"))


def _candidate(name: str, path: Path) -> Candidate:
    ids = read_table(path, ["id"])["id"].to_pylist()
    return Candidate(name, StoredLabels(path), {id_: row for row, id_ in enumerate(ids)})


def _known(run: Path, name: str, ids: list[str]) -> tuple[dict[str, str], dict[str, float | None]]:
    """Return the samples' groups and the scores by which they were selected, as far as stored."""
    scores, selection = run / name / "scores.parquet", run / name / "selection.parquet"
    groups, values = dict.fromkeys(ids, ""), dict.fromkeys(ids, None)
    if is_stored(predicted := run / SCORES / f"{name}.parquet"):
        scores = selection = predicted
    if is_stored(scores):
        groups |= _columns(read_stored_table(scores, ["id", "group"]))
    if is_stored(selection):
        values |= _columns(read_stored_table(selection, ["id", "score"]))
    return groups, values


def _columns(table: pa.Table) -> dict[str, str]:
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def predict_candidate(
    predictor: Predictor,
    samples: Samples[Sample],
    run: Path,
    name: str,
    *,
    cutoff: Cutoff = 0.5,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> None:
    """Store a predictor's masks of a run's images as a candidate, and how sure it is of them.

    A mask's score is its Soft Dice Confidence, the lowest of its classes'; without foreground it is
    1 minus the highest foreground probability.

    Args:
        predictor: Predicts.
        samples: The images.
        run: The run folder.
        name: Of the candidate.
        cutoff: The probability above which a pixel is foreground.
        batch_size: How many samples are predicted at once.
        progress: Called as samples are predicted.
    """
    known: list[dict[str, Any]] = []

    def tables() -> Iterator[pa.Table]:
        each = (samples[index] for index in range(len(samples)))
        done = 0
        for batch, images in batches(each, batch_size=batch_size):
            probabilities = predict_finite(predictor, batch, images).probabilities
            masks = to_numpy(hard_labels(probabilities, cutoff))
            scores = _sureness(probabilities, cutoff).tolist()
            known.extend(
                {"id": sample.id, "group": sample.group, "score": score}
                for sample, score in zip(batch, scores, strict=True)
            )
            done += len(batch)
            if progress is not None:
                progress("predict", done, len(samples))
            named = zip(batch, masks, strict=True)
            yield packed_labels((sample.id, {"label": mask}) for sample, mask in named)

    write_labels(tables(), run / CANDIDATES / f"{name}.parquet")
    write_stored_table(pa.Table.from_pylist(known, _SCORED), run / SCORES / f"{name}.parquet")


def _sureness(probabilities: Array, cutoff: Cutoff) -> NDArray[np.float64]:
    """Return how sure a predictor is of each mask: ``(B,)`` in [0, 1]."""
    scores, pixels = (to_numpy(each) for each in soft_dice(probabilities, cutoff))
    lowest = np.where(pixels > 0, scores, np.inf).min(axis=1)
    peak = to_numpy(foreground(probabilities)).reshape(len(scores), -1).max(axis=1)
    sure: NDArray[np.float64] = np.where(np.isfinite(lowest), lowest, 1 - peak).astype(np.float64)
    return sure
