"""Writing a run's report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pladapt.cli.printing import print_line, show_problems
from pladapt.errors import InputError, MissingDataError
from pladapt.files.folder import Problem
from pladapt.reports.findings import describe_run
from pladapt.reports.html import write_html
from pladapt.reports.markdown import write_markdown
from pladapt.reports.tables import overlap_evaluators
from pladapt.runs.stages import read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.files import Files, TrueFileSamples
    from pladapt.runs.adaptation import AdaptationResult
    from pladapt.runs.records import RunRecord
    from pladapt.types import Evaluation, LabelledSample, Samples


def write_report(
    record: RunRecord,
    folder: Path,
    *,
    truth: Samples[LabelledSample] | None = None,
    upper: Path | None = None,
    left_out: Sequence[tuple[str, str]] = (),
) -> None:
    """Write ``report.html`` and ``report.md`` into a run's folder; print the verdict first.

    Args:
        record: The run.
        folder: Its folder.
        truth: As for `pladapt.reports.findings.describe_run`.
        upper: The folder of the evaluation of a model with the target's labels, or None.
        left_out: As for `pladapt.reports.findings.describe_run`.
    """
    title = f"{folder.resolve().name}: before and after"
    document = describe_run(
        record, title=title, truth=truth, upper=_upper(record, upper), left_out=left_out
    )
    verdict = f"Verdict: {record.verdict}"
    print_line(verdict)
    if more := document.lead.removeprefix(f"{verdict}.").strip():
        print_line(more)
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


def write_results(
    result: AdaptationResult,
    folder: Path,
    images: Files,
    problems: Sequence[Problem],
    truth: TrueFileSamples | None,
) -> None:
    """Write a run's report, and list the images and samples that were left out.

    Args:
        result: What adaptation returned.
        folder: The run folder.
        images: The target's.
        problems: Those that could not be read.
        truth: Those with true masks, as for `write_report`.
    """
    samples = [Problem(row["id"], row["reason"]) for row in result.left_out.to_pylist()]
    left_out = [*problems, *samples]
    write_report(result, folder, truth=truth, left_out=left_out)
    show_problems(left_out, folder / "images", images)
