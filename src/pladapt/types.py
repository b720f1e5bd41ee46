"""Frozen values that travel between the parts.

Shapes are written with ``B`` the batch, ``C`` an image's channels, ``K`` a prediction's channels,
``M`` the members of an averaged prediction and ``*S`` the spatial axes, two or three of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

import pyarrow as pa
from array_api_compat import array_namespace

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array: TypeAlias = Any
"""An array of any library that follows the array API standard: numpy, torch, CuPy, JAX."""

IGNORE: Final = 255
"""The value of a pseudo-label's pixel that retraining must ignore."""

SELECTION: Final = pa.schema(
    [("id", pa.string()), ("score", pa.float64()), ("rank", pa.int64()), ("rule", pa.string())]
)
"""The columns of a `Selection`'s table."""

EVIDENCE: Final = pa.schema(
    [
        ("measure", pa.string()),
        ("class", pa.int64()),
        ("reference", pa.float64()),
        ("before", pa.float64()),
        ("after", pa.float64()),
        ("limit", pa.string()),
        ("passed", pa.bool_()),
    ]
)
"""The columns of a `Judgement`'s evidence."""

T_co = TypeVar("T_co", covariant=True)


class Samples(Protocol[T_co]):
    """**Protocol:** samples in a fixed order: a list, a torch ``Dataset``, or a lazy view."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...


class Progress(Protocol):
    """**Protocol:** called as work advances; draws a bar, writes a log, or does nothing."""

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note that ``done`` of ``total`` steps of ``stage`` are finished."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image without a mask: the only kind of sample that adaptation accepts.

    Args:
        id: Names the sample; unique in its data set.
        group: What the sample belongs to, usually the patient. Splits, statistics and
            bootstraps go by group.
        image: ``(C, *S)``, floating point, as the predictor expects it.
    """

    id: str
    group: str
    image: Array


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """An image with its true mask: for training on the source, calibrating and evaluating.

    Not a subclass of `Sample`, so that a mask cannot enter adaptation unnoticed.

    Args:
        id: Names the sample; unique in its data set.
        group: What the sample belongs to, usually the patient.
        image: ``(C, *S)``, floating point, as the predictor expects it.
        mask: ``(*S)``, integer: 0 the background, then one value per class.

    Raises:
        InputError: The mask's shape is not the image's spatial shape.
    """

    id: str
    group: str
    image: Array
    mask: Array

    def __post_init__(self) -> None:
        if tuple(self.image.shape[1:]) != tuple(self.mask.shape):
            raise InputError(
                f"Sample {self.id!r} has an image of shape {tuple(self.image.shape)} and a mask of "
                f"shape {tuple(self.mask.shape)}; the mask must have the image's shape without "
                "its first axis, the channels."
            )

    def unlabelled(self) -> Sample:
        """Return the sample without its mask."""
        return Sample(self.id, self.group, self.image)


@dataclass(frozen=True, slots=True, eq=False)
class PseudoLabelled:
    """A kept target sample with the label its own prediction gave it.

    Args:
        id: The sample's name.
        group: The sample's group.
        image: ``(C, *S)``, floating point.
        label: ``(*S)`` uint8: 0 the background, then one value per class; `IGNORE` where the
            pixel must not teach.
        score: The selector's score of the sample; higher is surer.
        probabilities: ``(K, *S)``, floating point in [0, 1], as in a `Prediction`: what is to be
            learnt in place of ``label`` (a soft label), or None. Where ``label`` is `IGNORE` the
            pixel must not teach either.
        weight: ``(*S)``, floating point in [0, 1], how much each pixel counts; None for all alike.
    """

    id: str
    group: str
    image: Array
    label: Array
    score: float
    probabilities: Array | None = None
    weight: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images that are predicted at once, and whose they are.

    Args:
        ids: The ``B`` samples' names, in order.
        groups: Their groups.
        images: ``(B, C, *S)``, floating point.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    images: Array

    @classmethod
    def unnamed(cls, images: Array) -> Self:
        """Return a batch of images of which nothing else is known."""
        count = images.shape[0]
        return cls(tuple(map(str, range(count))), ("",) * count, images)

    def with_images(self, images: Array) -> Self:
        """Return the same samples with other images."""
        return replace(self, images=images)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A predictor's probabilities for a batch of samples.

    Args:
        ids: The ``B`` samples' names, in order.
        probabilities: ``(B, K, *S)``, floating point in [0, 1]. One channel: the foreground's.
            Two or more: a softmax, channel 0 the background.
        members: ``(M, B, K, *S)``, the predictions that ``probabilities`` averages
            (augmentations, checkpoints, an ensemble), or None.

    Raises:
        InputError: The shapes do not agree.
    """

    ids: tuple[str, ...]
    probabilities: Array
    members: Array | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.probabilities.shape)
        if len(shape) not in (4, 5) or shape[0] != len(self.ids):
            raise InputError(
                f"Probabilities have shape {shape} for {len(self.ids)} samples; expected "
                f"({len(self.ids)}, channel, *spatial) with two or three spatial axes."
            )
        if self.members is not None and tuple(self.members.shape[1:]) != shape:
            raise InputError(
                f"Members have shape {tuple(self.members.shape)}; expected (member, *{shape})."
            )

    @property
    def views(self) -> Array:
        """The members ``(M, B, K, *S)``; without any, the probabilities as the only one."""
        if self.members is not None:
            return self.members
        return array_namespace(self.probabilities).expand_dims(self.probabilities, axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class SoftLabels:
    """Pseudo-labels of a batch that say more of a pixel than its class.

    Probabilities and weights are stored in steps of 1/255.

    Args:
        label: ``(B, *S)`` uint8, `IGNORE` where the pixel must not teach.
        probabilities: ``(B, K, *S)``, floating point in [0, 1], learnt in place of the label where
            that is not `IGNORE`; or None.
        weight: ``(B, *S)``, floating point in [0, 1], how much each pixel counts; None for all
            alike.
    """

    label: Array
    probabilities: Array | None = None
    weight: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which samples were kept, in order of rank, and which rule dropped each other one.

    Args:
        table: One row per scored sample, in the order of the scores: ``id`` (string), ``score``
            (double, by which it was chosen or dropped; null where it has none), ``rank`` (int64,
            from 1 for the surest; null for a dropped sample) and ``rule`` (string, null for a
            kept sample).

    Raises:
        InputError: Other columns.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        if self.table.column_names != SELECTION.names:
            raise InputError(
                f"A selection's table has the columns {self.table.column_names}; expected "
                f"{SELECTION.names}."
            )

    @property
    def kept(self) -> tuple[str, ...]:
        """The kept samples' ids, the surest first."""
        import pyarrow.compute as pc  # noqa: PLC0415 - loaded when first needed

        kept = self.table.filter(pc.is_valid(self.table["rank"])).sort_by("rank")
        return tuple(kept["id"].to_pylist())

    @property
    def dropped(self) -> dict[str, str]:
        """The rule that dropped each sample that was not kept, by id."""
        rows = zip(self.table["id"].to_pylist(), self.table["rule"].to_pylist(), strict=True)
        return {id_: rule for id_, rule in rows if rule is not None}

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each rule dropped; ``kept`` counts those that none did."""
        counted = self.table["rule"].value_counts().to_pylist()
        counts = {row["values"] or "kept": row["counts"] for row in counted}
        return {"kept": 0} | counts


SUMMARY: Final = pa.schema(
    [
        ("aggregation", pa.string()),
        ("class", pa.int64()),
        ("metric", pa.string()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("count", pa.int64()),
    ]
)
"""The columns of an evaluation's summary."""

