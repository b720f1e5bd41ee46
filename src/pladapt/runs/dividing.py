"""The pass that scores and labels a target, divided among several processes or machines.

Each part is a run of its own in ``parts`` of the run folder. The run that is then made as ever
takes the rows of all parts for what an interrupted pass of its own had finished.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any, Final

from pladapt.errors import InputError, MissingDataError
from pladapt.plugins.guard import guarded
from pladapt.runs.manifest import locked_run, note_environments, read_manifest
from pladapt.runs.parts import Parts
from pladapt.runs.scoring import KEYS, Pass
from pladapt.runs.target import check_unchanged
from pladapt.storage import is_stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pladapt.runs.job import Job
    from pladapt.typing import Recalibrator

_PARTS: Final = "parts"
_SCORING: Final = "round-1/scoring"
_SCORES: Final = "round-1/scores.parquet"
_NAME: Final = re.compile(r"(\d+)-of-(\d+)")


def label_part(job: Job, config: Mapping[str, Any], part: tuple[int, int], folder: Path) -> int:
    """Score and label one part of a target for the first round, or go on where that was.

    Args:
        job: What the run works with.
        config: What it depends on.
        part: Which part, from 1, and of how many.
        folder: The run folder.

    Returns:
        How many samples the part has.

    Raises:
        InputError: As for `check_divisible`, or there is no such part.
        RunChangedError: The part was made with other inputs or parameters.
        BusyError: Another process makes the same part.
        DataError: Too many samples cannot be used.
    """
    check_divisible(job.recalibrator)
    if others := _counts(folder) - {part[1]}:
        raise InputError(
            f"{folder} has parts of {min(others)}, and this is one of {part[1]}; give the same "
            f"number for each part, or delete {folder / _PARTS} to begin anew."
        )
    wanted = _places(part, len(job.target), job.batch_size)
    if is_stored(folder / _SCORES):  # all of them were joined
        return len(wanted)
    with locked_run(_folder(folder, part), {**config, "part": list(part)}) as own, guarded():
        parts = Parts(own)
        scoring = Pass(job.given, job.target, job.selector, parts, wanted)
        check_unchanged(job.target.target, parts.tables(KEYS.names), scoring.places())
        scoring.run(job.batch_size, job.progress)
    return len(wanted)


def check_divisible(recalibrator: Recalibrator | None) -> None:
    """Refuse to divide a run that looks at the whole target before it labels.

    Raises:
        InputError: It has a recalibrator.
    """
    if recalibrator is not None:
        raise InputError(
            f"Before anything is labelled, the {type(recalibrator).__name__} looks at all images, "
            "so that no part of them can be labelled alone. Adapt without --part; or by what "
            "labels first, such as --recipe paper."
        )


def _places(part: tuple[int, int], total: int, batch_size: int) -> range:
    """Return the places of a part's samples, whole batches but for the last part's.

    Raises:
        InputError: There is no such part.
    """
    number, count = part
    if not 1 <= number <= count:
        raise InputError(f"The part is {part}; give its number from 1, and how many there are.")
    batches = -(-total // batch_size)
    start, stop = (batch_size * (batches * at // count) for at in (number - 1, number))
    return range(min(start, total), min(stop, total))


def _folder(run: Path, part: tuple[int, int]) -> Path:
    return run / _PARTS / f"{part[0]}-of-{part[1]}"


def join_parts(folder: Path, config: Mapping[str, Any]) -> None:
    """Take what parts have labelled, where there are parts, as what this run has.

    Args:
        folder: The run folder.
        config: What the run depends on.

    Raises:
        MissingDataError: A part is missing or unfinished; says which.
        InputError: There are parts of several divisions.
        RunChangedError: A part was made with other inputs or parameters.
        BusyError: A part is being made.
    """
    counts = _counts(folder)
    if not counts:
        return
    if not is_stored(folder / _SCORES):
        if len(counts) > 1:
            names = " or ".join(f"{folder / _PARTS}/*-of-{count}" for count in sorted(counts))
            raise InputError(
                f"{folder / _PARTS} has parts of {' and of '.join(map(str, sorted(counts)))}; "
                f"delete those that do not count ({names})."
            )
        _join(folder, config, counts.pop())
    shutil.rmtree(folder / _PARTS)


def _counts(folder: Path) -> set[int]:
    """Return of how many the parts are that a run folder has."""
    found = [_NAME.fullmatch(path.name) for path in (folder / _PARTS).glob("*-of-*")]
    return {int(each[2]) for each in found if each is not None}


def _join(folder: Path, config: Mapping[str, Any], count: int) -> None:
    whole = Parts(folder / _SCORING)
    done = max((note["next"] for note in whole.notes()), default=0)
    missing = []
    for number in range(1, count + 1):
        place = _folder(folder, (number, count))
        wanted = _places((number, count), config["target"]["samples"], config["batch_size"])
        if not place.is_dir():
            missing += [number] if wanted else []
            continue
        with locked_run(place, {**config, "part": [number, count]}):
            parts = Parts(place)
            notes = parts.notes()
            if wanted and (not notes or notes[-1]["next"] < wanted.stop):
                missing.append(number)
            elif not missing:
                done = whole.take(parts, done)
                note_environments(folder, read_manifest(place)["environments"])
    if missing:
        raise MissingDataError(
            f"Of {count} parts {', '.join(map(str, missing))} "
            f"{'is' if len(missing) == 1 else 'are'} not finished; give the same with --part "
            f"{missing[0]}/{count}, or delete {folder / _PARTS} to label in one piece."
        )
