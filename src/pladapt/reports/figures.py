"""Charts as SVG that takes its colours from the page: one drawing for a light and a dark page.

Every chart is as wide as a phone, so that its letters are neither tiny there nor need zooming.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pladapt.optional import needs

with needs("report", "matplotlib"):
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Values = NDArray[np.floating]

WIDTH: Final = 3.9  # inches: at 72 points an inch as wide as a phone's column
MOST_POINTS: Final = 2000
"""Beyond so many points a scatter plot shows an even fraction of them."""

_MOST_NAMES: Final = 45  # rows of dumbbells that can still be read
_FEW_TICKS: Final = 6  # or their labels run into each other
_BINS: Final = 40

# matplotlib wants colours; the page wants names that its style sheet gives colours to
_COLOURS: Final = {
    name: f"#0000{number:02x}"
    for number, name in enumerate(
        ("ink", "muted", "line", "paper", *(f"series-{n}" for n in range(1, 7))), start=1
    )
}
SERIES: Final = tuple(_COLOURS[f"series-{number}"] for number in range(1, 7))
_INK, _MUTED, _LINE = _COLOURS["ink"], _COLOURS["muted"], _COLOURS["line"]
_STYLE: Final[Any] = {  # the type of a style has come and gone over the versions
    "svg.fonttype": "none",
    "svg.hashsalt": "pladapt",
    "text.parse_math": False,  # a sample may be called $x$
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


class Drawing:
    """A chart under way; its ``svg`` is there once the block of `drawing` has ended."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.svg = ""


@contextmanager
def drawing(height: float) -> Iterator[Drawing]:
    """Yield a canvas of so many inches of height, whatever the user's own style is."""
    with mpl.rc_context(), warnings.catch_warnings():
        # a page has more letters than matplotlib's own font, in which it only measures
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        mpl.rcdefaults()
        with mpl.rc_context(_STYLE):
            drawn = Drawing(Canvas(figsize=(WIDTH, height)))
            yield drawn
            drawn.svg = _svg(drawn.canvas)


def _svg(canvas: Canvas) -> str:
    """Return the drawing as one element, without a size, a namespace or a style of its own."""
    stream = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(stream, format="svg", transparent=True, metadata=none)
    text = re.sub(r"<style.*?</style>", "", stream.getvalue(), flags=re.DOTALL)
    for name, colour in _COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    opening, _, inside = text.partition("<svg ")[2].partition(">")
    box = opening.partition('viewBox="')[2].partition('"')[0]
    return f'<svg class="chart" viewBox="{box}">{inside.replace("xlink:href", "href").strip()}'


def _legend_above(axes: Axes, columns: int = 2) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def score_histogram(
    scores: Mapping[str, Values], marks: Mapping[str, float], *, name: str, unit: str = "samples"
) -> str:
    """Draw how the scores are distributed, stacked by what became of the samples.

    Args:
        scores: The scores of the samples that were kept, or dropped by a rule; NaN is left out.
        marks: Where to draw a line, by its label.
        name: What a score is called.
        unit: What is counted.
    """
    groups = {
        _counted(label, values): values[np.isfinite(values)] for label, values in scores.items()
    }
    found = np.concatenate([*groups.values(), np.array(list(marks.values()))])
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    with drawing(2.9) as drawn:
        axes = drawn.canvas.subplots()
        axes.hist(
            list(groups.values()),
            bins=list(edges),
            stacked=True,
            label=list(groups),
            color=SERIES[: len(groups)],
        )
        for (label, place), dashes in zip(marks.items(), _dashes(), strict=False):
            axes.axvline(place, color=_INK, linestyle=dashes, linewidth=1.2, label=label)
        axes.set(xlabel=name, ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(_FEW_TICKS))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_above(axes)
    return drawn.svg


def _counted(label: str, values: Values) -> str:
    defined = int(np.isfinite(values).sum())
    return f"{label} ({defined}{'' if defined == len(values) else f' of {len(values)}'})"


def _dashes() -> Iterator[Any]:
    while True:
        yield from ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


def score_against_pixels(
    points: Mapping[str, tuple[Values, Values]], fewest: float | None, *, name: str
) -> str:
    """Draw each sample's score against its number of pixels, by what became of it.

    Args:
        points: Scores and numbers of pixels of the samples that were kept, or dropped by a rule.
        fewest: The fewest pixels that a sample needs, or None.
        name: What a score is called.
    """
    with drawing(2.9) as drawn:
        axes = drawn.canvas.subplots()
        for (label, (score, pixels)), colour in zip(points.items(), SERIES, strict=False):
            shown = subsample(len(score))
            axes.scatter(score[shown], pixels[shown], s=9, color=colour, alpha=0.8, label=label)
        if fewest is not None:
            axes.axhline(fewest, color=_INK, linewidth=1.2, label=f"min_pixels {fewest:g}")
        axes.set_yscale("symlog", linthresh=1)
        most = max((pixels.max(initial=1) for _, pixels in points.values()), default=1)
        ticks = [0, *(10**power for power in range(2 + int(np.log10(most))))]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_major_locator(MaxNLocator(_FEW_TICKS))
        axes.set(ylim=(0, 2 * most), xlabel=name, ylabel="N, pixels above the cut-off")
        _legend_above(axes)
    return drawn.svg


