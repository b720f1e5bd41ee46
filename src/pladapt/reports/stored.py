"""A finished run, read back from its folder."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from pladapt.adaptation import Round, RunRecord
from pladapt.errors import DataError, MissingDataError
from pladapt.reports.findings import read_manifest
from pladapt.runs import read_evaluation, read_table
from pladapt.types import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pladapt.types import Evaluation


def read_run(folder: Path) -> RunRecord:
    """Read what a run of `pladapt.adapt` left in its folder.

    Raises:
        MissingDataError: The folder holds no run.
        DataError: The run is not finished, or a file of it is damaged.
    """
    before = _evaluations(folder / "round-0")
    rounds = tuple(_rounds(folder))
    if not rounds:
        raise MissingDataError(
            f"{folder} holds no run: no round-1 with scores and a selection. Give the workdir of "
            "pladapt.adapt; with several runs in a folder, that of one of them."
        )
    asked = read_manifest(folder).get("asked", {}).get("rounds", len(rounds))
    last = rounds[-1]
    if last.selection.kept and (last.number < asked or last.evaluations.keys() != before.keys()):
        raise DataError(
            f"The run in {folder} is not finished: round {last.number} of {asked} is its last, "
            f"evaluated by {list(last.evaluations)} of {list(before)}. Run it again to continue it."
        )
    return RunRecord(before=before, rounds=rounds, workdir=folder)


def _rounds(folder: Path) -> Iterator[Round]:
    for number in count(1):
        path = folder / f"round-{number}"
        if not (path / "selection.parquet").exists():
            return
        yield Round(
            number,
            read_table(path / "scores.parquet"),
            Selection(read_table(path / "selection.parquet")),
            _evaluations(path),
        )


def _evaluations(folder: Path) -> Mapping[str, Evaluation]:
    found = sorted((folder / "evaluations").glob("[!.]*"))
    return {path.name: read_evaluation(path) for path in found}
