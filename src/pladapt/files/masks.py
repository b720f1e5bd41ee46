"""Predicting the images of a folder into a folder of masks, in a way that can be interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from pladapt.data.batches import batches
from pladapt.data.tolerance import MAX_ERRORS, Tolerance
from pladapt.errors import DataError, InputError, OutputError, PladaptError
from pladapt.files.folder import Grouping
from pladapt.files.mask_folder import RUN, MaskFolder, part_of, parts_in, sha256
from pladapt.files.reading import ImageLayout
from pladapt.files.segmentation import check_highdicom
from pladapt.files.spacing import resized
from pladapt.files.streaming import Names, SampleReader, join
from pladapt.files.writing import Values, is_dicom
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import class_cutoffs, hard_labels
from pladapt.plugins.guard import guarded
from pladapt.predictors.prediction import predict_finite
from pladapt.runs.manifest import describe, open_run
from pladapt.storage import locked, sweep, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from pladapt.data.tolerance import OnError
    from pladapt.files.folder import Files, Problem
    from pladapt.files.streaming import ImageMasks
    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Progress, Sample
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
    class_cutoffs(cutoff, len(cutoff) if isinstance(cutoff, Sequence) else 1)
    _check_labels(labels)
    _check_places(files, folder, probabilities)
    layout, grouping = layout or ImageLayout(), grouping or Grouping()
    joined = join(files, layout)
    if any(map(is_dicom, joined.paths.values())):
        check_highdicom()
    described = describe(predictor)
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
        target = MaskFolder(joined, folder, probabilities, layout.dimensions, notes)
        values = _Values(cutoff, labels, classes, sha256(to_json(described).encode()))
        tolerance = Tolerance(on_error, max_errors, time_limit)
        reader = SampleReader(joined, layout, Names(files, grouping), tolerance)
        try:
            _Pass(predictor, reader, target, values).run(batch_size, readers, progress)
        finally:
            target.store()
        problems = reader.problems
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


class _Values(NamedTuple):
    """From probabilities to what masks hold."""

    cutoff: Cutoff
    labels: Sequence[int] | None
    names: Sequence[str]
    model: str

    def classes(self, probabilities: Array) -> NDArray[np.uint8]:
        """Return the classes ``(B, *S)`` of probabilities ``(B, K, *S)``."""
        return to_numpy(hard_labels(probabilities, self.cutoff))

    def of(self, channels: int) -> Values:
        """Return the values for masks of as many channels.

        Raises:
            OutputError: There are more or fewer classes than labels or names.
        """
        count = max(1, channels - 1)
        class_cutoffs(self.cutoff, count)
        for what, given in (("labels", self.labels or ()), ("names of classes", self.names)):
            if given and len(given) != count:
                raise OutputError(
                    f"The model marks {count} classes and there are {len(given)} {what}, "
                    f"{list(given)}; give one for each."
                )
        names = self.names or [f"class {number}" for number in range(1, count + 1)]
        return Values(names, self.labels, self.model)


class _Pass:
    """Predicts what a reader reads, and has it written."""

    def __init__(
        self, predictor: Predictor, reader: SampleReader, target: MaskFolder, values: _Values
    ) -> None:
        self._predictor, self._reader = predictor, reader
        self._target, self._values = target, values

    def run(self, batch_size: int, readers: int, progress: Progress | None) -> None:
        """Predict what has no mask yet."""
        names, total = self._target.lacking(), len(self._target.files.paths)
        notify = partial(progress, "predict") if progress is not None else _ignore
        notify(total - len(names), total)
        done = total - len(names)
        with (
            closing(self._reader.samples(names, readers)) as samples,
            closing(batches(samples, batch_size=batch_size)) as stream,
        ):
            for batch, images in stream:
                self._predict(batch, images)
                done += self._write_whole()
                notify(done + len(self._reader.problems), total)
        notify(total, total)

    def _predict(self, batch: Sequence[Sample], images: Array) -> None:
        """Take the predictions of a batch; one that fails is tried sample by sample."""
        try:
            with guarded(self._reader.tolerance.seconds):
                found = _predicted(self._predictor, batch, images)
            self._values.of(found.shape[1])
        except OutputError:  # of every file
            raise
        except Exception as error:
            if not (isinstance(error, InputError) or self._reader.tolerance.skips(error)):
                raise
            if len(batch) == 1:
                self._take(None, None, error)
                return
            for index, sample in enumerate(batch):
                self._predict((sample,), images[index : index + 1])
        else:
            maps = to_numpy(found).astype(np.float32, copy=False)
            for probabilities, classes in zip(maps, self._values.classes(found), strict=True):
                self._take(probabilities, classes)

    def _take(
        self,
        probabilities: NDArray[np.float32] | None,
        classes: NDArray[np.uint8] | None,
        error: Exception | None = None,
    ) -> None:
        """Give the prediction of the next sample to its image."""
        image = next(each for each in self._reader.waiting if each.seen < each.count)
        image.seen += 1
        image.error = image.error or error
        if probabilities is None or classes is None:
            return
        own = image.shape_of(probabilities.ndim - 1)
        if probabilities.shape[1:] != own:  # of an image that was resampled
            probabilities = resized(probabilities, own)
            classes = self._values.classes(probabilities[None])[0]
        image.channels = len(probabilities)
        image.classes.append(classes)
        if self._target.keeps_maps:
            image.maps.append(probabilities)

    def _write_whole(self) -> int:
        """Write the images whose samples are all there, and return how many these are."""
        written, waiting = 0, self._reader.waiting
        while waiting and waiting[0].seen == waiting[0].count:
            image = waiting.popleft()
            error = image.error or self._written(image)
            if error:
                self._reader.leave_out(image.name, error)
            else:
                written += 1
        return written

    def _written(self, image: ImageMasks) -> Exception | None:
        """Write an image's masks; return why that cannot be done, or None."""
        try:
            self._target.write(image, self._values.of(image.channels))
        except DataError as error:
            return error
        return None


def _predicted(predictor: Predictor, batch: Sequence[Sample], images: Array) -> Array:
    try:
        return predict_finite(predictor, batch, images).probabilities
    except RuntimeError as error:  # a framework's own, which names no image
        if isinstance(error, PladaptError):
            raise
        said = str(error).partition("\n")[0]
        raise DataError(
            f"The model cannot be used on an image of shape {tuple(images.shape[1:])}, channels "
            f"first: {said.rstrip('.')}. If it is the size, have images padded (--prepare "
            "multiple_of=32)."
        ) from error


def _ignore(_done: int, _total: int) -> None:
    """Notify nobody."""
