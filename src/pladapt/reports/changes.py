"""Pictures of what an adaptation changed, and of what it is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from pladapt.data.views import Subset
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import certainty_index, combine_classes, hard_labels
from pladapt.predictors.prediction import predictions
from pladapt.reports.document import Figure, Gallery, Section, Text
from pladapt.reports.figures import subsample
from pladapt.reports.galleries import PREDICTION, TRUTH, Shown
from pladapt.reports.overlays import overlay

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.runs.records import Round, RunRecord
    from pladapt.types import LabelledSample, Sample, Samples
    from pladapt.typing import Predictor, Selector

_PIXELS: Final = 2**24  # of all samples that are looked at: 64 slices of 512 x 512
_LOOKED_AT: Final = (4, 64)
_CHANGED: Final = 3  # of these three pictures are shown each
_UNSURE: Final = 2
_KEPT: Final = 3
_DROPPED: Final = 1
_GAINED: Final = "gained"
_LOST: Final = "lost"


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What pictures of before and after are drawn from.

    Args:
        target: The unlabelled samples.
        before: The predictor that was given.
        after: The one that came of it; the same where nothing was changed.
        teacher: The one that labelled the samples of the first round.
        selector: That of the first round.
        cutoff: The probability above which a pixel is foreground.
        truth: Those of the samples that have a mask, which is drawn and decides nothing; or None.
        batch_size: How many samples are predicted at once.
    """

    target: Samples[Sample]
    before: Predictor
    after: Predictor
    teacher: Predictor
    selector: Selector
    cutoff: Cutoff = 0.5
    truth: Samples[LabelledSample] | None = None
    batch_size: int = 8

    def shown(self, current: Round) -> Shown:
        """Return what the pictures of a round's kept and dropped samples are drawn from."""
        ids: list[str] = current.scores["id"].to_pylist()
        places = _places(self.target)
        known = {} if self.truth is None else _places(self.truth)
        truth = None
        if self.truth is not None and known.keys() >= set(ids):
            truth = Subset(self.truth, [known[id_] for id_ in ids])
        return Shown(
            target=Subset(self.target, [places[id_] for id_ in ids]),
            predictor=self.teacher,
            selector=self.selector,
            truth=truth,
            kept=_KEPT,
            dropped=_DROPPED,
            batch_size=self.batch_size,
        )


class _Found(NamedTuple):
    """What is known of a sample that was looked at.

    Args:
        position: Its place in the target.
        changed: The fraction of its pixels that have another class after than before.
        certainty: The certainty index after; NaN where nothing is marked.
    """

    position: int
    changed: float
    certainty: float


def change_section(
    record: RunRecord, compared: Compared, measured: Mapping[str, str]
) -> Section | None:
    """Show the samples whose masks changed most, and those that the model is least sure of.

    Args:
        record: What the run did.
        compared: What to draw from. At most 64 samples, spread evenly, are looked at.
        measured: What more to say of a sample, by its id.

    Returns:
        The section; None where nothing changed and nothing is marked.
    """
    found = list(_looked_at(record, compared))
    changed = sorted((each for each in found if each.changed), key=lambda each: -each.changed)
    most = changed[:_CHANGED]
    rest = [each for each in found if each not in most and not np.isnan(each.certainty)]
    unsure = sorted(rest, key=lambda each: each.certainty)[:_UNSURE]
    draw = _Pictures(compared, measured)
    body = [
        *draw.galleries("Changed most", most),
        *draw.galleries("Least sure", unsure),
    ]
    if not body:
        return None
    return Section("In pictures", (Text(_legend(record, compared, len(found))), *body))


def _legend(record: RunRecord, compared: Compared, count: int) -> str:
    whole = len(compared.target) - len(record.left_out)
    of = f"{count} of {whole} samples, spread evenly," if count < whole else f"all {whole} samples"
    said = [f"Of {of} these masks changed most, and of these the model is least sure now."]
    if compared.after is compared.before:
        said = [f"Nothing was changed. Of {of} the model is least sure of these."]
    said.append("Orange: the mask.")
    if compared.truth is not None:
        said.append("Dashed: the truth, which nothing but this page has seen.")
    if compared.after is not compared.before:
        said.append("Filled: blue is marked after alone, red before alone.")
    return " ".join([*said, "Of a volume the slice with most difference is shown."])


