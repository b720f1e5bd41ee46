"""The recipe that we recommend."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import InputError
from pladapt.evaluation.few_labels import FewLabels
from pladapt.evidence.gates import DoNoHarm, ForegroundFraction, GivenFraction
from pladapt.predictors.agreement import Views
from pladapt.recipes.bundle import Recipe
from pladapt.recipes.labelled import LabelledRecipe
from pladapt.recipes.options import check_names, single_cutoff
from pladapt.recipes.paper import PaperOptions
from pladapt.runs.keep_fraction import keep_fraction
from pladapt.runs.restarting import Restart
from pladapt.selection.certain_negatives import CertainNegativesSelector
from pladapt.selection.soft_dice import SoftDiceSelector
from pladapt.torch.augmentation import (
    Augmentations,
    RandomAffine,
    RandomIntensity,
    RandomTexture,
)
from pladapt.torch.options import TrainingOptions
from pladapt.torch.recalibrators import AgreementRecalibrator, BatchNormRecalibrator
from pladapt.torch.retrainer import FineTune
from pladapt.torch.teaching import TaughtBeside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pladapt.evidence.gates import Measure
    from pladapt.source.statistics import SourceStatistics
    from pladapt.torch.augmentation import Augmentation
    from pladapt.types import LabelledSample, Progress, Samples
    from pladapt.typing import Gate, Recalibrator, ResumableRetrainer, Retrainer, Selector

_VARIED: Final = (RandomIntensity(gamma=0.8, contrast=0.3, brightness=0.3), RandomTexture())


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustOptions:
    """The options of the recipe that we recommend: source-free, without a label of the target.

    First `pladapt.torch.AgreementRecalibrator` looks whether the model is fit for the images,
    whether there is a shift, whether batch normalisation's statistics of the target surely make it
    agree better with itself, and whether there is something to train for. Where there is, what won
    labels the target, and is trained on its labels, those of samples without foreground among them,
    with an exponential moving average of its weights, on strongly varied geometry, intensity and
    sharpness, and so that it keeps the fraction of foreground that it was taught.
    `pladapt.DoNoHarm` refuses what collapses. In every other case the model stays as it was, and
    the verdict says why.

    With a few labelled images of the target these decide instead, as `pladapt.evaluation.FewLabels`
    does: what this recipe makes without labels (``robust``) stays, unless the model as it is
    (``none``), batch normalisation's statistics of the target (``batch-norm``), the paper's recipe
    (``paper``) or another cut-off is clearly better. The labels choose and teach nothing.

    Masks that people reviewed (`pladapt.review.Review`) choose as well before they teach: what the
    run has made, the model as it is or the target's statistics (`pladapt.runs.Restart`). Then
    images are mirrored in training, and not varied otherwise.

    Args:
        cutoff: The source's cut-off; the adapted predictor's is the same. By default that of
            ``source``, or else 0.5.
        source: What the source's images are like, and the model's masks on them
            (`pladapt.SourceStatistics.measure` with the predictor): it travels with the model.
            Without it the images are not compared with the source's, and nothing is trained.
        train: Whether the network is trained, or only recalibrated.
        axes: The spatial axes along which a mirror image is as likely as the image, counted from
            the end: the network is asked about these mirror images, and varied by them in training.
            By default those that ``source`` was measured with, or else (-1,).
        scales: The magnifications at which the network is asked; by default likewise, or (0.8,
            1.25).
        margin: By how much an agreement must be higher.
        factor: How many times as much may be marked as before or as on the source.
        recalibration_shift: How far from the source's the images must be for statistics to be
            measured, in the standard deviations of the source's own images (``shift`` of
            `pladapt.source.Likeness`).
        shift: How far they must be for a training.
        min_agreement: How far the model must agree with itself on them for a training, in [0, 1].
        foreground_fraction: The lowest and the highest fraction of all pixels of the target that
            can be foreground, where a user knows that. What would mark another is refused, and a
            model that does is shifted to the nearest one. It takes the place of the gate's limits.
        labelled: Three to five labelled images of the target, or more, which are to decide.
        labelled_margin: By how much a candidate's DSC on these, or on reviewed masks, must be
            higher, in the mean.
        train_on_labelled: Whether there are two candidates more, trained on these labels beside
            the pseudo-labels: ``trained``, and ``batch-norm-trained`` with the target's statistics.
            The DSC by which they are chosen is too high.
        epochs: Of the training.
        min_steps: Of the training: a small target is gone through more often than ``epochs``, since
            a network that has only begun to change is worse than both before and after.
        learning_rate: Of Adam.
        ema: The decay of the moving average, or None.
        seed: Of the training.
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda``, ...
        batch_size: How many samples are predicted at once, and trained on in a batch.
        checkpoints: A folder for a training under way, as for `pladapt.torch.FineTune`.
        progress: Called as work advances.

    Raises:
        InputError: An option out of its range, or the source has several cut-offs or another one.
    """

    cutoff: float | None = None
    source: SourceStatistics | None = None
    train: bool = True
    axes: tuple[int, ...] | None = None
    scales: tuple[float, ...] | None = None
    margin: float = 0.005
    factor: float = 1.5
    recalibration_shift: float = 1.25
    shift: float = 3.0
    min_agreement: float = 0.8
    foreground_fraction: tuple[float, float] | None = None
    labelled: Samples[LabelledSample] | None = None
    labelled_margin: float = 0.05
    train_on_labelled: bool = False
    epochs: int = 8
    min_steps: int = 150
    learning_rate: float = 5e-4
    ema: float | None = 0.99
    seed: int = 0
    device: str = "auto"
    batch_size: int = 8
    checkpoints: Path | None = None
    progress: Progress | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.labelled is None and self.train_on_labelled:
            raise InputError("train_on_labelled is given, and no labelled images; give labelled.")
        if self.source is not None and self.cutoff is not None:
            measured = single_cutoff(self.source.cutoff)
            if measured != self.cutoff:
                raise InputError(
                    f"The cut-off is {self.cutoff:g}, and the source's statistics were measured at "
                    f"{measured:g}; leave out the cut-off, or measure them at it (pladapt source "
                    "--cutoff)."
                )

    def recipe(self) -> Recipe:
        """Return the parts."""
        if self.labelled is not None:
            return self._chosen_by(self.labelled)
        measures = self._given or (ForegroundFraction(reference=self._usual),)
        return self._parts(self._recalibrator(), [self._gate(measures)], rounds=int(self.train))

    def _parts(
        self, recalibrator: Recalibrator | None, gates: Sequence[Gate], *, rounds: int
    ) -> Recipe:
        return Recipe(
            selector=self._selector(),
            retrainer=self._retrainer(),
            recalibrator=recalibrator,
            gates=gates,
            rounds=rounds,
            batch_size=self.batch_size,
            restart=self._restart(),
        )

    def _chosen_by(self, labelled: Samples[LabelledSample]) -> Recipe:
        """Return a recipe of several candidates, among which labels choose."""
        chooser = FewLabels(
            samples=labelled,
            cutoff=self._cutoff,
            margin=self.labelled_margin,
            batch_size=self.batch_size,
        )
        limits = [self._gate(self._given)] if self._given else []
        normalised = BatchNormRecalibrator(device=self.device, progress=self.progress)
        candidates = {
            "robust": replace(self, labelled=None, train_on_labelled=False).recipe(),
            "batch-norm": self._parts(normalised, limits, rounds=0),
        }
        if self.train:
            candidates["paper"] = replace(self._paper(), gates=limits)
        if self.train_on_labelled:
            candidates["trained"] = self._parts(None, limits, rounds=1)
            candidates["batch-norm-trained"] = self._parts(normalised, limits, rounds=1)
        return LabelledRecipe(
            **vars(self._parts(normalised, limits, rounds=int(self.train))),
            candidates=candidates,
            chooser=chooser,
            start="robust",
            taught=self.train_on_labelled,
            limits=limits,
        )

    def _paper(self) -> Recipe:
        return PaperOptions(
            cutoff=self._cutoff,
            seed=self.seed,
            device=self.device,
            batch_size=self.batch_size,
            checkpoints=self.checkpoints,
            progress=self.progress,
        ).recipe()

    @property
    def _usual(self) -> NDArray[np.float64] | None:
        """The fraction that the model marks on the source, by class."""
        return None if self.source is None else self.source.foreground_fraction

    @property
    def _given(self) -> tuple[GivenFraction, ...]:
        return (
            () if self.foreground_fraction is None else (GivenFraction(*self.foreground_fraction),)
        )

    @property
    def _cutoff(self) -> float:
        if self.cutoff is not None:
            return self.cutoff
        return 0.5 if self.source is None else single_cutoff(self.source.cutoff)

    @property
    def _views(self) -> Views:
        known = Views() if self.source is None else Views(self.source.axes, self.source.scales)
        return Views(
            known.axes if self.axes is None else self.axes,
            known.scales if self.scales is None else self.scales,
        )

    def _selector(self) -> Selector:
        """Keep every sample with foreground, and as many that surely show none."""
        every = SoftDiceSelector(cutoff=self._cutoff, min_pixels=1)
        return CertainNegativesSelector(selector=every, ceiling=self._cutoff, amount=1.0)

    def _retrainer(self, *, reviewed: bool = False) -> Retrainer:
        """Return what trains, on masks of the network's own or on those that people reviewed.

        What a network says of itself it is to say of images that look different, too. But where
        right masks teach, other intensities, sizes and edges hide what these mean.
        """
        axes = self._views.axes
        varied: Sequence[Augmentation] = (RandomAffine(flip=axes), *_VARIED)
        if reviewed:
            varied = [RandomAffine(zoom=0, shift=0, shear=0, flip=axes)]
        from torch.optim import Adam  # noqa: PLC0415 - torch is asked for by its extra's name first

        options = TrainingOptions(
            epochs=self.epochs,
            min_steps=self.min_steps,
            batch_size=self.batch_size,
            optimizer=partial(Adam, lr=self.learning_rate),
            augmentation=Augmentations(varied),
            keep="last",
            ema=self.ema,
            seed=self.seed,
            device=self.device,
        )
        retrainer: ResumableRetrainer = FineTune(
            validation=None, options=options, checkpoints=self.checkpoints, progress=self.progress
        )
        if self.labelled is not None and self.train_on_labelled:
            retrainer = TaughtBeside(retrainer=retrainer, labelled=self.labelled)
        return keep_fraction(retrainer, self._cutoff, batch_size=self.batch_size)

    def _recalibrator(self) -> AgreementRecalibrator:
        return AgreementRecalibrator(
            cutoff=self._cutoff,
            source=self.source,
            views=self._views,
            margin=self.margin,
            factor=self.factor,
            recalibration_shift=self.recalibration_shift,
            shift=self.shift,
            min_agreement=self.min_agreement,
            given=next(iter(self._given), None),
            batch_size=self.batch_size,
            device=self.device,
            progress=self.progress,
        )

    def _restart(self) -> Restart:
        """Let reviewed masks choose the target's statistics, which no label had chosen."""
        normalised = BatchNormRecalibrator(device=self.device, progress=self.progress)
        return Restart(
            recalibrators={"batch-norm": normalised},
            retrainer=self._retrainer(reviewed=True),
            measures=self._given,
            cutoff=self._cutoff,
            margin=self.labelled_margin,
            batch_size=self.batch_size,
        )

    def _gate(self, measures: Sequence[Measure]) -> DoNoHarm:
        return DoNoHarm(
            cutoff=self._cutoff,
            measures=measures,
            batch_size=self.batch_size,
            max_samples=256,
        )


def robust(**options: Any) -> Recipe:
    """Return the recipe that we recommend; the options are those of `RobustOptions`.

    Raises:
        TypeError: There is no such option.
        InputError: As `RobustOptions` says.
    """
    check_names(RobustOptions, "robust", options)
    return RobustOptions(**options).recipe()
