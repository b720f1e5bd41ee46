"""The recipe that we recommend."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import InputError
from pladapt.evidence.gates import Churn, DoNoHarm, ForegroundFraction
from pladapt.recipes.bundle import Recipe
from pladapt.runs.keep_fraction import keep_fraction
from pladapt.selection.certain_negatives import CertainNegativesSelector
from pladapt.selection.composition import compose
from pladapt.selection.labelling import Labelling
from pladapt.selection.pairwise_dice import PairwiseDiceSelector
from pladapt.selection.rules import Rules
from pladapt.torch.augmentation import Augmentations, RandomAffine, RandomIntensity, RandomTexture
from pladapt.torch.recalibrators import ConsensusRecalibrator
from pladapt.torch.retrainer import FineTune
from pladapt.torch.training import TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.protocols import Selector
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import Progress

_VARIED: Final = (RandomIntensity(gamma=0.8, contrast=0.3, brightness=0.3), RandomTexture())


def robust(
    *,
    cutoff: float | None = None,
    source: SourceStatistics | None = None,
    fractions: Sequence[float] = (1.0,),
    epochs: int = 8,
    min_steps: int = 150,
    learning_rate: float = 5e-4,
    ema: float | None = 0.99,
    vary: bool = True,
    align: bool = True,
    batch_norm: bool = True,
    fraction: bool = True,
    groups: bool = True,
    flip: tuple[int, ...] = (-1,),
    tta_scales: tuple[float, ...] = (1 / 1.2, 1.2),
    seed: int = 0,
    device: str = "auto",
    batch_size: int = 8,
    rounds: int | None = None,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Recipe:
    """Return the recipe that we recommend: source-free, and without a label of the target.

    First `pladapt.torch.ConsensusRecalibrator` makes a teacher of what several adjustments of the
    network agree on. Then the network is trained on its teacher's labels of the target, those of
    samples without foreground among them: with an exponential moving average of its weights, on
    strongly varied geometry, intensity and sharpness, and so that it keeps the fraction of
    foreground that it was taught. What it predicts is the mean over sizes and mirror images such as
    it was trained on. `pladapt.DoNoHarm` refuses a round that collapses or rewrites its
    predictions.

    Args:
        cutoff: The source's cut-off; the adapted predictor's is the same. By default that of
            ``source``, or else 0.5.
        source: What the source's images are like, which travels with the model; without it no
            intensities are mapped.
        fractions: The fraction of the samples with foreground that is learnt from, for each round:
            those whose members agree best. All of them by default: the surest alone are the easy
            ones, and a network that learns from them alone marks too little in the others. A second
            round has the network as its own teacher.
        epochs: Of each round.
        min_steps: Of each round: a small target is gone through more often than ``epochs``, since
            a network that has only begun to change is worse than both before and after.
        learning_rate: Of Adam.
        ema: The decay of the moving average, or None.
        vary: Whether intensity and sharpness are varied in training, beside the geometry.
        align: Whether intensities are mapped to the source's, where that is known.
        batch_norm: Whether batch normalisation's statistics of the target are tried.
        fraction: Whether the fraction of foreground is found anew; else the source's cut-off
            decides.
        groups: Whether it is found for each group of samples as well, a volume or a patient.
        flip: The spatial axes along which a mirror image is as likely as the image, counted from
            the end.
        tta_scales: The magnifications at which the trained network predicts, beside the image as it
            is; see `pladapt.torch.ScalePredictor`. With none it predicts in a third of the time.
        seed: Of the training.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        batch_size: How many samples are predicted at once, and trained on in a batch.
        rounds: How many of the fractions are used; by default all, and 0 for no training.
        checkpoints: A folder for a training under way, as for `pladapt.torch.FineTune`.
        progress: Called as work advances.

    Raises:
        InputError: More rounds than fractions, or an option out of its range.
    """
    from torch.optim import Adam  # noqa: PLC0415 - the backend says first what is not installed

    if cutoff is None:
        cutoff = _single(source.cutoff) if source is not None else 0.5
    count = len(fractions) if rounds is None else rounds
    if not 0 <= count <= len(fractions):
        raise InputError(
            f"rounds is {count}; it must lie between 0 and {len(fractions)}, the fractions."
        )
    training = TrainingOptions(
        epochs=epochs,
        min_steps=min_steps,
        batch_size=batch_size,
        optimizer=partial(Adam, lr=learning_rate),
        augmentation=Augmentations((RandomAffine(flip=flip), *(_VARIED if vary else ()))),
        keep="last",
        ema=ema,
        seed=seed,
        device=device,
    )
    fine_tune = FineTune(
        validation=None, options=training, checkpoints=checkpoints, progress=progress
    )
    selectors = [_selector(cutoff, part) for part in fractions[: max(1, count)]]
    return Recipe(
        selector=selectors,
        retrainer=keep_fraction(fine_tune, cutoff, batch_size=batch_size),
        recalibrator=ConsensusRecalibrator(
            cutoff=cutoff,
            source=source,
            align=align,
            batch_norm=batch_norm,
            fraction=fraction,
            groups=groups,
            axes=flip,
            tta_scales=tta_scales,
            batch_size=batch_size,
            device=device,
            progress=progress,
        ),
        gates=[
            DoNoHarm(
                cutoff=cutoff,
                measures=(ForegroundFraction(), Churn(limit=0.25)),
                batch_size=batch_size,
                max_samples=256,
            )
        ],
        rounds=count,
        batch_size=batch_size,
    )


def _selector(cutoff: float, fraction: float) -> Selector:
    """Keep a fraction of the samples with foreground, over all sizes, and as many without any."""
    agreed = compose(
        PairwiseDiceSelector(cutoff=cutoff, min_pixels=1),
        rules=Rules(min_pixels=1, top_k=fraction, spread=("size",)),
        label=Labelling(cutoff=cutoff),
    )
    return CertainNegativesSelector(selector=agreed, ceiling=cutoff, amount=1.0)


def _single(cutoff: Any) -> float:
    if isinstance(cutoff, float | int):
        return float(cutoff)
    if len(set(cutoff)) == 1:
        return float(cutoff[0])
    raise InputError(
        f"The source has the cut-offs {cutoff}, one per class; give a cutoff for all of them."
    )
