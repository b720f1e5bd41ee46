"""The paper's recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError
from pladapt.recipes.bundle import Recipe
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.torch.augmentation import RandomAffine
from pladapt.torch.options import TrainingOptions
from pladapt.torch.retrainer import FineTune

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.types import LabelledSample, Progress, Samples


def paper(
    *,
    cutoff: float = 0.5,
    min_pixels: int = 50,
    ci_limit: float | None = None,
    top_k: int | None = None,
    validation: Samples[LabelledSample] | float = 0.1,
    options: TrainingOptions | None = None,
    seed: int | None = None,
    device: str | None = None,
    checkpoints: Path | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Recipe:
    """Return the paper's recipe: the certainty index with its rules, and one fine-tuning.

    Args:
        cutoff: The cut-off found on the source (`pladapt.calibrate_cutoff`).
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        ci_limit: The lowest certainty index kept, or None.
        top_k: How many samples are kept at the most, or None.
        validation: As for `pladapt.torch.FineTune`: labelled source samples, as in the
            paper, or a fraction of the pseudo-labelled groups.
        options: How to train; by default as the paper does, but without its augmentation's values,
            which it does not give.
        seed: Of the default options' training; 0 by default.
        device: Where the default options train: ``auto`` (the default), ``cpu``, ``cuda``, ...
        checkpoints: A folder for a training under way.
        batch_size: How many samples are predicted at once.
        progress: Called as training advances.

    Raises:
        InputError: Both ``options`` and ``seed`` or ``device``, which the options have.
    """
    selector = CertaintyIndexSelector(
        cutoff=cutoff, min_pixels=min_pixels, ci_limit=ci_limit, top_k=top_k
    )
    retrainer = FineTune(
        validation=validation,
        options=_training(options, seed=seed, device=device),
        checkpoints=checkpoints,
        progress=progress,
    )
    return Recipe(selector=selector, retrainer=retrainer, batch_size=batch_size)


def _training(options: TrainingOptions | None, **given: Any) -> TrainingOptions:
    own = {name: value for name, value in given.items() if value is not None}
    if options is None:
        return TrainingOptions(augmentation=RandomAffine(), **own)
    if own:
        raise InputError(
            f"The paper's recipe was given options, and {' and '.join(own)} beside them; set them "
            "in the TrainingOptions."
        )
    return options
