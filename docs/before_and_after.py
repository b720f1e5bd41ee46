"""Draw the picture of the first page: a CT slice before and after adaptation.

Run ``python docs/before_and_after.py`` with pladapt's extras ``torch`` and ``report`` and the
COVID-19 example installed. It trains the small U-Net of ``examples/ultrasound`` on phantoms of
scanner A, adapts it to those of scanner C by the recipe that is named, and draws a slice of C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

import pladapt
from pladapt import LabelledSample
from pladapt.reports.overlays import overlay
from pladapt.torch import RandomAffine, TorchPredictor, TrainingOptions, fit
from pladapt_covid_ct.chest import simulate
from pladapt_covid_ct.phantoms import SCANNERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt import AdaptationResult
    from pladapt.typing import Predictor

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples/ultrasound"))
from ultrasound import UNet  # noqa: E402 - an example, not a package

SIZE: Final = 96
SLICES: Final = 12
WINDOW: Final = (-1024, 600)  # of Hounsfield units, as in the COVID-19 example
SHOWN: Final = (-1000, 200)
SETS: Final = (("train", "A", 8), ("validation", "A", 2), ("test", "A", 4), ("target", "C", 9))
STYLE: Final = """
.outline { stroke-width: 2px; vector-effect: non-scaling-stroke; }
.prediction { stroke: #ffb000; fill: #ffb000; fill-opacity: 0.3; }
.truth { stroke: #6cc6ff; fill: none; stroke-dasharray: 5 3; }
text { font: 6px sans-serif; fill: #ffffff; }
"""


class Slice(NamedTuple):
    """A slice as the network sees it, and the Hounsfield units ``(H, W)`` that a person sees."""

    sample: LabelledSample
    hu: NDArray[np.int16]


def slices(name: str, letter: str, patients: int, *, seed: int) -> list[Slice]:
    """Simulate patients in one scanner; images are masked to the lung and normalised."""
    rng = np.random.default_rng(seed)
    made = []
    for patient in range(patients):
        chest = simulate(rng, SCANNERS[letter].tissue, slices=SLICES, size=SIZE)
        scan = SCANNERS[letter].scan(rng, chest)
        for z, (hu, lung, lesion) in enumerate(zip(scan, chest.lung, chest.lesion, strict=True)):
            image = np.where(lung > 0, np.clip(hu, *WINDOW) - np.float32(WINDOW[0]), 0)
            image = (image - image.mean()) / max(float(image.std()), 1e-6)
            group = f"{name}-{patient}"
            mask = (lesion > 0).astype(np.uint8)
            sample = LabelledSample(f"{group}/z{z:03}", group, image[None].astype("f4"), mask)
            made.append(Slice(sample, hu))
    return made


class Run(NamedTuple):
    """What was adapted to what, and the cut-off."""

    target: list[Slice]
    cutoff: float
    before: Predictor
    result: AdaptationResult


def adapt(recipe: str, epochs: int, seed: int) -> Run:
    """Train on A, choose the cut-off on further patients of A, and adapt to C."""
    sets = [
        slices(name, letter, patients, seed=seed + number)
        for number, (name, letter, patients) in enumerate(SETS)
    ]
    train, validation, test, target = ([one.sample for one in made] for made in sets)
    options = TrainingOptions(epochs=epochs, augmentation=RandomAffine(), seed=seed, device="cpu")
    torch.manual_seed(seed)
    before = TorchPredictor(fit(UNet(), train, validation, options).module, device="cpu")
    cutoff = pladapt.calibrate_cutoff(before, test).cutoff
    chosen: dict[str, Any] = {"cutoff": cutoff, "seed": seed, "device": "cpu"}
    if recipe == "paper":
        keep = len(target) // 2
        chosen = {"cutoff": cutoff, "top_k": keep, "validation": validation, "options": options}
    result = pladapt.recipe(recipe, **chosen).adapt(
        before,
        pladapt.unlabelled(target),
        evaluators={"target": pladapt.evaluator("overlap", samples=target, cutoff=cutoff)},
    )
    return Run(sets[-1], cutoff, before, result)


def draw(run: Run) -> str:
    """Return the slice with the most lesion twice as an SVG, with the marks before and after."""
    chosen = max(run.target, key=lambda one: int(one.sample.mask.sum()))
    panels = []
    for number, model in enumerate((run.before, run.result.predictor)):
        name = ("before", "after")[number]
        probabilities = model.predict(chosen.sample.image[None])
        marked = np.asarray(pladapt.hard_labels(probabilities, cutoff=run.cutoff))[0]
        print(f"{chosen.sample.id} {name}: DSC {_dsc(marked == 1, chosen.sample.mask == 1):.3f}")
        outlines = {"prediction": marked, "truth": chosen.sample.mask}
        drawn = overlay(np.clip(chosen.hu, *SHOWN)[None], outlines)
        panels.append(
            f'<svg x="{number * (SIZE + 3)}" width="{SIZE}" height="{SIZE}">{drawn}'
            f'<text x="3" y="8">{name}</text></svg>'
        )
    width = 2 * SIZE + 3
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {SIZE}" '
        f'width="{4 * width}" height="{4 * SIZE}"><style>{STYLE}</style>{"".join(panels)}</svg>\n'
    )


def _dsc(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.sum(one & other) / (np.sum(one) + np.sum(other)))


def main() -> None:
    """Adapt on a small scale, write the picture, and print the figures for its caption."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=("paper", "robust"), default="paper")
    parser.add_argument("--epochs", type=int, default=15, help="of training and retraining")
    parser.add_argument("--seed", type=int, default=0, help="of the phantoms and the network")
    parser.add_argument("--output", type=Path, default=HERE / "before-and-after.svg")
    options = parser.parse_args()
    run = adapt(options.recipe, options.epochs, options.seed)
    options.output.write_text(draw(run), encoding="utf-8")
    for name, figures in (("before", run.result.before), ("after", run.result.after)):
        print(f"all slices {name}: DSC {figures['target'].value('dsc'):.3f}")


if __name__ == "__main__":
    main()
