"""The page of the simulated reviewer: Markdown and a chart made of what was found alone."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from chart import STYLE
from figures import PLACES, Found, orders_in
from matplotlib.figure import Figure
from orders import LOWEST, QUEUE, RANDOM
from results import MARGIN, MIN_GAP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_LIFT: Final = 0.15
_FEW: Final = 5
_COLOURS: Final = {QUEUE: "#1f5fa8", LOWEST: "#c77c11", RANDOM: "#777777"}
_INTRODUCTION: Final = """# What a few reviewed images are worth

<!-- written by benchmarks/review/simulate.py from results.json beside it; do not edit -->

A simulated reviewer gives the true masks of a few images, in the order of
{py:func}`pladapt.review.queue`, at random, or those of the lowest certainty first; then the run
goes on with the round that they teach (see [Review masks](../howto/review.md)). Models and images
are those of the [adaptation study](adaptation-study.md), and the run is `robust`'s with the
source's statistics. A reviewer who is never wrong is the best there can be.
"""
_QUICK: Final = "**A quick run on tiny images: that everything works, and nothing of review.**\n"
_READING: Final = f"""## How to read it

- All figures are DSC of all pixels together, at the source's cut-off.
- *Apart* are the images that came early in no order: every order is measured on the same ones, and
  none of them was reviewed. *Not reviewed* are those that an order had not reviewed, other ones for
  each order: where an order reviews what is hard, what is left is easier. *All* are all images; a
  reviewed one counts with the network's mask, not with the reviewer's.
- *Gap closed* is (after - source) / (labels - source), in cells where the labels bring at least
  {MIN_GAP} on these images; *labels* is the study's row `target-labels`.
- A cell is worse where the DSC is lower by more than {MARGIN} than without a review.
- Order and training were made while looking at pairs of the same kinds.
"""


def write_page(collected: Mapping[str, Any], path: Path) -> None:
    """Write the page, and beside it its chart.

    Args:
        collected: The ``cells``, as `figures.summary` returned them, and whether it was ``quick``.
        path: The page; the chart's name begins with the page's.
    """
    found = Found(collected["cells"])
    picture = path.with_name(f"{path.stem}.svg")
    picture.write_text(chart(found), encoding="utf-8")
    lines = [_INTRODUCTION, *([_QUICK] if collected["quick"] else []), *_goals(found), ""]
    lines += [f"![The gap closed against the images reviewed]({picture.name})", ""]
    lines += [*_means(collected["cells"]), "", *_cells(found), "", _READING]
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def chart(found: Found) -> str:
    """Return an SVG: the gap closed, on average, against the number of images reviewed."""
    with mpl.rc_context(STYLE):
        canvas = Figure(figsize=(7, 3), layout="constrained")
        panes = canvas.subplots(1, 2)
        means = ((found.closed, "fraction of the gap closed"), (found.value, "DSC"))
        for axes, (value, label) in zip(panes, means, strict=True):
            for order in orders_in(found.cells):
                heights = [found.mean(value, order, count) for count in found.counts]
                axes.plot(found.counts, heights, "o-", color=_COLOURS[order], label=order)
            axes.set(xlabel="images reviewed", ylabel=f"{label}, mean of the cells")
            axes.set_xticks(found.counts)
        panes[0].legend(frameon=False, fontsize=8)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(stream, format="svg", facecolor="white", metadata=nothing)
    return stream.getvalue()


def _goals(found: Found) -> Iterator[str]:
    yield "## What a review is held to\n"
    yield "| on the images apart | found | limit | |"
    yield "|---|---:|---:|---|"
    reviewed = found.counts[1:]
    for other in orders_in(found.cells)[1:]:
        for count in reviewed:
            ahead = [
                found.value(cell, QUEUE, count) - found.value(cell, other, count)
                for cell in found.cells
            ]
            mean, better = sum(ahead) / len(ahead), sum(each > 0 for each in ahead)
            what = f"the queue's DSC above that of {other}, {count} images"
            said = f"{mean:+.3f}, above in {better} of {len(ahead)} cells"
            yield _goal(what, said, "above 0", met=mean > 0)
    if _FEW in reviewed and found.gapped:
        lift = found.mean(found.closed, QUEUE, _FEW) - found.mean(found.closed, QUEUE, 0)
        what = f"gap closed by {_FEW} images of the queue beyond `robust` alone, in points"
        said = f"{100 * lift:+.0f}, mean of {len(found.gapped)} cells"
        yield _goal(what, said, f"at least {100 * _LIFT:.0f}", met=lift >= _LIFT)
    for count in reviewed:
        worse = found.worse(count)
        said = f"{len(worse)} of {len(found.cells)}" + (f": {'; '.join(worse)}" if worse else "")
        yield _goal(f"cells worse after {count} images of the queue", said, "none", met=not worse)


def _goal(what: str, found: str, limit: str, *, met: bool) -> str:
    return f"| {what} | {found} | {limit} | {'reached' if met else '**not reached**'} |"


def _means(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    everywhere = Found(cells)
    yield "## Means over the cells\n"
    yield f"| order | measured on | {' | '.join(f'{k} images' for k in everywhere.counts)} |"
    yield f"|---|---|{'---:|' * len(everywhere.counts)}"
    for order in orders_in(cells):
        for place in PLACES:
            row = [_mean(cells, place, order, count) for count in everywhere.counts]
            yield f"| {order} | {place} | {' | '.join(row)} |"


def _mean(cells: Sequence[Mapping[str, Any]], place: str, order: str, count: int) -> str:
    if place == "not reviewed" and not count:
        return ""  # there they are all, or other ones for each number
    found = Found(cells, place)
    return f"{found.mean(found.value, order, count):.3f}"


def _cells(found: Found) -> Iterator[str]:
    yield "## Every cell, on the images apart\n"
    orders = [(order, count) for order in orders_in(found.cells) for count in found.counts[1:]]
    heads = " | ".join(f"{order}, {count}" for order, count in orders)
    yield f"| pair | seed | images apart | source | `robust` alone | {heads} | labels |"
    yield f"|---|---:|---:|---:|---:|{'---:|' * len(orders)}---:|"
    for cell in found.cells:
        values = " | ".join(f"{found.value(cell, *each):.3f}" for each in orders)
        ends = [f"{cell[name][found.place]:.3f}" for name in ("source", "robust", "labels")]
        where = f"{cell['pair']} | {cell['seed']} | {cell['apart']} of {cell['images']}"
        yield f"| {where} | {ends[0]} | {ends[1]} | {values} | {ends[2]} |"
