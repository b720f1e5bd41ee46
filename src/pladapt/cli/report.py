"""Writing a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pladapt.cli.printing import print_line, show_problems
from pladapt.errors import InputError, MissingDataError
from pladapt.files.folder import Problem
from pladapt.reports.changes import Compared
from pladapt.reports.findings import describe_run
from pladapt.reports.html import write_html
from pladapt.reports.markdown import write_markdown
from pladapt.reports.tables import overlap_evaluators
from pladapt.runs.stages import read_evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.files import Files, TrueFileSamples
    from pladapt.recipes.bundle import Recipe
    from pladapt.runs.adaptation import AdaptationResult
    from pladapt.runs.records import RunRecord
    from pladapt.types import Evaluation, LabelledSample, Sample, Samples
    from pladapt.typing import Predictor


def write_report(
    record: RunRecord,
    folder: Path,
    *,
    compared: Compared | None = None,
    truth: Samples[LabelledSample] | None = None,
    upper: Path | None = None,
    left_out: Sequence[tuple[str, str]] = (),
) -> None:
    """Write ``report.html`` and ``report.md`` into a run's folder; print the verdict first.

    Args:
        record: The run.
        folder: Its folder.
        compared: As for `pladapt.reports.findings.describe_run`.
        truth: As for `pladapt.reports.findings.describe_run`.
        upper: The folder of the evaluation of a model with the target's labels, or None.
        left_out: As for `pladapt.reports.findings.describe_run`.
    """
    title = f"{folder.resolve().name}: before and after"
    document = describe_run(
        record,
        title=title,
        compared=compared,
        truth=truth,
        upper=_upper(record, upper),
        left_out=left_out,
    )
    print_line(document.verdict.removesuffix("."))
    if document.rest:
        print_line(document.rest)
    for write, path in (
        (write_html, folder / "report.html"),
        (write_markdown, folder / "report.md"),
    ):
        write(document, path)
        print_line(f"Report: {path}")


def values_of(record: RunRecord) -> dict[str, Any]:
    """Return what a run did as values that JSON can say."""
    recalibration = record.recalibration
    return {
        "outcome": record.verdict.outcome,
        "reason": record.verdict.reason,
        "before": {name: each.summary.to_pylist() for name, each in record.before.items()},
        "after": {name: each.summary.to_pylist() for name, each in record.after.items()},
        "recalibration": None if recalibration is None else recalibration.evidence.to_pylist(),
        "rounds": [
            {
                "number": each.number,
                "samples": each.selection.counts,
                "stands": each.stands,
                "evidence": [] if each.judgement is None else each.judgement.evidence.to_pylist(),
            }
            for each in record.rounds
        ],
        "left_out": record.left_out.to_pylist(),
    }


def _upper(record: RunRecord, folder: Path | None) -> dict[str, Evaluation]:
    if folder is None:
        return {}
    names = overlap_evaluators(record)
    if not names:
        raise InputError("The run has no evaluation by truth, so there is no gap to be closed.")
    if not (folder / "samples.parquet").is_file():
        raise MissingDataError(f"{folder} holds no evaluation; `pladapt evaluate` writes one.")
    return dict.fromkeys(names, read_evaluation(folder))


def compare_results(
    made: Recipe,
    given: Predictor,
    result: AdaptationResult,
    target: Samples[Sample],
    truth: Samples[LabelledSample] | None,
    *,
    cutoff: float,
) -> Compared:
    """Return what pictures of a run are drawn from.

    Args:
        made: The recipe.
        given: The predictor that went in.
        result: What adaptation returned.
        target: The samples.
        truth: Those with true masks.
        cutoff: The probability above which a pixel is foreground.
    """
    several = made.selector if isinstance(made.selector, Sequence) else [made.selector]
    return Compared(
        target=target,
        before=given,
        after=result.predictor,
        teacher=result.first,
        selector=several[0],
        cutoff=cutoff,
        truth=truth,
        batch_size=made.batch_size,
    )


def write_results(
    result: AdaptationResult,
    folder: Path,
    images: Files,
    problems: Sequence[Problem],
    truth: TrueFileSamples | None,
    *,
    compared: Compared,
) -> None:
    """Write a run's report, and list the images and samples that were left out.

    Args:
        result: What adaptation returned.
        folder: The run folder.
        images: The target's.
        problems: Those that could not be read.
        truth: Those with true masks, as for `write_report`.
        compared: What pictures are drawn from, as for `write_report`.
    """
    samples = [Problem(row["id"], row["reason"]) for row in result.left_out.to_pylist()]
    left_out = [*problems, *samples]
    write_report(result, folder, compared=compared, truth=truth, left_out=left_out)
    show_problems(left_out, folder / "images", images)
