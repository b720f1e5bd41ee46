"""A person's answers to a run's masks, from Python or from the page."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pladapt.errors import InputError
from pladapt.review.journal import Journal, Stroke, drawn, runs_between
from pladapt.review.leases import Writer, held, let_go
from pladapt.review.masks import RunMasks
from pladapt.review.ordering import CEILING, doubtful_pixels, doubts, embedding, in_order, likeness
from pladapt.runs.answers import Answer, read_answer, read_answers, remove_answer, write_answer
from pladapt.runs.reviewed import reviewed_run
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.runs.answers import Decision


class Review:
    """What one person says of a run's masks, kept in the run folder as it is said.

    The next `pladapt.adapt` in the folder takes it in: see the how-to.

    Args:
        run: The run folder. Where labelled images chose in it, the masks are those of the candidate
            ``robust``, which the answers teach, and the labelled images choose again.
        who: The person's name, which is noted with every answer.
        session: Tells two pages of one person apart; by default it is made up.
        masks: The run's, where they are known; by default they are read.

    Raises:
        InputError: There is no name.
        MissingDataError: There is no run, or it has no masks.
        DataError: A file is damaged.
    """

    def __init__(
        self,
        run: str | Path,
        *,
        who: str,
        session: str | None = None,
        masks: RunMasks | None = None,
    ) -> None:
        if not who.strip():
            raise InputError("The reviewer has no name; give who, such as a person's initials.")
        self.run = reviewed_run(Path(run))
        self.masks = masks or RunMasks(self.run)
        self.writer = Writer(who.strip(), session or uuid.uuid4().hex)

    @property
    def answers(self) -> dict[str, Answer]:
        """Every answer in the run folder, of anybody, by the sample's id."""
        return read_answers(self.run)

    def mask(self, id_: str) -> NDArray[np.uint8]:
        """Return a sample's mask ``(*S)`` as it is now, with what was said and drawn.

        Raises:
            InputError: There is no such sample.
        """
        model = self.masks.mask(id_)
        if strokes := Journal(self.run, id_).strokes():
            return drawn(np.zeros_like(model), strokes)
        said = read_answer(self.run, id_)
        return model if said is None or said.mask is None else said.mask

    def draw(self, id_: str, stroke: Stroke) -> None:
        """Draw on a sample's mask; when this returns the stroke is on the disk.

        A stroke that was drawn before, by its key, is not drawn again. An answer that was given
        before is taken back: it was to another mask.

        Raises:
            InputError: There is no such sample, or the stroke does not fit its mask.
            BusyError: Somebody else is at this sample.
        """
        now = self.mask(id_)
        stroke.check(now.size)
        with held(self.run, id_, self.writer):
            self._draw(id_, stroke)
            remove_answer(self.run, id_)

    def accept(self, id_: str, *, seconds: float = 0) -> None:
        """Say that a sample's mask is right as it is now; where it was drawn on, it is corrected.

        Args:
            id_: The sample's.
            seconds: How long it took.

        Raises:
            InputError: There is no such sample.
            BusyError: Somebody else is at this sample.
        """
        self.masks.check(id_)
        with held(self.run, id_, self.writer, keep=False):
            mask = self.mask(id_)
            same = np.array_equal(mask, self.masks.mask(id_))
            self._answer(id_, "accepted" if same else "corrected", seconds, mask)

    def correct(self, id_: str, mask: NDArray[Any], *, seconds: float = 0) -> None:
        """Say what a sample's mask is to be.

        Args:
            id_: The sample's.
            mask: ``(*S)``, whole numbers or booleans: 0 the background, then one value per class,
                and `pladapt.IGNORE` where nothing is said.
            seconds: How long it took.

        Raises:
            InputError: There is no such sample, or the mask is of another shape or type.
            BusyError: Somebody else is at this sample.
        """
        right = _checked(mask, id_, self.masks.mask(id_))
        with held(self.run, id_, self.writer, keep=False):
            if runs := runs_between(self.mask(id_), right):
                self._draw(id_, Stroke(uuid.uuid4().hex, runs))
            self._answer(id_, "corrected", seconds, right)

    def reject(self, id_: str, *, seconds: float = 0) -> None:
        """Say that a sample must not teach; arguments and errors as for `accept`."""
        self.masks.check(id_)
        with held(self.run, id_, self.writer, keep=False):
            self._answer(id_, "rejected", seconds, None)

    def undo(self, id_: str) -> None:
        """Take back an answer, or where there is none the last stroke; errors as for `accept`."""
        self.masks.check(id_)
        with held(self.run, id_, self.writer):
            if read_answer(self.run, id_) is not None:
                remove_answer(self.run, id_)
            elif strokes := Journal(self.run, id_).strokes()[1:]:
                taken = Stroke(uuid.uuid4().hex, undone=strokes[-1].key)
                Journal(self.run, id_).append(taken, self.writer.who)

    def hold(self, id_: str) -> None:
        """Keep a sample for this writer for a minute more; errors as for `accept`."""
        self.masks.check(id_)
        with held(self.run, id_, self.writer):
            pass

    def let_go(self, id_: str) -> None:
        """Let others write a sample."""
        let_go(self.run, id_, self.writer)

    def queue(self, n: int = 20) -> list[str]:
        """Return the ids of the samples whose review is worth most; see `pladapt.review.queue`."""
        return _queue(self.masks, n, [*self.answers])

    def _draw(self, id_: str, stroke: Stroke) -> None:
        journal = Journal(self.run, id_)
        known = journal.keys()
        if not known:  # later rounds may have another mask: what was drawn on stays
            mask = self.mask(id_)
            first = Stroke("start", runs_between(np.zeros_like(mask), mask))
            journal.append(first, self.writer.who)
        if stroke.key not in known:
            journal.append(stroke, self.writer.who)

    def _answer(
        self, id_: str, decision: Decision, seconds: float, mask: NDArray[np.uint8] | None
    ) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        said = {"decision": decision, "who": self.writer.who, "at": at, "seconds": float(seconds)}
        write_answer(Answer(id=id_, mask=mask, **said), self.run)  # type: ignore[arg-type]