_FAILURE: Final = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What an evaluator measured.

    Args:
        samples: One row per sample (and class): at least ``id`` and ``group``, then the counts
            and metrics.
        summary: One row per aggregation, class and metric: ``aggregation`` (``sample``,
            ``group`` or ``pooled``), ``class`` (int64), ``metric`` (string), ``mean`` and ``std``
            (double; the std is null for ``pooled``) and ``count`` (int64, how many values the
            mean is of).
        notes: What a reader must know to compare the numbers, such as the value of the Dice
            coefficient where truth and prediction are both empty.
    """

    samples: pa.Table
    summary: pa.Table
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def failed(cls, reason: str) -> Evaluation:
        """Return what stands for an evaluation whose evaluator failed: no row, and the reason."""
        keys = {"id": pa.string(), "group": pa.string(), "class": pa.int64()}
        return cls(pa.schema(keys.items()).empty_table(), SUMMARY.empty_table(), {_FAILURE: reason})

    @property
    def failure(self) -> str | None:
        """Why there is nothing, where the evaluator failed; else None."""
        return self.notes.get(_FAILURE) if not len(self.samples) else None

    def value(self, metric: str, *, aggregation: str = "pooled", class_: int = 1) -> float:
        """Return the mean of a metric.

        Raises:
            InputError: The summary has no such row.
        """
        rows: Sequence[Mapping[str, Any]] = self.summary.to_pylist()
        for row in rows:
            if (row["aggregation"], row["class"], row["metric"]) == (aggregation, class_, metric):
                return float(row["mean"])
        known = sorted({(row["aggregation"], row["class"], row["metric"]) for row in rows})
        raise InputError(
            f"There is no {metric!r} of class {class_} aggregated by {aggregation!r}; the "
            f"evaluation has {known}."
        )


Outcome: TypeAlias = Literal["adapted", "unchanged", "unfit"]
"""How an adaptation may end; see `Verdict`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model was adapted, and why, or why not.

    Args:
        outcome: ``adapted``; ``unchanged``, where no change is surely better, so that the model
            stays as it was; or ``unfit``, where the images look like nothing the model knows, so
            that nothing can be said of it there: label a few.
        reason: In a sentence.
    """

    outcome: Outcome
    reason: str

    def __str__(self) -> str:
        """Return it in words: ``left as it was: REASON``, say."""
        return f"{_WORDS[self.outcome]}: {self.reason}"


_WORDS: Final[Mapping[Outcome, str]] = {
    "adapted": "adapted",
    "unchanged": "left as it was",
    "unfit": "not fit for these images",
}


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Whether a round may stand, and by what evidence.

    Args:
        accepted: Whether it may.
        reasons: Why it may not; none where it may.
        evidence: A row per measure (and class): ``measure``, ``class`` (null for all together),
            ``reference`` (the source's value; null where it is not known), ``before`` and
            ``after`` (null where undefined), ``limit`` (what is allowed, in words and numbers)
            and ``passed``.

    Raises:
        InputError: A refusal without a reason, an acceptance with one, other columns, or
            ``accepted`` is neither true nor false.
    """

    accepted: bool
    reasons: tuple[str, ...]
    evidence: pa.Table

    def __post_init__(self) -> None:
        if self.accepted not in (True, False):
            raise InputError(f"A judgement says accepted={self.accepted}; give True or False.")
        if self.accepted == bool(self.reasons):
            raise InputError(
                f"A judgement says accepted={self.accepted} with the reasons {self.reasons}; give "
                "reasons for a refusal, and for nothing else."
            )
        if self.evidence.column_names != EVIDENCE.names:
            raise InputError(
                f"A judgement's evidence has the columns {self.evidence.column_names}; expected "
                f"{EVIDENCE.names}."
            )
