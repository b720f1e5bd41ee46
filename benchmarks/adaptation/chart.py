"""The study's chart: how far every row is above or below its source model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from results import BATCH_NORM, ROBUST
from rows import ORACLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from results import Cell

STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pladapt",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
"""What the charts of the studies look like."""

_DOTS: Final = {
    BATCH_NORM: ("#999999", "s"),
    "paper": ("#c77c11", "^"),
    ROBUST: ("#1f5fa8", "o"),
    ORACLE: ("#0b6e4f", "|"),
}


def chart(cells: Sequence[Cell]) -> str:
    """Return an SVG: a line for each cell, and on it the change of DSC of some rows."""
    with mpl.rc_context(STYLE):
        canvas = Figure(figsize=(7, 1.2 + 0.24 * len(cells)), layout="constrained")
        axes = canvas.subplots()
        for row, (colour, marker) in _DOTS.items():
            places = [place for place, cell in enumerate(cells) if row in cell.rows]
            changes = [cells[place].change(row) for place in places]
            axes.plot(changes, places, marker, color=colour, markersize=5, label=row)
        axes.axvline(0, color="#555555", linewidth=1)
        axes.set_yticks(range(len(cells)), [f"{cell.pair}, seed {cell.seed}" for cell in cells])
        axes.set(xlabel="DSC above the source model's", ylim=(len(cells) - 0.5, -0.5))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=8)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(stream, format="svg", facecolor="white", metadata=nothing)
    return stream.getvalue()
