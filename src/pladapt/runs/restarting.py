"""What a round starts from that people's answers teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pladapt.data.leakage import names_of
from pladapt.data.views import Mapped, Subset, checked
from pladapt.evaluation.few_labels import AS_IT_IS, LEAST, FewLabels
from pladapt.evidence.gates import DoNoHarm, ReviewedMasks
from pladapt.runs.choosing import Chosen, read_chosen, write_chosen
from pladapt.storage import is_stored
from pladapt.types import IGNORE, LabelledSample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pladapt.evidence.gates import Measure
    from pladapt.runs.answers import Answer
    from pladapt.runs.job import Job
    from pladapt.types import Sample, Samples
    from pladapt.typing import Gate, Predictor, Recalibrator, Retrainer

SO_FAR: Final = "so far"
"""The candidate that the run has made until then."""

START: Final = "start"
"""The folder of the choice, in that of the round."""

_CHOICE: Final = "choice.json"


class Start(NamedTuple):
    """What a round begins with.

    Args:
        teacher: Labels.
        student: Is trained.
    """

    teacher: Predictor
    student: Predictor


@dataclass(frozen=True, kw_only=True, eq=False)
class Restart:
    """Has people's masks choose what they are to teach, and says how.

    Where at least three masks have taught nothing yet, and show foreground, they choose as
    `pladapt.evaluation.FewLabels` does, whatever the standard errors, among the model as it was
    given (``none``), what the run has made so far (``so far``) and what each recalibrator makes of
    the model that was given. What the run has stays unless another is clearly better; the cut-off
    stays in any case.

    Args:
        recalibrators: By name.
        retrainer: Trains on people's masks, beside pseudo-labels; by default what trains without
            them.
        measures: Judge the result beside its fit to people's masks (`pladapt.DoNoHarm`). Where
            these masks are too few to choose, the run's own gates judge it.
        cutoff: The source's cut-off, in (0, 1).
        margin: By how much the mean DSC must be higher, in [0, 1).
        batch_size: How many samples are predicted at once.
    """

    recalibrators: Mapping[str, Recalibrator]
    retrainer: Retrainer | None = None
    measures: Sequence[Measure] = ()
    cutoff: float = 0.5
    margin: float = 0.05
    batch_size: int = 8

    def start(
        self,
        given: Predictor,
        so_far: Start,
        target: Samples[Sample],
        unseen: Mapping[str, Answer],
        folder: Path,
    ) -> Start:
        """Return what a round begins with; what chose it is kept in the round's folder.

        Args:
            given: The model as it was given.
            so_far: What the run has.
            target: The images.
            unseen: The answers that have taught nothing yet.
            folder: The round's.

        Raises:
            InputError: A mask has a value that is no class.
        """
        if not (masks := _telling(unseen)):
            return so_far
        known = {SO_FAR: so_far, AS_IT_IS: Start(given, given)} | self._made(given, target)
        if stored_start(folder) is None:
            chooser = FewLabels(
                samples=_labelled(target, masks),
                cutoff=self.cutoff,
                margin=self.margin,
                errors=0,  # what they choose they teach as well, and it is judged after that
                batch_size=self.batch_size,
            )
            teachers = {name: each.teacher for name, each in known.items()}
            choice = chooser.choose(teachers, start=SO_FAR, cutoffs=False)
            write_chosen(Chosen(choice, chooser.ids), folder / START)
        return known[read_chosen(folder / START).choice.name]

    def gates(self, target: Samples[Sample], answers: Mapping[str, Answer]) -> Sequence[Gate]:
        """Return what judges a round that these answers teach; nothing where they are too few."""
        if not (masks := _telling(answers)):
            return ()
        fit = ReviewedMasks(samples=_labelled(target, masks))
        measures = (fit, *self.measures)
        return (DoNoHarm(cutoff=self.cutoff, measures=measures, batch_size=self.batch_size),)

    def _made(self, given: Predictor, target: Samples[Sample]) -> dict[str, Start]:
        found = {}
        for name, each in self.recalibrators.items():
            made = each.recalibrate(given, checked(target))
            if made.teacher is not given:
                found[name] = Start(made.teacher, made.student)
        return found


def gates_of(job: Job) -> Sequence[Gate]:
    """Return the gates of a round that a job's answers teach: its own, or what people's masks say.

    A model's fraction of foreground is no measure where people say that it is wrong.
    """
    if job.restart is None or not job.gates:
        return job.gates
    return job.restart.gates(job.target, job.answers) or job.gates


def start_of(job: Job, so_far: Start, before: Mapping[str, Answer], folder: Path) -> Start:
    """Return what a round begins with that a job's answers teach.

    Args:
        job: The round's.
        so_far: What the run has.
        before: The answers that have taught before.
        folder: The round's.
    """
    if job.restart is None:
        return so_far
    unseen = {id_: answer for id_, answer in job.answers.items() if id_ not in before}
    return job.restart.start(job.given, so_far, job.target, unseen, folder)


def stored_start(folder: Path) -> Chosen | None:
    """Read what masks chose that a round starts from, or return None where they did not."""
    return read_chosen(folder / START) if is_stored(folder / START / _CHOICE) else None


def _telling(answers: Mapping[str, Answer]) -> dict[str, NDArray[np.uint8]]:
    """Return people's masks by id, if they are enough to choose by."""
    masks = {id_: each.mask for id_, each in answers.items() if each.mask is not None}
    enough = len(masks) >= LEAST and any(_shows(mask) for mask in masks.values())
    return masks if enough else {}


def _shows(mask: NDArray[np.uint8]) -> bool:
    return bool(((mask > 0) & (mask != IGNORE)).any())


def _labelled(
    target: Samples[Sample], masks: Mapping[str, NDArray[np.uint8]]
) -> Samples[LabelledSample]:
    """View the samples that have a mask, with it."""
    places = [place for place, (id_, _) in enumerate(names_of(target)) if id_ in masks]

    def labelled(sample: Any) -> LabelledSample:
        return LabelledSample(sample.id, sample.group, sample.image, masks[sample.id])

    return Mapped(Subset(target, places), labelled)
