"""The choices of an experiment, each with a name and explained on the page of choices."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from pladapt.errors import InputError
from pladapt.evaluation.calibration import Aggregation
from pladapt.selection.rules import (
    Amount,  # noqa: TC001 - the command line reads the annotations
    check_amount,
    number_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt_covid_ct.preprocessing import Preprocessing

Validation: TypeAlias = Literal["source", "pseudo-labels"]
Start: TypeAlias = Literal["source", "encoder"]
Optimiser: TypeAlias = Literal["new", "continued"]
Flip: TypeAlias = Literal["left-right", "both", "none"]
Kept: TypeAlias = Literal["all", "infected"]
Effusion: TypeAlias = Literal["drop", "keep"]
Backend: TypeAlias = Literal["torch", "onnx"]
Recipe: TypeAlias = Literal["paper", "robust"]

FOLDS: Final = 5
"""The folds of the paper's cross-validation."""

_REFERENCE_SIZE: Final = 512  # the matrix for which the paper drops fewer than 50 pixels
_REFERENCE_PIXELS: Final = 50
_FLIPS: Final[Mapping[Flip, tuple[int, ...]]] = {
    "left-right": (-1,),
    "both": (-1, -2),
    "none": (),
}
_PREPROCESSING: Final = ("order", "statistics", "lesions", "lungs", "interpolation")
_PAPERS: Final = (
    *("min_pixels", "limit", "quantile", "top_k"),
    *("retrain_from", "optimiser", "source_ratio", "validation", "gate"),
)
"""What only the paper's recipe asks for."""

_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "epochs": (1, math.inf),
    "patience": (1, math.inf),
    "batch_size": (1, math.inf),
    "seed": (0, math.inf),
    "fold": (0, FOLDS - 1),
    "min_pixels": (0, math.inf),
    "limit": (0, 1),
    "ema": (0, 1),
    "quantile": (0, 1),
    "source_ratio": (0, math.inf),
}


