"""Predicting the masks of images, wherever that is done."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pladapt.data.batches import batches
from pladapt.data.tolerance import LeavingOut
from pladapt.errors import DataError, InputError, OutputError, PladaptError
from pladapt.files.mask_folder import encoded_image
from pladapt.files.spacing import resized
from pladapt.files.streaming import SampleReader
from pladapt.files.writing import Values
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import class_cutoffs, hard_labels
from pladapt.plugins.guard import guarded
from pladapt.predictors.prediction import predict_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.data.tolerance import LeftOut, Tolerance
    from pladapt.files.folder import Files
    from pladapt.files.mask_folder import EncodedImage
    from pladapt.files.reading import ImageLayout
    from pladapt.files.streaming import ImageMasks, Names
    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, Sample
    from pladapt.typing import Predictor


class MaskValues(NamedTuple):
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


class Masked(NamedTuple):
    """What was made of consecutive images.

    Args:
        images: Their masks.
        left_out: Those that have none.
    """

    images: list[EncodedImage]
    left_out: list[LeftOut]


@dataclass(frozen=True)
class MaskTask:
    """What is predicted, and how.

    Args:
        files: The images.
        layout: How they are read.
        names: Names samples and groups.
        tolerance: How many files may be left out.
        values: From probabilities to what masks hold.
        keeps_maps: Whether probabilities are written as well.
        batch_size: How many samples are predicted at once.
        readers: How many files are read at once.
    """

    files: Files
    layout: ImageLayout
    names: Names
    tolerance: Tolerance
    values: MaskValues
    keeps_maps: bool
    batch_size: int
    readers: int

    def leaving_out(self) -> LeavingOut:
        """Return what leaves out files."""
        return LeavingOut(self.tolerance, len(self.files.paths), what="files")

    def masker(self, predictor: Predictor) -> Callable[[Sequence[str]], Generator[Masked]]:
        """Return what predicts images, by their names."""
        reader = SampleReader(self.files, self.layout, self.names, self.leaving_out())
        return _Masker(self, predictor, reader).masks


class _Masker:
    """Predicts what a reader reads."""

    def __init__(self, task: MaskTask, predictor: Predictor, reader: SampleReader) -> None:
        self._task, self._predictor, self._reader = task, predictor, reader
        self._values = task.values

    def masks(self, names: Sequence[str]) -> Generator[Masked]:
        """Yield the masks of images as they are finished."""
        with (
            closing(self._reader.samples(names, self._task.readers)) as samples,
            closing(batches(samples, batch_size=self._task.batch_size)) as stream,
        ):
            for batch, images in stream:
                self._predict(batch, images)
                yield from self._whole()
        yield Masked([], self._reader.left_out())

    def _predict(self, batch: Sequence[Sample], images: Array) -> None:
        """Take the predictions of a batch; one that fails is tried sample by sample."""
        try:
            with guarded(self._task.tolerance.seconds):
                found = _predicted(self._predictor, batch, images)
            self._values.of(found.shape[1])
        except OutputError:  # of every file
            raise
        except Exception as error:
            if not (isinstance(error, InputError) or self._task.tolerance.skips(error)):
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
        if self._task.keeps_maps:
            image.maps.append(probabilities)

    def _whole(self) -> Iterator[Masked]:
        """Yield the images whose samples are all there, and what was left out."""
        waiting = self._reader.waiting
        while waiting and waiting[0].seen == waiting[0].count:
            image = waiting.popleft()
            encoded = image.error or self._encoded(image)
            if isinstance(encoded, Exception):
                self._reader.leave_out(image.name, encoded)
            else:
                yield Masked([encoded], self._reader.left_out())

    def _encoded(self, image: ImageMasks) -> EncodedImage | Exception:
        """Return an image's masks as they are written, or why there can be none."""
        task = self._task
        dimensions = task.layout.dimensions if task.keeps_maps else None
        try:
            values = self._values.of(image.channels)
            return encoded_image(image, task.files, values, dimensions)
        except DataError as error:
            return error


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
