"""Draw the picture of the first page: a CT slice before and after adaptation.

Run ``python docs/before_and_after.py`` with the COVID-19 example installed. It runs the demo, or
reads one that has finished (``--run``), and draws a slice of a target with what the source's model
marks and what the adapted one does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

import pladapt
from pladapt.cli.progress import progress_bars
from pladapt.reports.overlays import overlay
from pladapt_covid_ct.demo import run_demo
from pladapt_covid_ct.source import EVALUATOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt import LabelledSample
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.experiment import Outcome

HERE: Final = Path(__file__).parent
SHOWN: Final = (-1000, 200)  # Hounsfield units
STYLE: Final = """
.outline { stroke-width: 2px; vector-effect: non-scaling-stroke; }
.prediction { stroke: #ffb000; fill: #ffb000; fill-opacity: 0.3; }
.truth { stroke: #6cc6ff; fill: none; stroke-dasharray: 5 3; }
text { font: 4px sans-serif; fill: #ffffff; }
"""


def draw(outcome: Outcome, target: str) -> str:
    """Return the slice with the most lesion twice as an SVG, with the marks before and after."""
    domain, result = outcome.domains[target], outcome.targets[target]
    samples = [domain.samples[index] for index in range(len(domain.samples))]
    chosen = max(samples, key=lambda sample: int(np.sum(sample.mask == 1)))
    size = chosen.mask.shape[-1]
    panels = []
    models = {"before": outcome.trained.predictor, "after": result.predictor}
    for number, (name, model) in enumerate(models.items()):
        probabilities = model.predict(chosen.image[None])
        cutoff = outcome.trained.calibration.cutoff
        marked = np.asarray(pladapt.hard_labels(probabilities, cutoff=cutoff))[0]
        print(f"{chosen.id} {name}: DSC {_dsc(marked == 1, chosen.mask == 1):.3f}")
        drawn = overlay(_shown(domain, chosen), {"prediction": marked, "truth": chosen.mask})
        panels.append(
            f'<svg x="{number * (size + 2)}" width="{size}" height="{size}">{drawn}'
            f'<text x="2" y="5">{name}</text></svg>'
        )
    width = 2 * size + 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {size}" '
        f'width="{6 * width}" height="{6 * size}"><style>{STYLE}</style>{"".join(panels)}</svg>\n'
    )


def _shown(domain: Domain, sample: LabelledSample) -> NDArray[np.float32]:
    """Return a slice in Hounsfield units ``(1, H, W)``, as wide as its mask."""
    slices: Any = domain.dataset.slices
    (index,) = [place for place, row in enumerate(slices.rows) if row.id == sample.id]
    picture = Image.fromarray(slices[index].image.astype(np.float32))
    return np.clip(np.asarray(picture.resize(sample.mask.shape[::-1])), *SHOWN)[None]


def _dsc(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.sum(one & other) / (np.sum(one) + np.sum(other)))


def main() -> None:
    """Run the demo or read it, write the picture, and print the figures for its caption."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/covid-ct-demo"), help="of the demo")
    parser.add_argument("--seed", type=int, default=0, help="the demo's")
    parser.add_argument("--recipe", choices=("paper", "robust"), default="robust")
    parser.add_argument("--target", choices=("B", "C"), default="B")
    parser.add_argument("--output", type=Path, default=HERE / "before-and-after.svg")
    options = parser.parse_args()
    with progress_bars() as progress:
        outcomes = run_demo(options.run, seed=options.seed, progress=progress)
    outcome = outcomes[options.recipe]
    options.output.write_text(draw(outcome, options.target), encoding="utf-8")
    result = outcome.targets[options.target]
    for name, figures in (("before", result.before), ("after", result.after)):
        print(f"all slices {name}: DSC {figures[EVALUATOR].value('dsc'):.3f}")
    print(result.verdict)


if __name__ == "__main__":
    main()