def _words(kind: Any) -> str:
    *most, last = get_args(kind)
    return f"{', '.join(most)} or {last}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of an experiment; where the paper makes one, it is the default.

    What each field means is its ``help``, which is also that of the command line's option.

    Raises:
        InputError: A value is outside its range or none of its words.
    """

    size: int = field(
        default=512,
        metadata={"help": "Width and height given to the network, in pixels; a multiple of 32."},
    )
    encoder: str = field(
        default="resnet34",
        metadata={"help": "LinkNet's encoder: segmentation-models-pytorch's, or timm's tu-NAME."},
    )
    encoder_weights: str = field(
        default="imagenet", metadata={"help": "imagenet from the hub, none, or a file."}
    )
    epochs: int = field(
        default=100, metadata={"help": "At most so many, in training and in retraining."}
    )
    patience: int = field(
        default=5,
        metadata={"help": "Training stops after so many epochs without a lower validation loss."},
    )
    batch_size: int = field(default=8, metadata={"help": "Slices in a batch."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's, at the start."})
    ema: float | None = field(
        default=None,
        metadata={
            "help": "The decay of a moving average of the weights, which is validated and kept in "
            "their place, in [0, 1)."
        },
    )
    zoom: float = field(default=0.1, metadata={"help": "Augmentation zooms by 1 ± this."})
    shift: float = field(
        default=0.1, metadata={"help": "Augmentation shifts by ± this fraction of the width."}
    )
    shear: float = field(
        default=0.1, metadata={"help": "Augmentation shears by ± this tangent of the angle."}
    )
    flip: Flip = field(
        default="left-right",
        metadata={"help": f"Augmentation mirrors half of the slices: {_words(Flip)}."},
    )
    seed: int = field(
        default=0,
        metadata={"help": "Of the split, the network's random layers, the order of slices, ..."},
    )
    fold: int = field(default=0, metadata={"help": f"Which of {FOLDS} folds of patients, from 0."})
    slices: Kept = field(
        default="all",
        metadata={"help": f"{_words(Kept)}: the latter as Table I counts them."},
    )
    lesions: str = field(
        default="binary",
        metadata={"help": "binary, or classes where the masks have lesion classes."},
    )
    effusion: Effusion = field(
        default="drop", metadata={"help": f"Pleural effusion as a lesion: {_words(Effusion)} it."}
    )
    lungs: str = field(
        default="files-or-threshold",
        metadata={
            "help": "Where lung masks come from: files, threshold, files-or-threshold, none, "
            "lungmask (R231) or lungmask-covidweb (R231CovidWeb)."
        },
    )
    lungs_weights: str = field(
        default="release",
        metadata={"help": "lungmask's: release, downloaded if it is not there, or a file."},
    )
    unknown_weights: bool = field(
        default=False, metadata={"help": "Take a file of lungs_weights that is not the release's."}
    )
    window: str = field(
        default="-1024:600",
        metadata={"help": "Hounsfield units that are kept, LOW:HIGH, or none."},
    )
    order: str = field(
        default="mask-then-normalise",
        metadata={"help": "mask-then-normalise or normalise-then-mask."},
    )
    statistics: str = field(
        default="slice",
        metadata={"help": "Mean and standard deviation are of the whole slice, or the lung."},
    )
    interpolation: str = field(
        default="bilinear",
        metadata={"help": "How images are resized: bilinear, bicubic or nearest."},
    )
    cutoffs: str = field(
        default="0.01:0.99:0.01",
        metadata={"help": "Cut-offs that are tried: FIRST:LAST:STEP, or a list 0.3,0.5."},
    )
    calibration: Aggregation = field(
        default="pooled",
        metadata={"help": f"Whose DSC the cut-off is best for: {_words(Aggregation)}."},
    )
    recipe: Recipe = field(
        default="paper",
        metadata={
            "help": f"How to adapt: {_words(Recipe)}. The options of selection and retraining are "
            "the paper's; robust has its own."
        },
    )
    min_pixels: int | None = field(
        default=None,
        metadata={"help": "Fewest pixels above the cut-off; by default 50 scaled to the size."},
    )
    limit: float | None = field(
        default=None, metadata={"help": "The lowest certainty index that is kept."}
    )
    quantile: float | None = field(
        default=None,
        metadata={"help": "The same, as a quantile of the target's own: 0.5 keeps the upper half."},
    )
    top_k: Amount = field(
        default=0.25,
        metadata={
            "help": "How many of the target's slices are kept at the most: a number, or a fraction "
            "of them as 0.25."
        },
    )
    retrain_from: Start = field(
        default="source",
        metadata={"help": f"Retraining starts from the weights of the {_words(Start)}."},
    )
    optimiser: Optimiser = field(
        default="new", metadata={"help": f"Retraining's: {_words(Optimiser)}."}
    )
    source_ratio: float = field(
        default=0.0,
        metadata={"help": "Source slices mixed into retraining, per pseudo-labelled slice."},
    )
    validation: Validation = field(
        default="source",
        metadata={"help": f"What stops retraining and chooses its weights: {_words(Validation)}."},
    )
    gate: bool = field(
        default=False,
        metadata={
            "help": "The paper's recipe leaves the model as it was where there is evidence of "
            "harm; robust always does."
        },
    )
    backend: Backend = field(
        default="torch",
        metadata={"help": f"What predicts: {_words(Backend)} (ONNX Runtime). torch trains."},
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, ..."})

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 32:
            raise InputError(f"size is {self.size}; LinkNet needs a multiple of 32.")
        self._check_words()
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(f"{name} is {value}; it must lie in [{low}, {high}].")
        check_amount("top_k", self.top_k)
        if self.quantile == 1:
            raise InputError(f"quantile is {self.quantile}, which keeps nothing; give less than 1.")
        if self.ema == 1:
            raise InputError(f"ema is {self.ema}, which learns nothing; give less than 1.")
        if self.retrain_from == "encoder" and self.optimiser == "continued":
            raise InputError(
                "retrain_from is 'encoder' and optimiser 'continued'; an optimiser goes on only "
                "with the weights that it trained: retrain_from='source'."
            )
        if self.recipe == "robust":
            self._check_robust()
        _ = self.cutoff_grid, self.preprocessing  # raise here rather than after hours of training

    def _check_words(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be {_words(kind)}.")

    def _check_robust(self) -> None:
        defaults = {item.name: item.default for item in fields(self)}
        unused = [name for name in _PAPERS if getattr(self, name) != defaults[name]]
        if unused:
            raise InputError(
                f"recipe is 'robust' and {unused[0]} is {getattr(self, unused[0])}, which is for "
                "the paper's selection and retraining; leave it out, or give recipe='paper'."
            )
        if self.lesions == "classes" and len(self.cutoff_grid) > 1:
            raise InputError(
                f"recipe is 'robust', lesions 'classes' and cutoffs {self.cutoffs!r}, of which "
                "each class would get its own; robust takes one for all: give a single cut-off, "
                "such as cutoffs='0.5', or lesions='binary'."
            )

    @property
    def scaled_min_pixels(self) -> int:
        """The fewest pixels above the cut-off, at this size."""
        if self.min_pixels is not None:
            return self.min_pixels
        return max(1, round(_REFERENCE_PIXELS * (self.size / _REFERENCE_SIZE) ** 2))

    @property
    def cutoff_grid(self) -> tuple[float, ...]:
        """The cut-offs that are tried, ascending."""
        given = _numbers(self.cutoffs, "cutoffs", "FIRST:LAST:STEP or a list such as 0.3,0.5")
        grid = np.array(given)
        if ":" in self.cutoffs:
            first, last, step = given if len(given) == 3 else (0, 0, 0)  # noqa: PLR2004 - as named
            if step <= 0:
                raise InputError(
                    f"cutoffs is {self.cutoffs!r}; give FIRST:LAST:STEP, STEP above 0."
                )
            # rounding must not lose the last one
            grid = first + step * np.arange(int((last - first) / step + 1e-9) + 1)
        if not (grid.size and grid[0] > 0 and grid[-1] < 1 and np.all(np.diff(grid) > 0)):
            raise InputError(f"cutoffs is {self.cutoffs!r}; they must ascend within (0, 1).")
        return tuple(float(value) for value in grid.round(6))

    @property
    def flip_axes(self) -> tuple[int, ...]:
        """The axes that augmentation mirrors, counted from the end."""
        return _FLIPS[self.flip]

    @property
    def preprocessing(self) -> Preprocessing:
        """How slices become the network's input."""
        from pladapt_covid_ct.preprocessing import Preprocessing  # noqa: PLC0415 - scipy is slow

        window = None
        if self.window != "none":
            ends = _numbers(self.window, "window", "LOW:HIGH or none")
            if len(ends) != 2:  # noqa: PLR2004 - two ends
                raise InputError(f"window is {self.window!r}; give LOW:HIGH or none.")
            window = (ends[0], ends[1])
        words: dict[str, Any] = {name: getattr(self, name) for name in _PREPROCESSING}
        return Preprocessing(size=self.size, window=window, **words)

    def most_kept(self, slices: int) -> int:
        """Return how many of a target's slices are kept at the most."""
        return number_of(self.top_k, slices)


def _numbers(text: str, name: str, expected: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(":", ",").split(","))
    except ValueError:
        raise InputError(f"{name} is {text!r}; expected {expected}.") from None
