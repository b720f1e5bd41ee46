"""Draw the picture of the first page: a CT slice before and after adaptation.

Run ``python docs/before_and_after.py`` in an environment with pladapt's extra ``report`` and the
COVID-19 example. It makes phantom data, trains on A, adapts to C by a recipe, and draws the slice
that shows the most lesion of those that the model was not retrained on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pladapt_covid_ct.demo import SETTINGS
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms

import pladapt
from pladapt.reports.overlays import overlay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pladapt_covid_ct.experiment import Outcome

TARGET: Final = "C"
SIZE: Final = SETTINGS.size
PAGE: Final = Path(__file__).with_name("before-and-after.svg")
STYLE: Final = """
.outline { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.prediction { stroke: #ffb000; fill: #ffb000; fill-opacity: 0.25; }
.truth { stroke: #6cc6ff; stroke-dasharray: 5 3; }
text { font: 5px sans-serif; fill: #ffffff; }
"""


def run(folder: Path, recipe: str) -> Outcome:
    """Make phantoms and adapt from A to the target, all in ``folder``."""
    write_phantoms(folder / "data", seed=0, slices=16)
    settings = replace(SETTINGS, recipe=recipe)
    if recipe == "paper":
        settings = replace(settings, top_fraction=0.5)
    return run_experiment(
        folder / "data", "A", [TARGET], settings=settings, out=folder / "run", progress=_say
    )


def _say(stage: str, done: int, total: int) -> None:
    print(f"{stage}: {done} of {total}", flush=True)


def choose(outcome: Outcome) -> int:
    """Return the position of the slice with the most lesion that was not retrained on."""
    learnt = {id_ for round_ in outcome.targets[TARGET].rounds for id_ in round_.selection.kept}
    samples = outcome.domains[TARGET].samples
    others = [place for place in range(len(samples)) if samples[place].id not in learnt]
    return max(others or range(len(samples)), key=lambda place: int(samples[place].mask.sum()))


def draw(outcome: Outcome, place: int) -> str:
    """Return the slice twice as an SVG, with what the model marks before and after."""
    sample = outcome.domains[TARGET].samples[place]
    cutoff = outcome.trained.calibration.cutoff
    models = {"before": outcome.trained.predictor, "after": outcome.targets[TARGET].predictor}
    panels = []
    for number, (name, model) in enumerate(models.items()):
        probabilities = model.predict(sample.image[np.newaxis])
        marked = np.asarray(pladapt.hard_labels(probabilities, cutoff=cutoff))[0]
        print(f"{sample.id} {name}: DSC {_dsc(marked, sample.mask):.3f}")
        panels.append(_panel(number, name, sample.image, {"prediction": marked, "truth": sample.mask}))
    width, height = 2 * SIZE + 4, SIZE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{4 * width}" height="{4 * height}" role="img"><style>{STYLE}</style>'
        f"{''.join(panels)}</svg>\n"
    )


def _panel(number: int, name: str, image: NDArray[Any], outlines: Mapping[str, Any]) -> str:
    return (
        f'<svg x="{number * (SIZE + 4)}" width="{SIZE}" height="{SIZE}">'
        f'{overlay(image, dict(outlines))}<text x="3" y="8">{name}</text></svg>'
    )


def _dsc(one: NDArray[Any], other: NDArray[Any]) -> float:
    both = np.sum((one == 1) & (other == 1))
    return float(2 * both / max(np.sum(one == 1) + np.sum(other == 1), 1))


def main() -> None:
    """Run the example on a small scale, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=("paper", "robust"), default="paper")
    parser.add_argument("--output", type=Path, default=PAGE)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        outcome = run(Path(folder), options.recipe)
        options.output.write_text(draw(outcome, choose(outcome)), encoding="utf-8")
    result = outcome.targets[TARGET]
    for name, figures in (("before", result.before), ("after", result.after)):
        print(f"all slices {name}: DSC {figures['overlap'].value('dsc', aggregation='pooled'):.3f}")


if __name__ == "__main__":
    main()
