"""The experiment on phantoms, by both recipes."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from pladapt.runs.manifest import open_run
from pladapt.storage import atomic_write
from pladapt_covid_ct.domains import load_domains
from pladapt_covid_ct.experiment import run_round
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pladapt.types import Progress
    from pladapt_covid_ct.experiment import Outcome
    from pladapt_covid_ct.settings import Backend, Recipe

SETTINGS: Final = Settings(
    size=64, encoder="resnet18", encoder_weights="none", epochs=12, patience=12, ema=0.99
)
"""Small enough for some minutes on two cores, and with as many steps whatever the seed."""

PATIENTS: Final[Mapping[str, int]] = {"A": 24, "B": 12, "C": 10}
"""How many patients each data set has."""

_SOURCE: Final = "A"
_TARGETS: Final = ("B", "C")
_SLICES: Final = 8  # a volume: many patients of few slices differ less from seed to seed
_WIDTH: Final = 96  # pixels; C's are five quarters as many

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
    gate: bool = False,
) -> dict[str, Outcome]:
    """Write phantoms to ``out/data``, train on A, and adapt to B and C by each recipe.

    Args:
        out: The run folder, with a run folder of each recipe in it; an interrupted run continues.
        seed: Of the phantoms and of everything else.
        progress: Called as work advances.
        backend: What predicts.
        gate: Whether the paper's recipe leaves the model as it was where there is evidence of harm.

    Returns:
        What each recipe found, by its name; the source's model is the same.

    Raises:
        RunChangedError: ``out`` holds a demo with another seed or other settings.
    """
    common = replace(SETTINGS, seed=seed, backend=backend)
    open_run(out, {"settings": asdict(common), "patients": dict(PATIENTS)})
    data = out / "data"
    if not data.exists():
        with atomic_write(data) as temporary:
            write_phantoms(temporary, seed, patients=PATIENTS, slices=_SLICES, size=_WIDTH)
    domains = load_domains(data, (_SOURCE, *_TARGETS), common, progress)
    choices: dict[Recipe, dict[str, Any]] = {"paper": {"top_k": 0.5, "gate": gate}, "robust": {}}
    return {
        recipe: run_round(
            _SOURCE,
            domains,
            settings=replace(common, recipe=recipe, **chosen),
            out=out / recipe,
            progress=progress,
            source_folder=out / "source",
        )
        for recipe, chosen in choices.items()
    }
