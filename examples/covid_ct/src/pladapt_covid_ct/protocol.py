"""The paper's whole protocol: every source, fold and unseen set, resumable at any point."""

from __future__ import annotations

import json
import traceback
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch

from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.runs.manifest import open_run
from pladapt.runs.records import read_run
from pladapt.runs.stages import read_evaluation
from pladapt.storage import atomic_write
from pladapt_covid_ct.domains import common_classes, load_dataset, load_domains, prepare_domains
from pladapt_covid_ct.experiment import run_round
from pladapt_covid_ct.paper import LETTERS
from pladapt_covid_ct.settings import FOLDS
from pladapt_covid_ct.source import EVALUATOR
from pladapt_covid_ct.workers import in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pladapt import Evaluation
    from pladapt.runs import RunRecord
    from pladapt.types import Progress
    from pladapt_covid_ct.datasets import Dataset
    from pladapt_covid_ct.domains import Domain
    from pladapt_covid_ct.settings import Settings

_FAILURE: Final = "failure.txt"


class Fold(NamedTuple):
    """One training: a source and a fold of its patients."""

    source: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}, fold {self.number}"

    def folder(self, out: Path) -> Path:
        """Return the fold's run folder below the protocol's."""
        return out / self.source / f"fold-{self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class FoldRecord:
    """What a finished fold left in its folder.

    Args:
        fold: Which.
        in_domain: The figures on the source's test patients.
        targets: The evidence of each adaptation, by the target's letter.
        data: What a reader of results must know of each data set, by letter.
    """

    fold: Fold
    in_domain: Evaluation
    targets: Mapping[str, RunRecord]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Protocol:
    """What the protocol found, and what it had to leave out.

    Args:
        out: Its folder.
        settings: Its choices; the fold among them says nothing.
        records: The finished folds.
        failures: Why each other fold did not finish.
        missing: Why each data set was left out, and how it is obtained, by letter.
    """

    out: Path
    settings: Settings
    records: tuple[FoldRecord, ...]
    failures: Mapping[Fold, str]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Job:
    """What whoever runs folds has to know.

    Args:
        data: The folder with the data sets' own folders.
        letters: The data sets that are there.
        settings: The choices; each fold sets its own number.
        out: The protocol's folder.
    """

    data: Path
    letters: tuple[str, ...]
    settings: Settings
    out: Path


def reproduce(
    data: Path,
    *,
    settings: Settings,
    out: Path,
    progress: Progress,
    sources: Sequence[str] = LETTERS,
    folds: Sequence[int] = range(FOLDS),
    jobs: int = 1,
) -> Protocol:
    """Run every fold of every source that is not finished yet, and read all that is.

    A data set that is not there is left out; a fold that fails is noted, and the others go on.

    Args:
        data: The folder with the data sets' own folders.
        settings: The choices; their fold is not used.
        out: The protocol's folder; each fold's run folder lies in ``<source>/fold-<number>``.
        progress: Called as work advances.
        sources: The letters of the data sets to train on, of `LETTERS`. Each one's unseen sets
            are the others of `LETTERS`.
        folds: Which folds.
        jobs: How many folds run at once, each in a process of its own that prepares the data anew.

    Raises:
        InputError: An unknown source, a fold that there is not, or no job.
        MissingDataError: Fewer than two data sets are there, or no source is.
        RunChangedError: ``out`` holds a protocol with other settings.
    """
    _check(sources, folds, jobs)
    datasets, missing = _load(data, settings, progress)
    wanted = [Fold(source, number) for source in sources if source in datasets for number in folds]
    if len(datasets) < 2 or not wanted:  # noqa: PLR2004 - a source and a target
        reasons = " ".join(missing.values())
        raise MissingDataError(f"The protocol needs a source and another data set. {reasons}")
    common_classes(datasets, settings)
    open_run(out, {"settings": asdict(replace(settings, device="any", fold=0))})
    job = _Job(data, tuple(datasets), settings, out)
    if jobs == 1:
        _in_turn(job, wanted, datasets, progress)
    else:
        _side_by_side(job, wanted, jobs, progress)
    return read_protocol(out, wanted, settings=settings, missing=missing)