def subsample(count: int, most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Return the places of at most ``most`` of so many points, evenly spread."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.intp))


def before_against_after(points: Mapping[str, tuple[Values, Values]], *, metric: str) -> str:
    """Draw a metric of each sample before and after; what lies above the diagonal gained.

    Args:
        points: The values before and after, by what the samples have in common.
        metric: What it is called.
    """
    with drawing(3.6) as drawn:
        axes = drawn.canvas.subplots()
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for (label, (before, after)), colour, marker in zip(
            points.items(), (SERIES[0], SERIES[1]), ("o", "D"), strict=False
        ):
            shown = subsample(len(before))
            axes.scatter(
                before[shown],
                after[shown],
                s=14,
                marker=marker,
                color=colour,
                alpha=0.7,
                label=f"{label} ({len(before)})",
            )
        axes.set(xlabel=f"{metric} before", ylabel=f"{metric} after", aspect="equal")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        _legend_above(axes)
    return drawn.svg


def dumbbells(names: Sequence[str], before: Values, after: Values, *, metric: str) -> str:
    """Draw a metric of each group before and after as two dots and the way between.

    Args:
        names: The groups.
        before: Their values before.
        after: Their values after.
        metric: What it is called.
    """
    rows = np.arange(len(names))
    with drawing(1.1 + min(0.19 * len(names), 8.0)) as drawn:
        axes = drawn.canvas.subplots()
        gained = np.asarray(after >= before)
        for mask, colour in ((gained, SERIES[0]), (~gained, SERIES[2])):
            axes.hlines(rows[mask], before[mask], after[mask], color=colour, linewidth=2)
        axes.scatter(
            before, rows, s=18, facecolor=_COLOURS["paper"], edgecolor=_INK, label="before"
        )
        axes.scatter(after, rows, s=18, color=_INK, zorder=3, label="after")
        axes.set(xlabel=metric, xlim=(-0.03, 1.03), ylim=(len(names) - 0.4, -0.6))
        labels = [_short(name) for name in names] if len(names) <= _MOST_NAMES else []
        axes.set_yticks(rows[: len(labels)], labels, fontsize=7.5)
        axes.grid(visible=False, axis="y")
        _legend_above(axes)
    return drawn.svg


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"


def training_curves(epochs: Sequence[Mapping[str, float]], best: int) -> str:
    """Draw the losses above the validation's DSC, by epoch, with the epoch whose weights are kept.

    Args:
        epochs: A row per epoch: ``epoch``, and any of ``train_loss``, ``val_loss``, ``val_dsc``.
        best: The epoch that is kept.
    """
    number = [row["epoch"] for row in epochs]
    with drawing(3.4) as drawn:
        upper, lower = drawn.canvas.subplots(2, sharex=True)
        curves = (
            (upper, "train_loss", "training loss", SERIES[1], "solid"),
            (upper, "val_loss", "validation loss", SERIES[0], (0, (5, 2))),
            (lower, "val_dsc", "validation DSC", SERIES[0], "solid"),
        )
        for axes, key, label, colour, dashes in curves:
            values = [row.get(key, np.nan) for row in epochs]
            if not np.isnan(values).all():  # a training without validation has no such curve
                axes.plot(number, values, color=colour, linestyle=dashes, label=label, marker=".")
        for axes in (upper, lower):
            axes.axvline(best, color=_INK, linewidth=1, linestyle=(0, (1, 1.5)))
        upper.set(ylabel="loss")
        lower.set(ylabel="validation DSC", xlabel=f"epoch (dotted: {best}, whose weights are kept)")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend_above(upper)
    return drawn.svg


def calibration_curve(
    curves: Mapping[str, tuple[Values, Values]], best: Mapping[str, float]
) -> str:
    """Draw the DSC of every cut-off that was tried, and the best.

    Args:
        curves: Cut-offs and their DSC, by class.
        best: The best cut-off, by class.
    """
    with drawing(2.7) as drawn:
        axes = drawn.canvas.subplots()
        for (label, (cutoffs, values)), colour in zip(curves.items(), SERIES, strict=False):
            axes.plot(cutoffs, values, color=colour, label=f"{label}: best at {best[label]:g}")
            axes.axvline(best[label], color=colour, linewidth=1, linestyle=(0, (5, 2)))
        axes.set(xlabel="cut-off", ylabel="DSC", xlim=(0, 1))
        _legend_above(axes)
    return drawn.svg


def risk_coverage_curves(curves: Mapping[str, tuple[Values, Values]], *, risk: str) -> str:
    """Draw the mean risk of the surest samples over the fraction that they are.

    Args:
        curves: The coverages and the risks, by score; the best six are drawn in colours.
        risk: What a risk is.
    """
    styles = [(colour, "-") for colour in SERIES]
    styles += [(_MUTED, dashes) for dashes in ("--", ":", "-.")] * len(curves)
    with drawing(3.1) as drawn:
        axes = drawn.canvas.subplots()
        for (label, (coverage, values)), (colour, dashes) in zip(
            curves.items(), styles, strict=False
        ):
            axes.plot(coverage, values, color=colour, linestyle=dashes, label=label)
        axes.set(xlabel="coverage: fraction of the samples, the surest first", ylabel=risk)
        axes.set(xlim=(0, 1), ylim=(0, None))
        _legend_above(axes)
    return drawn.svg


def intensity_histograms(domains: Mapping[str, Values], *, name: str) -> str:
    """Draw how the intensities of several domains are distributed.

    Args:
        domains: The intensities, by domain.
        name: What an intensity is.
    """
    pooled = np.concatenate([values for values in domains.values() if values.size])
    low, high = np.percentile(pooled, [0.5, 99.5])
    edges = np.linspace(low, max(high, low + 1e-3), 2 * _BINS + 1)
    with drawing(2.9) as drawn:
        axes = drawn.canvas.subplots()
        for (label, values), colour, dashes in zip(
            domains.items(), SERIES, _dashes(), strict=False
        ):
            fraction = np.histogram(values, edges)[0] / max(values.size, 1)
            axes.stairs(100 * fraction, edges, color=colour, linestyle=dashes, label=label)
        axes.set(xlabel=name, ylabel="% of pixels")
        _legend_above(axes, columns=4)
    return drawn.svg
