"""The first tutorial's code: a scanner that makes lesions dimmer, with numpy alone."""

# [data]
import numpy as np

import pladapt
from pladapt import LabelledSample, PseudoLabelled
from pladapt.types import Array
from pladapt.typing import Predictor, Samples


def scan(name: str, patients: int, brightness: float, *, seed: int) -> list[LabelledSample]:
    """Make three images of each patient, with one bright rectangle each: the lesion."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(3 * patients):
        height, width, top, left = rng.integers([5, 5, 2, 2], [15, 15, 16, 16])
        mask = np.zeros((32, 32), np.uint8)
        mask[top : top + height, left : left + width] = 1
        image = mask * brightness * rng.uniform(0.8, 1.2) + rng.normal(0, 0.25, mask.shape)
        group = f"{name}-patient-{number // 3}"
        samples.append(LabelledSample(f"{name}-{number:02}", group, image[np.newaxis], mask))
    return samples


source = scan("source", 4, brightness=2.0, seed=1)
target = scan("target", 8, brightness=1.1, seed=2)
# [end]


class Threshold:
    """Calls a pixel lesion the surer, the further it lies above a level."""

    def __init__(self, level: float) -> None:
        self.level = level

    def predict(self, images: Array) -> Array:
        """Map images (B, 1, H, W) to probabilities of the same shape."""
        return 1 / (1 + np.exp(-4 * (images - self.level)))


class Halfway:
    """Puts the level halfway between what is labelled lesion and what is not."""

    def retrain(self, _old: Predictor, labels: Samples[PseudoLabelled]) -> Predictor:
        """Return a new predictor; the old one stays as it is."""
        pairs = [labels[index] for index in range(len(labels))]
        lesion = np.concatenate([pair.image[0][pair.label == 1] for pair in pairs])
        other = np.concatenate([pair.image[0][pair.label == 0] for pair in pairs])
        return Threshold((lesion.mean() + other.mean()) / 2)


# [calibrate]
predictor = Threshold(1.0)
calibration = pladapt.calibrate_cutoff(predictor, source)
print(f"cut-off: {calibration.cutoff}")
# [end]

# [measure]
evaluators = {
    "source": pladapt.evaluator("overlap", samples=source, cutoff=calibration.cutoff),
    "target": pladapt.evaluator("overlap", samples=target, cutoff=calibration.cutoff),
}
for name, evaluator in evaluators.items():
    print(f"{name}: DSC {evaluator.evaluate(predictor).value('dsc'):.3f}")
# [end]

# [adapt]
selector = pladapt.selector(
    "certainty-index", cutoff=calibration.cutoff, min_pixels=10, ci_limit=0.6, top_k=8
)
images = pladapt.unlabelled(target)
result = pladapt.adapt(
    predictor,
    images,
    selector=selector,
    retrainer=Halfway(),
    evaluators=evaluators,
    workdir="runs/tutorial",
)
# [end]

# [result]
for name in evaluators:
    before, after = (figures[name].value("dsc") for figures in (result.before, result.after))
    print(f"{name}: DSC {before:.3f} before, {after:.3f} after")
# [end]

# [selection]
selection = result.rounds[0].selection
print(f"counts: {selection.counts}")
print(f"surest: {', '.join(selection.kept[:3])}")
print(f"target-00 was dropped by {selection.dropped['target-00']}")
# [end]

# [nothing]
strict = pladapt.selector("certainty-index", cutoff=calibration.cutoff, ci_limit=0.99)
nothing = pladapt.adapt(predictor, images, selector=strict, retrainer=Halfway())
print(f"stopped: {nothing.stopped}")
print(f"the same predictor: {nothing.predictor is predictor}")
# [end]
