"""The experiment on phantoms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pladapt.storage import atomic_write
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pladapt.types import Progress
    from pladapt_covid_ct.experiment import Outcome
    from pladapt_covid_ct.settings import Backend, Recipe

SETTINGS: Final = Settings(size=64, encoder_weights="none", epochs=24, batch_size=4)
"""Small enough for a few minutes on two cores; everything else as in the paper."""

_CHOICES: Final[Mapping[Recipe, Mapping[str, Any]]] = {
    "paper": {"top_k": 0.5},
    "robust": {},
}

_SLICES: Final = 16  # a volume: enough steps an epoch for batch normalisation to settle

NOTE: Final = (
    "The data are phantoms, drawn by a program. They show that everything works, not how well it "
    "would on patients."
)
"""What the report of a demo must say."""


def run_demo(
    out: Path,
    *,
    seed: int,
    progress: Progress,
    backend: Backend = "torch",
    recipe: Recipe = "paper",
) -> Outcome:
    """Write phantoms to ``out/data`` and run A to B and C on them.

    Args:
        out: The run folder; an interrupted run continues in it.
        seed: Of the phantoms and of everything else.
        progress: Called as work advances.
        backend: What predicts.
        recipe: How to adapt.
    """
    data = out / "data"
    if not data.exists():
        with atomic_write(data) as temporary:
            write_phantoms(temporary, seed=seed, slices=_SLICES)
    settings = replace(SETTINGS, seed=seed, backend=backend, recipe=recipe, **_CHOICES[recipe])
    return run_experiment(data, "A", ["B", "C"], settings=settings, out=out, progress=progress)
