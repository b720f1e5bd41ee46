"""The recipe that the settings ask for, with what the source has to give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pladapt
from pladapt.recipes.paper import harm_gates
from pladapt.torch import FineTune
from pladapt_covid_ct.model import build_model
from pladapt_covid_ct.retraining import ContinuedAdam, Restart, selector, training_options
from pladapt_covid_ct.source import OPTIMIZER, source_statistics

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.types import Progress
    from pladapt.typing import Selector
    from pladapt_covid_ct.settings import Settings
    from pladapt_covid_ct.source import Trained


def recipe_of(
    trained: Trained,
    settings: Settings,
    slices: int,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> pladapt.Recipe:
    """Return the recipe of a target.

    Args:
        trained: The source's model.
        settings: The choices.
        slices: How many slices the target has.
        checkpoints: A folder for a training under way.
        progress: Called as work advances.
    """
    running = {"checkpoints": checkpoints, "progress": progress}
    if settings.recipe == "robust":
        return pladapt.recipe(
            "robust",
            source=source_statistics(trained, settings),  # which has the cut-off, too
            seed=settings.seed,
            device=settings.device,
            batch_size=settings.batch_size,
            **running,
        )
    cutoff = trained.calibration.cutoff
    return pladapt.Recipe(
        selector=selector(settings, cutoff, slices),
        retrainer=_retrainer(trained, settings, running),
        gates=harm_gates(cutoff, settings.batch_size) if settings.gate else (),
        batch_size=settings.batch_size,
    )


def first_selector(recipe: pladapt.Recipe) -> Selector:
    """Return the selector of the first round."""
    several = recipe.selector
    return several[0] if isinstance(several, Sequence) else several


def _retrainer(trained: Trained, settings: Settings, running: dict[str, Any]) -> FineTune:
    options = training_options(settings)
    if settings.optimiser == "continued":
        options = replace(options, optimizer=ContinuedAdam(trained.folder / OPTIMIZER))
    given: dict[str, Any] = {
        "validation": trained.validation if settings.validation == "source" else 0.1,
        "options": options,
        **running,
    }
    if settings.source_ratio:
        given |= {"source": trained.train, "source_ratio": settings.source_ratio}
    if settings.retrain_from == "source":
        return FineTune(**given)
    initial = build_model(
        settings.encoder, settings.encoder_weights, classes=trained.channels, seed=settings.seed
    )
    return Restart(initial=initial, **given)
