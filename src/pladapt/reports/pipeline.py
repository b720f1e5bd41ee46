"""The pipeline drawn, after Fig. 1 of the paper, with what a run put into each step."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WIDTH: Final = 160
_HEIGHT: Final = 74
_COLUMNS: Final = (6, 194)
_PITCH: Final = 98
_LETTERS: Final = 27  # that a line has room for
_LINES: Final = 3


class _Box(NamedTuple):
    name: str
    title: str
    column: int
    row: int
    kind: str = "step"

    @property
    def place(self) -> tuple[int, int]:
        return _COLUMNS[self.column], 4 + _PITCH * self.row


_BOXES: Final = (
    _Box("source", "Labelled source", 0, 0, "data"),
    _Box("training", "Train", 1, 0),
    _Box("calibration", "Choose the cut-off", 0, 1),
    _Box("predictor", "Predictor", 1, 1, "data"),
    _Box("target", "Target images", 0, 2, "data"),
    _Box("score", "Score", 1, 2),
    _Box("dropped", "Dropped", 0, 3, "data"),
    _Box("selection", "Select", 1, 3),
    _Box("retraining", "Retrain", 0, 4),
    _Box("labels", "Pseudo-labels", 1, 4, "data"),
    _Box("adapted", "Adapted predictor", 0, 5, "data"),
    _Box("evaluation", "Evaluate", 1, 5),
)
_ARROWS: Final = (
    ("source", "training"),
    ("training", "predictor"),
    ("predictor", "calibration"),
    ("predictor", "score"),
    ("calibration", "score"),
    ("target", "score"),
    ("score", "selection"),
    ("selection", "dropped"),
    ("selection", "labels"),
    ("labels", "retraining"),
    ("retraining", "adapted"),
    ("adapted", "evaluation"),
)

WORDS: Final = {
    "source": "images with masks",
    "training": "a segmentation model",
    "calibration": "the best on the source",
    "predictor": "the source's model",
    "target": "no masks",
    "score": "certainty of each prediction",
    "dropped": "too small, or not sure enough",
    "selection": "the surest predictions",
    "labels": "the predictions themselves",
    "retraining": "on the pseudo-labels",
    "adapted": "the model after adaptation",
    "evaluation": "target masks enter here alone",
}
"""The steps, and what stands below their names unless a run says more."""


def pipeline(said: Mapping[str, str]) -> str:
    """Return the pipeline as an SVG element.

    Args:
        said: A few words to some of the steps, instead of those in ``WORDS``.
    """
    height = _PITCH * (1 + max(box.row for box in _BOXES)) - 18
    boxes = {box.name: box for box in _BOXES}
    arrows = "".join(_arrow(boxes[start], boxes[end]) for start, end in _ARROWS)
    drawn = "".join(_drawn(box, said.get(box.name, WORDS[box.name])) for box in _BOXES)
    return (
        f'<svg class="pipeline" viewBox="0 0 360 {height}"><defs><marker id="tip" '
        'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path class="tip" d="M0 0 8 4 0 8Z"/></marker></defs>{arrows}{drawn}</svg>'
    )


def _drawn(box: _Box, said: str) -> str:
    x, y = box.place
    lines = textwrap.wrap(said, _LETTERS, max_lines=_LINES, placeholder=" …")
    texts = "".join(
        f'<text x="{x + 9}" y="{y + 37 + 14 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<rect class="{box.kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text class="title" x="{x + 9}" y="{y + 20}">{escape(box.title)}</text>{texts}'
    )


def _arrow(start: _Box, end: _Box) -> str:
    points = " ".join(f"{x} {y}" for x, y in _way(start, end))
    return f'<path class="arrow" marker-end="url(#tip)" d="M{points}"/>'


def _way(start: _Box, end: _Box) -> Iterator[tuple[float, float]]:
    """Yield the points of an arrow: along a row, down a column, or down and over."""
    (x, y), (to_x, to_y) = start.place, end.place
    if start.row == end.row:
        right = to_x > x
        yield x + (_WIDTH if right else 0), y + _HEIGHT / 2
        yield to_x + (0 if right else _WIDTH), to_y + _HEIGHT / 2
        return
    down = y + _HEIGHT + (to_y - y - _HEIGHT) / 2
    yield x + _WIDTH / 2, y + _HEIGHT
    if start.column != end.column:
        yield x + _WIDTH / 2, down
        yield to_x + _WIDTH / 4, down
        x = to_x - _WIDTH // 4
    yield x + _WIDTH / 2, to_y