def queue(run: str | Path, n: int = 20) -> list[str]:
    """Return the ids of the samples whose review is worth most, in order.

    A sample is worth much where many of its pixels may be wrong, where many others of which this is
    so have masks like it, and where none like it, nor of its group, was reviewed or chosen before:
    see `pladapt.review.ordering`.

    Args:
        run: The run folder.
        n: How many.

    Returns:
        At most n ids, without those that were answered.

    Raises:
        InputError: n is below 1.
        MissingDataError: There is no run, or it has no masks.
        DataError: A file is damaged.
    """
    folder = reviewed_run(Path(run))
    return _queue(RunMasks(folder), n, [*read_answers(folder)])


def _queue(masks: RunMasks, n: int, answered: list[str]) -> list[str]:
    if n < 1:
        raise InputError(f"n is {n}; it must be at least 1.")
    doubt = doubts([masks.scores[id_] for id_ in masks.ids])
    rows = np.sort(np.argsort(-doubt, kind="stable")[:CEILING])
    ids = [masks.ids[row] for row in rows]
    known_of = [_looked_at(masks.mask(id_)) for id_ in ids]
    embeddings = np.stack([embedded for embedded, _ in known_of])
    alike = likeness(embeddings, [masks.groups[id_] for id_ in ids])
    scores = [masks.scores[id_] for id_ in ids]
    weights = doubtful_pixels(scores, [marked for _, marked in known_of])
    known = {*answered}
    done = [row for row, id_ in enumerate(ids) if id_ in known]
    return [ids[row] for row in in_order(weights, alike, n, done)]


def _looked_at(mask: NDArray[np.uint8]) -> tuple[NDArray[np.float64], int]:
    """Return a mask's embedding, and how many pixels it marks."""
    return embedding(mask), int(((mask > 0) & (mask != IGNORE)).sum())


def _checked(mask: NDArray[Any], id_: str, model: NDArray[np.uint8]) -> NDArray[np.uint8]:
    given = np.asarray(mask)
    whole = given.dtype.kind in "bui"
    if given.shape != model.shape or not whole:
        raise InputError(
            f"The mask of {id_!r} is {given.dtype} of shape {given.shape}; expected whole numbers "
            f"of shape {model.shape}."
        )
    if given.size and not 0 <= given.min() <= given.max() <= IGNORE:
        raise InputError(
            f"The mask of {id_!r} holds {given.min()} to {given.max()}; expected 0 to {IGNORE}."
        )
    return given.astype(np.uint8)
