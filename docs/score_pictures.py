"""Draw the pictures of the page of scores: how each score ranks the same six maps.

Run ``python docs/score_pictures.py`` with ``pladapt[report]`` installed. It makes the maps, and
takes their scores from the selectors.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from contourpy import contour_generator
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

import pladapt
from pladapt.functional.arrays import to_numpy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HERE: Final = Path(__file__).parent
SIDE: Final = 48  # of a map, in pixels
SCALE: Final = 1.1  # six maps are then as wide as a telephone, where their words can be read
GAP: Final = 8
MEMBERS: Final = 4
SCORES: Final = (
    "certainty-index",
    "foreground-entropy",
    "boundary-free-certainty",
    "trimmed-certainty",
    "soft-dice",
    "pairwise-dice",
    "neighbour-agreement",
)
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
MIDDLE: Final = SIDE // 2


def maps() -> dict[str, NDArray[np.float32]]:
    """Return the probability maps, each with its name."""
    away = np.hypot(ROWS - MIDDLE, COLUMNS - MIDDLE)
    round_ = 0.97 * _falling(away, 15.0)
    doubtful = 0.62 * _falling(away, 15.0)
    spot = np.hypot(ROWS - MIDDLE + 3, COLUMNS - MIDDLE - 4)
    made = {
        "round": round_,
        "small": 0.97 * _falling(away, 5.0),
        "thin": 0.97 * _falling(abs(ROWS - MIDDLE), 2.0) * _falling(abs(COLUMNS - MIDDLE), 19.0),
        "doubtful": doubtful,
        "spot": np.maximum(doubtful, 0.99 * _falling(spot, 5.0)),
        "halo": np.maximum(0.97 * _falling(away, 9.0), 0.45 * _falling(away, 19.0)),
    }
    return {name: np.asarray(each, np.float32) for name, each in made.items()}


def _falling(distance: NDArray[Any], radius: float) -> NDArray[np.float64]:
    """Return what is near 1 within a radius and falls to 0 over some pixels."""
    return np.asarray(1 / (1 + np.exp((distance - radius) / 1.2)))


def scores(name: str, shown: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """Return each map's score, as the selector computes it."""
    selector = pladapt.selector(name, min_pixels=1)
    planes = np.stack([*shown.values()])[:, None]
    ids = [*shown]
    members = None
    if name == "pairwise-dice":
        members = _members(planes)
        planes = members.mean(axis=0)
    if name == "neighbour-agreement":
        planes, ids = _slices(planes), [f"{each} {index}" for each in ids for index in range(3)]
    found = selector.score(pladapt.Prediction(tuple(ids), planes, members))
    groups = [each.split()[0] for each in ids]
    columns = {key: to_numpy(value) for key, value in found.items()}
    table = selector.select(pa.table({"id": ids, "group": groups, **columns})).table
    values = dict(zip(table["id"].to_pylist(), table["score"].to_pylist(), strict=True))
    return {each: values[each if each in values else f"{each} 1"] for each in shown}


def _members(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what several networks might say: the logits, each time with another smooth error."""
    noise = np.random.default_rng(0).normal(size=(MEMBERS, *planes.shape))
    smooth = gaussian_filter(noise, (0, 0, 0, 3, 3))
    probabilities = np.clip(planes, 1e-4, 1 - 1e-4)
    logits = np.log(probabilities / (1 - probabilities)) + smooth / smooth.std()
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _slices(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each map between its neighbours: its mask is wider before and narrower after it.

    How fast it changes is the same for all, a pixel and a half, so small masks change most.
    """
    stack = []
    for plane in planes[:, 0]:
        mask = plane > 0.5  # noqa: PLR2004 - the cut-off
        inside = distance_transform_edt(mask) - distance_transform_edt(~mask)
        stack += [_falling(-inside, 1.5), plane, _falling(-inside, -1.5)]
    return np.stack(stack)[:, None].astype(np.float32)


def draw(name: str) -> str:
    """Return the maps as an SVG, the one of the highest score first."""
    shown = maps()
    found = scores(name, shown)
    ranked = sorted(shown, key=lambda each: (-np.nan_to_num(found[each], nan=-1.0), each))
    side = round(SCALE * SIDE)
    height = side + GAP + 38
    panels = []
    for place, each in enumerate(ranked):
        value = "none" if np.isnan(found[each]) else f"{found[each]:.3f}"
        panels.append(
            f'<g transform="translate({GAP + place * (side + GAP)} {GAP})">'
            f'<image width="{side}" height="{side}" href="{_png(shown[each])}"/>'
            f'<path transform="scale({SCALE})" d="{_outline(shown[each])}"/>'
            f'<text x="{side / 2}" y="{side + 15}">{each}</text>'
            f'<text x="{side / 2}" y="{side + 30}" class="value">{value}</text></g>'
        )
    width = len(ranked) * (side + GAP) + GAP
    style = (
        "text { font: 12px sans-serif; text-anchor: middle; } .value { font-weight: bold; } "
        "path { fill: none; stroke: #d95f02; stroke-width: 1.4; } "
        "image { image-rendering: pixelated; }"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}"><style>{style}</style><rect width="{width}" height="{height}" '
        f'fill="#ffffff"/>{"".join(panels)}</svg>\n'
    )


def _png(plane: NDArray[np.float32]) -> str:
    """Return a map as a picture, the darker the more probable."""
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.round(235 * (1 - plane) + 20))).save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _outline(plane: NDArray[np.float32]) -> str:
    """Return the line along which the probability is the cut-off."""
    lines: Any = contour_generator(z=np.pad(plane, 1)).lines(0.5)
    return "".join(
        "M" + "L".join(f"{x - 0.5:.1f} {y - 0.5:.1f}" for x, y in line) for line in lines
    )


def main() -> None:
    """Write a picture for each score."""
    for name in SCORES:
        path = HERE / "reference/scores" / f"{name}.svg"
        path.write_text(draw(name), encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size} bytes, {scores(name, maps())}")


if __name__ == "__main__":
    main()
