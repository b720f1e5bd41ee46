"""Which samples a report shows, and what it says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pladapt.data.views import Subset
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.predictors.prediction import predictions
from pladapt.reports.document import Figure, Gallery, Section, Text
from pladapt.reports.figures import subsample
from pladapt.reports.overlays import overlay
from pladapt.selection.labelling import soft

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pladapt.runs.records import Round, RunRecord
    from pladapt.types import Array, LabelledSample, Sample, Samples
    from pladapt.typing import Predictor, Selector

Row: TypeAlias = dict[str, Any]

KEPT: Final = "kept"
PREDICTION: Final = "prediction"
TRUTH: Final = "truth"


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What overlays are drawn from: what `pladapt.adapt` was given, and the truth where known.

    The truth is drawn and decides nothing: neither which samples are shown, nor in what order.

    Args:
        target: The unlabelled samples.
        predictor: The predictor before the first round: where there was a recalibrator, the one
            that it made.
        selector: The selector, for the labels.
        truth: The same samples, labelled, in the same order, or None.
        channel: Which channel of an image is shown.
        kept: How many kept samples are shown at the most.
        dropped: How many samples are shown at the most for each rule that dropped some.
        batch_size: How many samples are predicted at once.
    """

    target: Samples[Sample]
    predictor: Predictor
    selector: Selector
    truth: Samples[LabelledSample] | None = None
    channel: int = 0
    kept: int = 6
    dropped: int = 3
    batch_size: int = 8


def gallery_section(record: RunRecord, shown: Shown, measured: Mapping[str, str]) -> Section:
    """Show kept and dropped samples of the first round with the outlines of their predictions.

    Args:
        record: What the run did.
        shown: What to draw from.
        measured: What more to say of a sample, by its id: its DSC before and after, say.

    Raises:
        InputError: The target or the truth is not the one that was scored.
    """
    pictures = _Pictures(shown, measured)
    galleries = [
        Gallery(f"{_fate(name)}: {_of(chosen, rows)}", tuple(pictures.of(chosen)), small=True)
        for name, rows in _by_fate(record.rounds[0]).items()
        for chosen in [_spread(rows, shown.kept if name == KEPT else shown.dropped)]
    ]
    several = any('class-2"' in figure.svg for gallery in galleries for figure in gallery.figures)
    legend = Text(_legend(truth=shown.truth is not None, several=several))
    return Section("Kept and dropped samples", (legend, *galleries))


def _legend(*, truth: bool, several: bool) -> str:
    orange, blue = ("", "") if several else (", orange", ", blue")
    dashed = f" Dashed{blue}: the truth, which nothing but this page has seen." if truth else ""
    return (
        f"Solid{orange}: the prediction before adaptation, a kept sample's pseudo-label.{dashed}"
        f"{' Each class has its own colours.' if several else ''} Of a volume the middle slice is "
        "shown. The samples are spread evenly from the highest score to the lowest."
    )


def _fate(name: str) -> str:
    return "Kept" if name == KEPT else f"Dropped by {name}"


def _of(chosen: Sequence[object], found: Sequence[object]) -> str:
    return f"{len(chosen)} of {len(found)}" if len(chosen) < len(found) else f"all {len(found)}"


def _by_fate(current: Round) -> dict[str, list[Row]]:
    """Return what is known of the kept samples and of those that each rule dropped, best first."""
    scored, selected = current.scores.to_pylist(), current.selection.table.to_pylist()
    rows = [
        {**score, **fate, "position": position}
        for position, (score, fate) in enumerate(zip(scored, selected, strict=True))
    ]
    rows.sort(key=lambda row: (row["rank"] or 0, row["score"] is None, -(row["score"] or 0)))
    fates = (KEPT, *(name for name in current.selection.counts if name != KEPT))
    found = {name: [row for row in rows if (row["rule"] or KEPT) == name] for name in fates}
    return {name: rows for name, rows in found.items() if rows}


def _spread(rows: list[Row], most: int) -> list[Row]:
    return [rows[place] for place in subsample(len(rows), most)]


@dataclass(frozen=True, slots=True)
class _Pictures:
    shown: Shown
    measured: Mapping[str, str]

    def of(self, rows: Sequence[Row]) -> Iterator[Figure]:
        """Yield a picture of each sample."""
        chosen = Subset(self.shown.target, [row["position"] for row in rows])
        batches = predictions(self.shown.predictor, chosen, batch_size=self.shown.batch_size)
        left = iter(rows)
        for batch, prediction in batches:
            labels = to_numpy(soft(self.shown.selector.label(prediction)).label)
            for sample, label in zip(batch, labels, strict=True):
                yield self._picture(next(left), sample, label)

    def _picture(self, row: Row, sample: Sample, label: Array) -> Figure:
        _check(row["id"], sample)
        outlines = {PREDICTION: label}
        if self.shown.truth is not None:
            labelled = self.shown.truth[row["position"]]
            _check(row["id"], labelled)
            outlines[TRUTH] = labelled.mask
        name = "CI" if hasattr(self.shown.selector, "ci_limit") else "score"
        score = f"no {name}" if row["score"] is None else f"{name} {row['score']:.3f}"
        said = [score] if row["rank"] is None else [f"rank {row['rank']}", score]
        said += [f"N {row['pixels']}"] if "pixels" in row else []
        said += [self.measured[row["id"]]] if row["id"] in self.measured else []
        caption = f"{row['id']}: {', '.join(said)}"
        drawn = overlay(sample.image, outlines, channel=self.shown.channel)
        return Figure(drawn, f"{_fate(row['rule'] or KEPT)}: {caption}", caption)


def _check(id_: str, sample: Sample | LabelledSample) -> None:
    if sample.id != id_:
        raise InputError(
            f"The sample that was scored as {id_!r} is {sample.id!r} now; give the target, and the "
            "truth, in the order that the run was given them."
        )