def _check(sources: Sequence[str], folds: Sequence[int], jobs: int) -> None:
    if not sources or not set(sources) <= set(LETTERS):
        raise InputError(f"The sources are {list(sources)}; give some of {', '.join(LETTERS)}.")
    if not folds or not set(folds) <= set(range(FOLDS)):
        raise InputError(f"The folds are {list(folds)}; give some of 0 to {FOLDS - 1}.")
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1.")


def _load(
    data: Path, settings: Settings, progress: Progress
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the data sets that can be read, and why each other one cannot."""
    datasets, missing = {}, {}
    for letter in LETTERS:
        try:
            datasets[letter] = load_dataset(data, letter, settings, progress)
        except (MissingDataError, DataError) as error:
            missing[letter] = str(error)
    return datasets, missing


def read_protocol(
    out: Path, wanted: Iterable[Fold], *, settings: Settings, missing: Mapping[str, str]
) -> Protocol:
    """Read what folds left in their folders.

    Args:
        out: The protocol's folder.
        wanted: Which folds were to run.
        settings: The choices.
        missing: Why each data set was left out, by letter.
    """
    records, failures = [], {}
    for fold in wanted:
        note = fold.folder(out) / _FAILURE
        if note.exists():
            failures[fold] = note.read_text(encoding="utf-8").partition("\n")[0]
        else:
            records.append(read_fold(fold.folder(out), fold))
    return Protocol(out, settings, tuple(records), failures, missing)


def read_fold(folder: Path, fold: Fold) -> FoldRecord:
    """Read what a finished fold left in its folder.

    Raises:
        MissingDataError: The fold has not finished.
    """
    told = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    targets = [letter for letter in told if letter != fold.source]
    return FoldRecord(
        fold,
        read_evaluation(folder / "source" / "evaluations" / EVALUATOR),
        {letter: read_run(folder / f"{fold.source}-to-{letter}") for letter in targets},
        told,
    )


def _in_turn(
    job: _Job, folds: Sequence[Fold], datasets: Mapping[str, Dataset], progress: Progress
) -> None:
    domains = prepare_domains(datasets, job.settings, progress)
    for done, fold in enumerate(folds):
        progress(f"fold: {fold}", done, len(folds))
        _run_fold(job, fold, domains=domains, progress=progress)
    progress("fold: ", len(folds), len(folds))


def _side_by_side(job: _Job, folds: Sequence[Fold], jobs: int, progress: Progress) -> None:
    ended = in_processes(partial(_worker, job, jobs), folds, jobs)
    for done, (fold, code) in enumerate(ended, start=1):
        if code is not None:
            reason = f"The fold's process ended with exit code {code}; -9 is often lack of memory."
            _note(job, fold, reason)
        progress(f"fold: {fold}", done, len(folds))


def _worker(job: _Job, jobs: int) -> Callable[[Fold], None]:
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    domains = load_domains(job.data, job.letters, job.settings, _silent)
    return partial(_run_fold, job, domains=domains, progress=_silent)


def _silent(_stage: str, _done: int, _total: int, /) -> None:
    """Show nothing."""


def _run_fold(job: _Job, fold: Fold, *, domains: Mapping[str, Domain], progress: Progress) -> None:
    """Run one fold; what goes wrong is noted in its folder."""
    folder = fold.folder(job.out)
    (folder / _FAILURE).unlink(missing_ok=True)
    settings = replace(job.settings, fold=fold.number)
    try:
        run_round(fold.source, domains, settings=settings, out=folder, progress=progress)
    except Exception as error:  # noqa: BLE001 - one fold must not lose the others
        _note(job, fold, f"{type(error).__name__}: {error}", traceback.format_exc())


def _note(job: _Job, fold: Fold, reason: str, details: str = "") -> None:
    with atomic_write(fold.folder(job.out) / _FAILURE) as temporary:
        temporary.write_text(f"{' '.join(reason.split())}\n\n{details}", encoding="utf-8")
