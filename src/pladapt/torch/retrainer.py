"""Fine-tuning on pseudo-labels."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from pladapt.data.leakage import check_leakage, names_of
from pladapt.data.views import Subset
from pladapt.errors import InputError, LabelledTargetError
from pladapt.functional.numbers import plain
from pladapt.runs.manifest import describe
from pladapt.storage import read_json
from pladapt.torch.data import epoch_seed, joined
from pladapt.torch.options import TrainingOptions
from pladapt.torch.storage import load_module, save_module, state_sha256
from pladapt.torch.training import check_unvalidated, fit
from pladapt.torch.wrapping import module_of, with_module
from pladapt.types import PseudoLabelled

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.data.leakage import Names
    from pladapt.torch.data import Taught
    from pladapt.types import LabelledSample, Progress, Samples
    from pladapt.typing import Predictor

P = TypeVar("P", bound="Predictor")


@dataclass(frozen=True, eq=False)
class FineTune:
    """Trains the predictor's module on, from its weights and with a new optimiser.

    Validation, which decides when to stop and which weights to keep, never sees target truth: it
    is on labelled *source* samples, on pseudo-labelled samples that are held out, or left out.

    Args:
        validation: Labelled source samples; or the fraction of the pseudo-labelled groups to hold
            out, in (0, 1). Where there is one group alone, the fraction is of its samples. None
            trains on every sample for all epochs, and asks for ``keep="last"``.
        options: How to train.
        source: Labelled source samples to train on beside the pseudo-labelled ones, or None.
        source_ratio: Source samples per pseudo-labelled sample, as far as there are so many; they
            are drawn once, by the seed.
        checkpoints: A folder for the state of a training under way, which a later `retrain` with
            the same arguments goes on from; it is made if need be and left empty in the end.
        progress: Called after each step.

    Raises:
        InputError: The fraction is outside (0, 1), the ratio is not positive, or nothing validates
            and ``keep`` is not ``last``.
    """

    validation: Samples[LabelledSample] | float | None = 0.1
    options: TrainingOptions = field(default_factory=TrainingOptions)
    source: Samples[LabelledSample] | None = None
    source_ratio: float = 1.0
    checkpoints: Path | None = None
    progress: Progress | None = None
    _records: WeakKeyDictionary[Any, dict[str, Any]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "validation", plain(self.validation))
        if isinstance(self.validation, str):
            raise InputError(
                f"validation is {self.validation!r}; give labelled source samples, a fraction "
                "between 0 and 1, or None."
            )
        if isinstance(self.validation, int | float) and not 0 < self.validation < 1:
            raise InputError(
                f"validation is {self.validation}; a fraction must lie between 0 and 1."
            )
        if not self.source_ratio > 0:
            raise InputError(f"source_ratio is {self.source_ratio}; it must be above 0.")
        if self.validation is None:
            check_unvalidated(self.options)

    def retrain(self, predictor: Predictor, labels: Samples[PseudoLabelled], /) -> Predictor:
        """Return a new predictor; the one given, and its module, are not changed.

        Raises:
            LabelledTargetError: The labels are true masks.
            InputError: There are no pseudo-labels, the predictor has no module to train, or a
                labelled sample has the id or group of a pseudo-labelled one, which would let
                target truth in.
        """
        return self._retrain(predictor, labels)

    def record(self, predictor: Predictor, /) -> dict[str, Any]:
        """Return what is known of the training that made a predictor.

        ``epochs`` are the rows of `FitResult.history`; ``validation`` tells on what.

        Raises:
            InputError: The predictor was not made or loaded by this retrainer.
        """
        if predictor not in self._records:
            raise InputError("This retrainer has neither made nor loaded the predictor given.")
        return self._records[predictor]

    def save(self, predictor: Predictor, folder: Path, /) -> None:
        """Write ``model.safetensors`` and ``history.json``.

        The seconds are left out, so that the same training ends with the same bytes.
        """
        save_module(module_of(predictor), folder / "model.safetensors")
        record = self.record(predictor)
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in record["epochs"]]
        (folder / "history.json").write_text(json.dumps({**record, "epochs": rows}, indent=1))

    def load(self, predictor: Predictor, folder: Path, /) -> Predictor:
        """Read back what `save` wrote.

        Args:
            predictor: The one that `retrain` was given; it is not changed.
            folder: Where `save` wrote.

        Raises:
            MissingDataError: There is no such file.
            DataError: The weights are truncated or do not fit the predictor's module.
        """
        module = copy.deepcopy(module_of(predictor)).float()  # as it was trained
        load_module(module, folder / "model.safetensors")
        loaded = with_module(predictor, module.eval())
        self._records[loaded] = read_json(folder / "history.json")
        return loaded

    def describe(self) -> dict[str, Any]:
        """Return what the retrained weights depend on beside predictor and labels."""
        return {
            "type": f"{type(self).__module__}.{type(self).__qualname__}",
            "validation": describe(self.validation),
            "source": describe(self.source),
            "source_ratio": self.source_ratio,
            **self.options.describe(),
        }

    def _retrain(self, predictor: P, labels: Samples[PseudoLabelled]) -> P:
        names = _target_names(labels)
        for role, labelled in (("validation", self.validation), ("source", self.source)):
            if labelled is not None and not isinstance(labelled, float):
                check_leakage(names, names_of(labelled), role)
        train, validation, note = self._split(labels, names)
        checkpoint = self._checkpoint(predictor, names)
        result = fit(
            module_of(predictor),
            self._with_source(train),
            validation,
            self.options,
            progress=self.progress,
            checkpoint=checkpoint,
        )
        retrained = with_module(predictor, result.module)
        self._records[retrained] = {
            "validation": note,
            "best_epoch": result.best_epoch,
            "epochs": result.history,
        }
        if checkpoint is not None:
            checkpoint.unlink()
        return retrained

    def _split(
        self, labels: Samples[PseudoLabelled], names: Names
    ) -> tuple[Samples[Taught], Samples[Taught] | None, str]:
        if self.validation is None:
            return labels, None, "nothing"
        if not isinstance(self.validation, float):
            note = f"{len(self.validation)} labelled source samples"
            return labels, self.validation, note
        held, note = held_out(names, self.validation, self.options.seed)
        kept = [i for i in range(len(names)) if i not in held]
        return Subset(labels, kept), Subset(labels, sorted(held)), note

    def _with_source(self, train: Samples[Taught]) -> Samples[Taught]:
        if self.source is None:
            return train
        wanted = min(len(self.source), round(self.source_ratio * len(train)))
        rng = np.random.default_rng(epoch_seed(self.options.seed, 0, "source"))
        drawn = sorted(rng.choice(len(self.source), wanted, replace=False).tolist())
        return joined(train, Subset(self.source, drawn))

    def _checkpoint(self, predictor: Predictor, names: Names) -> Path | None:
        if self.checkpoints is None:
            return None
        inputs = json.dumps([state_sha256(module_of(predictor)), names, self.describe()])
        return self.checkpoints / f"{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.safetensors"


def _target_names(labels: Samples[PseudoLabelled]) -> Names:
    if len(labels) and not isinstance(labels[0], PseudoLabelled):
        raise LabelledTargetError(
            f"Sample {labels[0].id!r} is a {type(labels[0]).__name__}; retraining is on the "
            "pseudo-labels that a selector made. Labelled source samples are for 'source'."
        )
    return names_of(labels)


def held_out(names: Names, fraction: float, seed: int) -> tuple[set[int], str]:
    """Return the indices to hold out, and how they were chosen.

    Args:
        names: Each sample's id and group.
        fraction: Of the groups, or of the samples where they are of one group, in (0, 1).
        seed: Of the draw.

    Raises:
        InputError: There is but one sample.
    """
    groups = list(dict.fromkeys(group for _, group in names))
    by_group = len(groups) > 1
    units = groups if by_group else [id_ for id_, _ in names]
    if len(units) < 2:  # noqa: PLR2004 - one to learn from, one to validate with
        raise InputError(
            f"{len(names)} pseudo-labelled samples cannot be split; keep more, or give labelled "
            "source samples as 'validation'."
        )
    count = min(len(units) - 1, max(1, round(fraction * len(units))))
    rng = np.random.default_rng(epoch_seed(seed, 0, "held-out"))
    chosen = {units[i] for i in rng.choice(len(units), count, replace=False)}
    held = {i for i, name in enumerate(names) if name[1 if by_group else 0] in chosen}
    what = "groups" if by_group else "samples, by sample since there is one group alone,"
    return held, f"{count} of {len(units)} pseudo-labelled {what} held out"
