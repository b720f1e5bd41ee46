"""The paper's recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pladapt.errors import InputError
from pladapt.evidence.gates import DoNoHarm
from pladapt.recipes.bundle import Recipe
from pladapt.recipes.options import check_names
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.torch.augmentation import RandomAffine
from pladapt.torch.options import TrainingOptions
from pladapt.torch.retrainer import FineTune

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.functional.certainty import Cutoff
    from pladapt.source.statistics import SourceStatistics
    from pladapt.types import LabelledSample, Progress, Samples


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperOptions:
    """The options of the paper's recipe: the certainty index with its rules, and one fine-tuning.

    Args:
        cutoff: The cut-off found on the source (`pladapt.calibrate_cutoff`); by default that of
            ``source``, or else 0.5.
        source: What the source's images are like (`pladapt.SourceStatistics`); only its cut-off is
            used.
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        ci_limit: The lowest certainty index kept, or None.
        top_k: How many samples are kept at the most, or None.
        gate: Whether `pladapt.DoNoHarm` judges what comes out against what went in, so that the
            model stays as it was where there is evidence of harm. The paper has no such judgement.
        validation: As for `pladapt.torch.FineTune`: labelled source samples, as in the paper, or
            a fraction of the pseudo-labelled groups.
        options: How to train; by default as the paper does, but without its augmentation's values,
            which it does not give.
        seed: Of the default options' training; 0 by default.
        device: Where the default options train: ``auto`` (the default), ``cpu``, ``cuda``, ...
        batch_size: How many samples are predicted at once.
        checkpoints: A folder for a training under way.
        progress: Called as training advances.

    Raises:
        InputError: Both ``options`` and ``seed`` or ``device``, which the options have; or an
            option out of its range.
    """

    cutoff: Cutoff | None = None
    source: SourceStatistics | None = None
    min_pixels: int = 50
    ci_limit: float | None = None
    top_k: int | None = None
    gate: bool = False
    validation: Samples[LabelledSample] | float = 0.1
    options: TrainingOptions | None = None
    seed: int | None = None
    device: str | None = None
    batch_size: int = 8
    checkpoints: Path | None = None
    progress: Progress | None = field(default=None, repr=False)

    def recipe(self) -> Recipe:
        """Return the parts."""
        return Recipe(
            selector=CertaintyIndexSelector(
                cutoff=self._cutoff,
                min_pixels=self.min_pixels,
                ci_limit=self.ci_limit,
                top_k=self.top_k,
            ),
            retrainer=FineTune(
                validation=self.validation,
                options=self._training(),
                checkpoints=self.checkpoints,
                progress=self.progress,
            ),
            gates=harm_gates(self._cutoff, self.batch_size) if self.gate else (),
            batch_size=self.batch_size,
        )

    @property
    def _cutoff(self) -> Cutoff:
        if self.cutoff is not None:
            return self.cutoff
        return 0.5 if self.source is None else self.source.cutoff

    def _training(self) -> TrainingOptions:
        given = {"seed": self.seed, "device": self.device}
        own: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.options is None:
            return TrainingOptions(augmentation=RandomAffine(), **own)
        if own:
            raise InputError(
                f"The paper's recipe was given options, and {' and '.join(own)} beside them; set "
                "them in the TrainingOptions."
            )
        return self.options


def harm_gates(cutoff: Cutoff, batch_size: int = 8) -> list[DoNoHarm]:
    """Return the gate that ``gate`` asks for.

    Args:
        cutoff: The source's.
        batch_size: How many samples are predicted at once.
    """
    return [DoNoHarm(cutoff=cutoff, batch_size=batch_size, max_samples=256)]


def paper(**options: Any) -> Recipe:
    """Return the paper's recipe; the options are those of `PaperOptions`.

    Raises:
        TypeError: There is no such option.
        InputError: As `PaperOptions` says.
    """
    check_names(PaperOptions, "paper", options)
    return PaperOptions(**options).recipe()
