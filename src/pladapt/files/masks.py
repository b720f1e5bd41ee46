"""Predicting the images of a folder into a folder of masks, in a way that can be interrupted."""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.errors import InputError
from pladapt.files.folder import Grouping, Problem
from pladapt.files.mask_folder import RUN, MaskFolder, part_of, parts_in, sha256
from pladapt.files.masker import MaskTask, MaskValues
from pladapt.files.reading import ImageLayout
from pladapt.files.segmentation import check_highdicom
from pladapt.files.streaming import Names, join
from pladapt.files.writing import is_dicom
from pladapt.functional.certainty import check_cutoffs
from pladapt.runs.engine import LocalEngine
from pladapt.runs.manifest import open_run
from pladapt.storage import locked, sweep, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pladapt.data.tolerance import OnError
    from pladapt.files.folder import Files
    from pladapt.functional.certainty import Cutoff
    from pladapt.runs.engine import Engine
    from pladapt.types import Progress
    from pladapt.typing import Predictor

_LARGEST: Final = np.iinfo(np.uint16).max


def write_masks(
    predictor: Predictor,
    files: Files,
    folder: Path,
    *,
    layout: ImageLayout | None = None,
    grouping: Grouping | None = None,
    cutoff: Cutoff = 0.5,
    labels: Sequence[int] | None = None,
    classes: Sequence[str] = (),
    probabilities: Path | None = None,
    batch_size: int = 8,
    readers: int = 2,
    on_error: OnError = "skip",
    max_errors: float = MAX_ERRORS,
    time_limit: float | None = None,
    part: tuple[int, int] | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> tuple[pa.Table, list[Problem]]:
    """Predict every image into a mask file of its name, size and place.

    NIfTI, MGH, NRRD, MetaImage and TIFF stay what they are, and keep their place; NPY and NPZ
    become NPY, a DICOM file or series a DICOM-SEG, and any other picture a PNG. The slices of a
    volume, the pages of a TIFF and the files of a DICOM series go back into one file.

    A mask is written whole or not at all, and an interrupted call goes on where it was; called
    again it predicts what has changed, what is new, and what could not be used before.

    Args:
        predictor: Predicts.
        files: The images.
        folder: Where the masks go, beside ``run.json``, which says what predicted them, and
            ``masks.parquet``, a row for each: the names of the image and its files, the number of
            samples, the fraction of the pixels that is foreground, and the SHA-256 of the mask.
        layout: How the images are read; by default as slices, as stored.
        grouping: What a file belongs to, for a predictor that has shifts for groups.
        cutoff: The probability above which a pixel is foreground; of several classes the likeliest
            that is above its own.
        labels: The value of each class in the masks, at most 65,535. None: 1 to F, and a bitmap
            for pictures and TIFF of one class.
        classes: The names of the classes, for DICOM-SEG.
        probabilities: Where the probabilities go as well, as NIfTI or NPY; None for nowhere.
        batch_size: How many samples are predicted at once.
        readers: How many files are read at once.
        on_error: Leave out what cannot be used, or raise for the first.
        max_errors: How many files may be left out: a number from 0 as an integer, or a fraction in
            [0, 1] as a float. With more the call ends; the masks written stay.
        time_limit: How many seconds a batch may take; see `pladapt.data.Tolerance`.
        part: Which part of the files is predicted, and of how many: ``(2, 8)``, say. Several
            processes, on several machines, may write parts into one folder. A call without it joins
            them: it predicts what is missing, and writes the table of all masks.
        engine: Where the images are read and predicted; by default in this process. See
            `pladapt.ray.RayEngine`.
        progress: Called as files are finished.

    Returns:
        The table of all masks in the folder, or of the part's, and what was left out.

    Raises:
        InputError: A folder to write to is that of the images, or above or below it, or holds
            something else; or a cut-off is not in (0, 1).
        DataError: Nothing can be used, or more files than ``max_errors`` cannot.
        OutputError: The predictor's network gives something else than it is taken for.
        RunChangedError: The folder has masks of another model or other parameters.
        BusyError: Another process writes there.
        DiskFullError: There is no room; the call continues once there is.
        MissingDependencyError: An extra is not installed.
    """
    check_cutoffs(cutoff)
    _check_labels(labels)
    _check_places(files, folder, probabilities)
    layout, grouping = layout or ImageLayout(), grouping or Grouping()
    joined = join(files, layout)
    if any(map(is_dicom, joined.paths.values())):
        check_highdicom()
    engine = engine or LocalEngine()
    described = engine.describe(predictor)
    config = {
        "predictor": described,
        "layout": asdict(layout),
        "grouping": asdict(grouping),
        "cutoff": cutoff,
        "labels": labels,
        "classes": list(classes),
        "probabilities": probabilities is not None,
    }
    notes = folder
    if part is not None:
        notes, joined = part_of(folder, *part), joined.part(*part)
    with _alone(folder, notes):
        for place in parts_in(folder) if part is None else ():
            open_run(place, config)
        open_run(notes, config)
        target = MaskFolder(joined, folder, probabilities, notes)
        task = MaskTask(
            joined,
            layout,
            Names(files, grouping),
            Tolerance(on_error, max_errors, time_limit),
            MaskValues(cutoff, labels, classes, sha256(to_json(described).encode())),
            probabilities is not None,
            batch_size,
            readers,
        )
        try:
            problems = _predict(task, engine, predictor, target, progress)
        finally:
            target.store()
        return target.finish(problems), problems


@contextmanager
def _alone(folder: Path, notes: Path) -> Iterator[None]:
    """Keep other writers out: of a part from that part, of the whole from all its parts."""
    with ExitStack() as stack:
        for place in [notes] if notes != folder else [folder, *parts_in(folder)]:
            stack.enter_context(locked(place / ".lock"))
        sweep(notes)
        yield


def _check_labels(labels: Sequence[int] | None) -> None:
    if labels is None:
        return
    distinct = {0, *labels}
    if len(distinct) <= len(labels) or not all(0 < label <= _LARGEST for label in labels):
        raise InputError(
            f"The labels are {list(labels)}; expected different values of 1 to {_LARGEST}, one a "
            "class."
        )


def _check_places(files: Files, folder: Path, probabilities: Path | None) -> None:
    """Refuse to write where images are, or where later calls would take masks for images."""
    images = files.root.resolve()
    for place in [folder] if probabilities is None else [folder, probabilities]:
        written = place.resolve()
        inside = images.is_dir() and written.is_relative_to(images)
        if inside or images.is_relative_to(written):
            raise InputError(
                f"The images are in {files.root} and the output is {place}; give a folder apart, "
                "or masks and images would be mistaken for each other."
            )
    if probabilities is not None and (
        probabilities.resolve().is_relative_to(folder.resolve())
        or folder.resolve().is_relative_to(probabilities.resolve())
    ):
        raise InputError(
            f"The masks go to {folder} and the probabilities to {probabilities}; give folders "
            "apart."
        )
    if folder.is_dir():
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
        foreign = bool(shown) and not ((folder / RUN).is_file() or parts_in(folder))
    else:
        foreign = folder.exists()
    if foreign:
        raise InputError(f"{folder} is there and holds something else; give another folder.")


def _predict(
    task: MaskTask,
    engine: Engine,
    predictor: Predictor,
    target: MaskFolder,
    progress: Progress | None,
) -> list[Problem]:
    """Have what has no mask yet predicted, and write it; return what was left out, by name."""
    notify = partial(progress, "predict") if progress is not None else _ignore
    names, total = target.lacking(), len(target.files.paths)
    done, leaving_out = total - len(names), task.leaving_out()
    notify(done, total)
    work = engine.map(task.masker, predictor, names, multiple_of=task.batch_size)
    with closing(work) as each:
        for masked in each:
            for image in masked.images:
                target.write(image)
            leaving_out.take(masked.left_out)
            done += len(masked.images) + len(masked.left_out)
            notify(done, total)
    notify(total, total)
    return sorted(Problem(found.id, found.reason) for found in leaving_out.found)


def _ignore(_done: int, _total: int) -> None:
    """Notify nobody."""
