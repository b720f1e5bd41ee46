"""Evaluations and judgements in the run folder: stages that are whole or not there."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.batches import batches
from pladapt.data.tolerance import reason_of
from pladapt.errors import InputError
from pladapt.plugins.guard import guarded
from pladapt.predictors.prediction import check_finite, predict
from pladapt.runs.usable import LEFT_OUT_FILE
from pladapt.storage import (
    check_stored,
    is_stored,
    read_json,
    read_table,
    stored_folder,
    to_json,
    write_table,
)
from pladapt.types import EVIDENCE, Evaluation, Judgement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.data.tolerance import Tolerance
    from pladapt.types import Progress, PseudoLabelled, Samples
    from pladapt.typing import Evaluator, Gate, Predictor

R = TypeVar("R")

_LOOKED_AT: Final = 8


def returned(made: object, kind: type[R], part: object, method: str) -> R:
    """Return what a part's method returned, if it is what it must be.

    Raises:
        InputError: It is something else, such as None.
    """
    if not isinstance(made, kind):
        raise InputError(
            f"{type(part).__name__}.{method} returned {made!r}, a {type(made).__name__}; it must "
            f"return what pladapt's {kind.__name__} is."
        )
    return made


def named_evaluators(
    evaluators: Mapping[str, Evaluator] | Sequence[Evaluator],
) -> Mapping[str, Evaluator]:
    """Return evaluators by name; in a sequence they are named after their classes.

    Raises:
        InputError: A name cannot be that of a folder.
    """
    if isinstance(evaluators, Mapping):
        for name in evaluators:
            if not re.fullmatch(r"\w[\w .-]*", name):
                raise InputError(
                    f"An evaluator is named {name!r}; a folder of the run bears its name: use "
                    "letters, digits, blanks, dots, hyphens and underscores."
                )
        return evaluators
    if not isinstance(evaluators, Iterable):
        raise InputError(
            f"The evaluators are a {type(evaluators).__name__}; give a list of them, or a mapping "
            "from names."
        )
    named: dict[str, Evaluator] = {}
    for evaluator in evaluators:
        name = type(evaluator).__name__
        named[name if name not in named else f"{name}-{len(named) + 1}"] = evaluator
    return named


def stored_evaluations(
    evaluators: Mapping[str, Evaluator],
    predictor: Predictor,
    folder: Path,
    tolerance: Tolerance,
    progress: Progress | None = None,
) -> dict[str, Evaluation]:
    """Evaluate a predictor as far as a stage's folder does not have it, and return what it has.

    Args:
        evaluators: By name. One that fails is a warning, and leaves an evaluation that says so in
            its notes; it is tried again when the run continues.
        predictor: What they evaluate.
        folder: The stage's; ``round-0`` before anything is done, when an error of pladapt's own,
            which says what to mend, ends the run.
        tolerance: Whether a failure ends the run.
        progress: Called after each.
    """
    evaluations = {}
    first = folder.name == "round-0"
    for done, (name, evaluator) in enumerate(evaluators.items(), start=1):
        path = folder / "evaluations" / name
        if not is_stored(path) or read_evaluation(path).failure is not None:
            write_evaluation(_evaluated(name, evaluator, predictor, tolerance, first=first), path)
        evaluations[name] = read_evaluation(path)
        if progress is not None:
            progress("evaluate", done, len(evaluators))
    return evaluations


def _evaluated(
    name: str, evaluator: Evaluator, predictor: Predictor, tolerance: Tolerance, *, first: bool
) -> Evaluation:
    try:
        with guarded():
            return returned(evaluator.evaluate(predictor), Evaluation, evaluator, "evaluate")
    except Exception as error:
        if not tolerance.skips(error) or (first and isinstance(error, InputError)):
            raise
        reason = reason_of(error)
        warnings.warn(
            f"The evaluator {name!r} failed, and the run goes on without what it measures: {reason}"
            " Run the same again to have it tried once more.",
            stacklevel=2,
        )
        return Evaluation.failed(reason)


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write an evaluation as ``samples.parquet``, ``summary.parquet`` and ``notes.json``.

    Raises:
        InputError: The folder has something else than an evaluation.
    """
    with stored_folder(folder) as temporary:
        write_table(evaluation.samples, temporary / "samples.parquet")
        write_table(evaluation.summary, temporary / "summary.parquet")
        (temporary / "notes.json").write_text(to_json(dict(evaluation.notes)), encoding="utf-8")


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation that `write_evaluation` wrote.

    Raises:
        MissingDataError: It is not there.
        DataError: It is damaged.
    """
    check_stored(folder)
    return Evaluation(
        read_table(folder / "samples.parquet"),
        read_table(folder / "summary.parquet"),
        read_json(folder / "notes.json"),
    )


def measured(judgement: Judgement, gate: Gate) -> Judgement:
    """Return a gate's judgement; a refusal where it accepts by a measure that is NaN."""
    undefined = judgement.evidence.filter(pc.is_nan(judgement.evidence["after"].cast("float64")))
    if not (judgement.accepted and len(undefined)):
        return judgement
    names = ", ".join(dict.fromkeys(undefined["measure"].to_pylist()))
    reason = f"{type(gate).__name__} measured NaN, which is no evidence that nothing is lost"
    return replace(judgement, accepted=False, reasons=(f"{reason}: {names}",))


def refuse_nan(predictor: Predictor, taught: Samples[PseudoLabelled], folder: Path) -> bool:
    """Store a refusal of what a round made, where it gives NaN for samples that taught it.

    Args:
        predictor: What the round made.
        taught: The samples, of which the first few are looked at, until one is predicted whole.
        folder: The round's.

    Returns:
        Whether it was refused.
    """
    for index in range(min(_LOOKED_AT, len(taught))):
        ((batch, images),) = batches([taught[index]], batch_size=1)
        try:
            prediction = predict(predictor, batch, images)
        except Exception:  # noqa: BLE001 - of any kind: it is said where it is used, after storing
            return False
        try:
            check_finite(prediction)
        except InputError:
            continue
        return False
    reason = "it gives NaN or infinity for the images that it was taught with"
    refused = Judgement(accepted=False, reasons=(reason,), evidence=EVIDENCE.empty_table())
    write_judgement([refused], folder / "judgement")
    return True


def write_judgement(
    judgements: Sequence[Judgement], folder: Path, left_out: pa.Table | None = None
) -> None:
    """Write what several gates said of a round as one judgement: all must accept it.

    It becomes ``evidence.parquet`` and ``judgement.json``, with ``left-out.parquet`` where some
    samples could not be judged.
    """
    reasons = [reason for judgement in judgements for reason in judgement.reasons]
    with stored_folder(folder) as temporary:
        evidence = pa.concat_tables([each.evidence.cast(EVIDENCE) for each in judgements])
        write_table(evidence, temporary / "evidence.parquet")
        if left_out is not None and len(left_out):
            write_table(left_out, temporary / LEFT_OUT_FILE)
        said = {"accepted": not reasons, "reasons": reasons}
        (temporary / "judgement.json").write_text(to_json(said), encoding="utf-8")


def read_judgement(folder: Path) -> Judgement:
    """Read a judgement that `write_judgement` wrote.

    Raises:
        MissingDataError: It is not there.
        DataError: It is damaged.
    """
    check_stored(folder)
    said = read_json(folder / "judgement.json")
    evidence = read_table(folder / "evidence.parquet")
    return Judgement(said["accepted"], tuple(said["reasons"]), evidence)