def _looked_at(record: RunRecord, compared: Compared) -> Iterator[_Found]:
    out = set(record.left_out["id"].to_pylist())
    usable = [place for id_, place in _places(compared.target).items() if id_ not in out]
    if not usable:
        return
    size = int(np.prod(compared.target[usable[0]].image.shape[1:]))
    most = int(np.clip(_PIXELS // size, *_LOOKED_AT))
    positions = [usable[int(place)] for place in subsample(len(usable), most)]
    for position, (_, before, after, certainty) in zip(
        positions, _predicted(compared, positions), strict=True
    ):
        yield _Found(position, float(np.mean(before != after)), certainty)


_Predicted = tuple["Sample", "NDArray[np.integer]", "NDArray[np.integer]", float]


def _predicted(compared: Compared, positions: Sequence[int]) -> Iterator[_Predicted]:
    """Yield samples with their masks before and after, and the certainty index after."""
    chosen = Subset(compared.target, positions)
    same = compared.after is compared.before
    sides = [
        predictions(predictor, chosen, batch_size=compared.batch_size)
        for predictor in ([compared.after] if same else [compared.before, compared.after])
    ]
    for each in zip(*sides, strict=True):
        batch, (old, new) = each[0][0], (each[0][1], each[-1][1])
        masks = [to_numpy(hard_labels(p.probabilities, compared.cutoff)) for p in (old, new)]
        ci, pixels = certainty_index(new.probabilities, compared.cutoff)
        certainty = to_numpy(combine_classes(ci, pixels))
        yield from zip(batch, *masks, map(float, certainty), strict=True)


def _places(samples: Samples[Any]) -> dict[str, int]:
    """Return where each sample stands; files are not read for it."""
    ids = getattr(samples, "ids", None)
    named = ids if ids is not None else (samples[place].id for place in range(len(samples)))
    return {id_: place for place, id_ in enumerate(named)}


class _Pictures:
    def __init__(self, compared: Compared, measured: Mapping[str, str]) -> None:
        self._compared, self._measured = compared, measured
        self._known = {} if compared.truth is None else _places(compared.truth)

    def galleries(self, title: str, chosen: Sequence[_Found]) -> Iterator[Gallery]:
        """Yield the pictures of each sample: before, after, and where they differ."""
        if not chosen:
            return
        drawn = _predicted(self._compared, [each.position for each in chosen])
        for found, (sample, before, after, _) in zip(chosen, drawn, strict=True):
            said = [f"{100 * found.changed:.3g} % of the pixels changed"] if found.changed else []
            said += [] if np.isnan(found.certainty) else [f"CI {found.certainty:.3f}"]
            said += [self._measured[sample.id]] if sample.id in self._measured else []
            figures = tuple(self._figures(sample, before, after))
            yield Gallery(f"{title}: {sample.id}: {', '.join(said)}", figures, small=True)

    def _figures(
        self, sample: Sample, before: NDArray[Any], after: NDArray[Any]
    ) -> Iterator[Figure]:
        at, where = _plane(before, after)
        truth = {}
        if self._compared.truth is not None and sample.id in self._known:
            truth = {TRUTH: self._compared.truth[self._known[sample.id]].mask}
        gained, lost = (after != before) & (after > 0), (before > 0) & (after == 0)
        if self._compared.after is self._compared.before:
            drawn = {"The mask": {PREDICTION: after} | truth}
        else:
            drawn = {
                "Before": {PREDICTION: before} | truth,
                "After": {PREDICTION: after} | truth,
                f"+{gained.sum()} and -{lost.sum()} pixels": {_GAINED: gained, _LOST: lost},
            }
        for caption, masks in drawn.items():
            picture = overlay(sample.image, masks, at=at)
            said = f"{caption}{where}"
            yield Figure(picture, f"{sample.id}, {said[0].lower()}{said[1:]}", said)


def _plane(before: NDArray[Any], after: NDArray[Any]) -> tuple[int | None, str]:
    """Return the slice of a volume with most difference, or else most marked; and how to say so."""
    if before.ndim == 2:  # noqa: PLR2004 - spatial axes
        return None, ""
    for mask in (before != after, after > 0):
        if mask.any():
            at = int(np.argmax(mask.sum(axis=(1, 2))))
            break
    else:
        at = len(after) // 2
    return at, f", slice {at + 1} of {len(after)}"


def next_steps(record: RunRecord) -> list[str]:
    """Return what to do with what came of a run, most important first."""
    folder = "RUN" if record.workdir is None else str(record.workdir)
    write = f"Write masks: `pladapt predict {folder}/adapted IMAGES -o MASKS`."
    steps = {"adapted": [_LOOK, write], "unchanged": [_AS_IT_WAS, write], "unfit": [*_UNFIT]}[
        record.verdict.outcome
    ]
    if len(record.left_out):
        steps.append("See what was left out, and why.")
    if not record.before and record.verdict.outcome != "unfit":
        steps.append(_LABEL)
    elif record.before:
        steps.append(_MEASURE)
    return steps


_LOOK: Final = (
    "Look at the pictures: where the masks after are worse than before, keep the model as it was."
)
_AS_IT_WAS: Final = (
    "Use the model as it was, and look at the pictures first: that nothing would surely help does "
    "not say that it is good."
)
_READ_ALIKE: Final = (
    "See whether the images are read as those of the source were: units and window, channels, "
    "orientation, voxel size."
)
_UNFIT: Final = (
    "Do not use the model's masks of these images.",
    _READ_ALIKE,
    "If they are, label some of them and train on them.",
)
_LABEL: Final = (
    "Label a few images, of those that changed most and those that the model is least sure of, and "
    "give them with `--truth`: only masks can tell how good the model is here."
)
_MEASURE: Final = (
    "For distances in mm, lesions and volumes: `pladapt evaluate MASKS TRUTH -o FOLDER --surface 2 "
    "--lesions --volumes`."
)
