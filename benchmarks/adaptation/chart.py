"""A pair's chart: the DSC of every row and seed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from results import SOURCE, pooled_dsc, reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from results import Found

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pladapt",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
_LINES: Final = (("#555555", "--"), ("#0b6e4f", ":"))
_DOTS: Final = "#1f5fa8"
_MARKERS: Final = "osD^v<>P"


def chart(found: Mapping[str, Found]) -> str:
    """Return an SVG: dots for each row of the table, and lines at the gap's two ends."""
    seeds = sorted({seed for row in found.values() for seed in row.counts})
    with mpl.rc_context(_STYLE):
        canvas = Figure(figsize=(7, 1.2 + 0.28 * len(found)), layout="constrained")
        axes = canvas.subplots()
        for seed, marker in zip(seeds, _MARKERS, strict=False):
            places = [place for place, row in enumerate(found.values()) if seed in row.counts]
            dots = [
                float(pooled_dsc(row.counts[seed])) for row in found.values() if seed in row.counts
            ]
            axes.plot(
                dots, places, marker, color=_DOTS, alpha=0.8, markersize=5, label=f"seed {seed}"
            )
        for name, (colour, dashes) in zip((SOURCE, reference(found)), _LINES, strict=True):
            if name in found:
                each = [float(pooled_dsc(counts)) for counts in found[name].counts.values()]
                axes.axvline(
                    sum(each) / len(each), color=colour, linestyle=dashes, label=f"{name}, mean"
                )
        axes.set_yticks(range(len(found)), list(found))
        axes.set(xlabel="DSC, all pixels together", ylim=(len(found) - 0.5, -0.5))
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=8)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(stream, format="svg", facecolor="white", metadata=nothing)
    return stream.getvalue()
