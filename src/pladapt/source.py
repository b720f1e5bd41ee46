"""The few numbers about the source that travel with a model, in place of its images."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from array_api_compat import array_namespace

from pladapt.arrays import to_numpy
from pladapt.certainty import certainty_index, hard_labels
from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.inference import batches, predict
from pladapt.intensities import PooledQuantiles, quantiles, region_name, split
from pladapt.runs import written_aside
from pladapt.spectra import half_width, low_frequencies
from pladapt.types import Sample
from pladapt.uncertainty import foreground_entropy, pairwise_dice
from pladapt.views import Mapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from pladapt.certainty import Cutoff
    from pladapt.intensities import Region
    from pladapt.protocols import Predictor
    from pladapt.types import Array, LabelledSample, Prediction, Samples

LEVELS: Final = 1001
"""How many quantiles are kept: one for each thousandth of the pixels, and the least."""

MOST_SHARE: Final = 0.1
"""The lowest frequencies that are kept, as a share of the image's shortest axis."""

_VERSION: Final = 1
_PAIR: Final = 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SourceStatistics:
    """What the source's images, and a model's predictions on them, are like.

    Made by `measure`, from images alone: a mask that a sample has is never read. Arrays are
    numpy's. What concerns predictions is None unless a predictor was given.

    Args:
        quantiles: ``(C, Q)``, the intensities at Q evenly spaced levels from 0 to 1, of the pixels
            of the region pooled over all images; each is one of them
            (`pladapt.intensities.PooledQuantiles`).
        background: ``(C, Q)``, the same of the images' constant backgrounds, one number an image;
            None where no image has one, or the region does not go by it.
        region: What the region is called: ``informative``, None for all pixels, or the name of a
            function.
        amplitude: ``(C, 2 h + 1, ...)``, the mean over all images of the modulus of
            `pladapt.spectra.low_frequencies`, up to ``h`` cycles per image, a tenth of the
            shortest axis; None where the images are of several shapes.
        shape: The images' spatial shape, where ``amplitude`` is given.
        samples: The number of images.
        cutoff: The probability above which a pixel is foreground.
        share: ``(F,)``, in [0, 1]: each foreground class's share of the region's pixels.
        foreground_share: ``(F,)``, in [0, 1]: its share of all pixels.
        certainty: ``(F,)``, the mean certainty index of the samples that show the class; NaN where
            none does.
        certainty_std: ``(F,)``, its standard deviation over these samples.
        entropy: ``(F,)``, in [0, 1]: their mean `pladapt.uncertainty.foreground_entropy`.
        agreement: ``(F,)``, in [0, 1]: the mean `pladapt.uncertainty.pairwise_dice` of all samples;
            None where the predictor shows no members.

    Raises:
        InputError: The quantiles are not ``(C, Q)`` ascending numbers, two or more for a channel.
    """

    quantiles: NDArray[np.float32]
    background: NDArray[np.float32] | None
    region: str | None
    amplitude: NDArray[np.float32] | None
    shape: tuple[int, ...] | None
    samples: int
    cutoff: Cutoff
    share: NDArray[np.float64] | None = None
    foreground_share: NDArray[np.float64] | None = None
    certainty: NDArray[np.float64] | None = None
    certainty_std: NDArray[np.float64] | None = None
    entropy: NDArray[np.float64] | None = None
    agreement: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        given = self.quantiles
        if given.ndim != _PAIR or given.shape[1] < _PAIR or not np.all(np.diff(given) >= 0):
            raise InputError(
                f"The quantiles have shape {given.shape} and must be (C, Q), ascending, with Q at "
                "least 2 and without NaN; make them with SourceStatistics.measure."
            )

    @classmethod
    def measure(
        cls,
        samples: Samples[Sample | LabelledSample],
        predictor: Predictor | None = None,
        *,
        cutoff: Cutoff = 0.5,
        region: Region = "informative",
        levels: int = LEVELS,
        batch_size: int = 8,
    ) -> Self:
        """Measure images, and a predictor on them, in two passes over the samples.

        Memory is bounded, however many samples there are. The numbers on images do not depend on
        the samples' order, nor on the size of the batches.

        Args:
            samples: The source's, prepared as the model expects them. What concerns predictions
                is honest only on samples that the model was not trained on.
            predictor: The model that was trained on the source, or None.
            cutoff: In (0, 1); one for every class, or one per foreground class.
            region: Which pixels' intensities count: ``informative``, all but the image's constant
                background (`pladapt.intensities.background`); None, all; or a function from
                images ``(B, C, *S)`` to bool ``(B, *S)``.
            levels: How many quantiles, at least 2.
            batch_size: How many samples are read and predicted at once.

        Raises:
            InputError: There are no samples, or none has a pixel in the region; an image is not
                finite; images of several numbers of channels; or an option out of its range.
        """
        pooled = RegionQuantiles(region, levels)
        spectrum, predicted = _Spectrum(), _Predicted(cutoff)
        images_alone = Mapped(samples, _without_mask)
        for batch, images in checked(images_alone, batch_size):
            inside = pooled.count(images)
            for image in to_numpy(images):
                spectrum.add(image)
            if predictor is not None:
                predicted.add(predict(predictor, batch, images), inside)
        again = (images for _, images in checked(images_alone, batch_size))
        intensities, background = pooled.refined(again)
        return cls(
            quantiles=intensities,
            background=background,
            region=region_name(region),
            amplitude=spectrum.mean(len(samples)),
            shape=spectrum.shape,
            samples=len(samples),
            cutoff=cutoff if isinstance(cutoff, float | int) else tuple(cutoff),
            **predicted.summary(),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write one compressed file of numpy's format, ``.npz``, without pickle."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        others = {k: v for k, v in values.items() if k not in arrays and v is not None}
        about = np.array(json.dumps({"version": _VERSION, **others}))
        with written_aside(Path(path)) as aside, aside.open("wb") as file:
            np.savez_compressed(file, about=about, **arrays)  # type: ignore[arg-type]  # arrays

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            MissingDataError: There is no such file.
            DataError: It is not whole, not such a file, or of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingDataError(
                f"There is no file {path}; write it with SourceStatistics.measure(...).save(path)."
            )
        try:
            return cls(**_read(path))
        except DataError:
            raise
        except (OSError, EOFError, ValueError, LookupError, TypeError, *_BROKEN) as error:
            raise DataError(
                f"{path} is not a whole file of source statistics ({error!r}); measure and save "
                "them again."
            ) from error


_BROKEN: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, AttributeError)


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    about = json.loads(values.pop("about").item())
    if about.pop("version") != _VERSION:
        raise DataError(
            f"{path} is of another version of source statistics than {_VERSION}, the one that is "
            "read here; measure and save them again."
        )
    about = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    optional = dict.fromkeys(("background", "region", "amplitude", "shape"))
    return optional | values | about


class RegionQuantiles:
    """The pooled quantiles of a region's pixels and of the images' constant backgrounds.

    Args:
        region: Which pixels count.
        levels: How many quantiles.

    Raises:
        InputError: Fewer than two levels.
    """

    def __init__(self, region: Region, levels: int) -> None:
        if levels < _PAIR:
            raise InputError(f"levels is {levels}; at least 2 are needed, the least and the most.")
        self._region, self._levels = region, levels
        self._channels: list[PooledQuantiles] = []
        self._backgrounds: list[NDArray[Any]] = []
        self._pixels = 0

    def count(self, images: Array) -> Array:
        """Take note of images ``(B, C, *S)`` and return which of their pixels are in the region."""
        inside, constants = split(images, self._region)
        self._backgrounds.append(to_numpy(constants))
        self._channels = self._channels or [
            PooledQuantiles(self._levels) for _ in range(images.shape[1])
        ]
        for channel, values in zip(self._channels, _pixels(images, inside), strict=True):
            channel.count(values)
        self._pixels += int(np.count_nonzero(to_numpy(inside)))
        return inside

    def refined(
        self, again: Iterable[Array]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the quantiles of the pixels and of the backgrounds, ``(C, Q)`` each.

        Args:
            again: All the images that `count` saw.

        Raises:
            InputError: No pixel is in the region.
        """
        if not self._pixels:
            raise InputError(
                "No pixel of any image is in the region; give another region, or region=None for "
                "all pixels."
            )
        for images in again:
            inside, _ = split(images, self._region)
            for channel, values in zip(self._channels, _pixels(images, inside), strict=True):
                channel.refine(values)
        return np.stack([channel.result() for channel in self._channels]), self._background()

    def _background(self) -> NDArray[np.float32] | None:
        known = np.concatenate(self._backgrounds).astype(np.float32)
        known = known[~np.isnan(known).any(axis=1)]
        return quantiles(known.T, self._levels) if known.size else None


def _pixels(images: Array, inside: Array) -> Iterator[NDArray[np.float32]]:
    """Yield each channel's values in the region, of all images together."""
    mask, values = to_numpy(inside), to_numpy(images)
    return (values[:, index][mask].astype(np.float32) for index in range(values.shape[1]))


def checked(samples: Samples[Sample], batch_size: int) -> Iterator[tuple[Sequence[Sample], Array]]:
    """Yield samples with their images ``(B, C, *S)``, and refuse what cannot be measured.

    Raises:
        InputError: There are no samples, an image is not finite, or one has another number of
            channels than the first.
    """
    if len(samples) == 0:
        raise InputError("There are no samples to measure; give at least one.")
    channels = samples[0].image.shape[0]
    each = (samples[index] for index in range(len(samples)))
    for batch, images in batches(each, batch_size=batch_size):
        _check(batch, images, channels)
        yield batch, images


def _without_mask(sample: Sample | LabelledSample) -> Sample:
    return Sample(sample.id, sample.group, sample.image)


def _check(batch: Sequence[Sample], images: Array, channels: int) -> None:
    if images.shape[1] != channels:
        raise InputError(
            f"Sample {batch[0].id!r} has {images.shape[1]} channels and the first one {channels}; "
            "give images of one kind."
        )
    finite = array_namespace(images).isfinite(images)
    for index, sample in enumerate(batch):
        if not bool(array_namespace(images).all(finite[index, ...])):
            raise InputError(
                f"The image of sample {sample.id!r} holds NaN or infinite values; repair it, or "
                "leave it out."
            )


class _Spectrum:
    """The mean amplitude of images of one shape."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None
        self._first: tuple[int, ...] | None = None
        self._sum = self._lost = np.zeros(())

    def add(self, image: NDArray[np.floating]) -> None:
        """Take note of an image ``(C, *S)``, alone: a product's rounding may go by the batch."""
        if self._first is None:
            self._first = self.shape = image.shape[1:]
        if image.shape[1:] != self._first:
            self.shape = None
        if self.shape is not None:
            half = half_width(MOST_SHARE, self.shape)
            self._add(np.abs(low_frequencies(image[None].astype(np.float64), half))[0])

    def _add(self, value: NDArray[np.float64]) -> None:
        """Add with what rounding loses (Knuth's two-sum), so that the order does not matter."""
        total = self._sum + value
        kept = total - self._sum
        self._lost = self._lost + ((self._sum - (total - kept)) + (value - kept))
        self._sum = total

    def mean(self, count: int) -> NDArray[np.float32] | None:
        """Return the mean amplitude, or None where the images were of several shapes."""
        if self.shape is None:
            return None
        mean: NDArray[np.float64] = (self._sum + self._lost) / count
        return mean.astype(np.float32)


class _Predicted:
    """What predictions are like, a number for each sample and class."""

    def __init__(self, cutoff: Cutoff) -> None:
        self._cutoff = cutoff
        self._parts: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, prediction: Prediction, inside: Array) -> None:
        """Take note of a batch's prediction, and of where the region is."""
        probabilities = prediction.probabilities
        certainty, count = certainty_index(probabilities, self._cutoff)
        labels = to_numpy(hard_labels(probabilities, self._cutoff))
        found = np.stack([labels == class_ for class_ in range(1, count.shape[1] + 1)], axis=1)
        mask = to_numpy(inside)
        axes = tuple(range(2, found.ndim))
        self._parts["certainty"].append(to_numpy(certainty))
        self._parts["entropy"].append(to_numpy(foreground_entropy(probabilities, self._cutoff)[0]))
        self._parts["pixels"].append(found.sum(axis=axes))
        self._parts["pixels_inside"].append((found & mask[:, None]).sum(axis=axes))
        self._parts["all"].append(np.full(1, mask.size))
        self._parts["all_inside"].append(np.full(1, mask.sum()))
        if prediction.members is not None and len(prediction.members) >= _PAIR:
            self._parts["agreement"].append(
                to_numpy(pairwise_dice(prediction.members, self._cutoff))
            )

    def summary(self) -> Mapping[str, Any]:
        """Return the fields of `SourceStatistics` that these are."""
        if not self._parts:
            return {}
        parts = {name: np.concatenate(values) for name, values in self._parts.items()}
        return {
            "share": parts["pixels_inside"].sum(axis=0) / parts["all_inside"].sum(),
            "foreground_share": parts["pixels"].sum(axis=0) / parts["all"].sum(),
            "certainty": _mean(parts["certainty"]),
            "certainty_std": _std(parts["certainty"]),
            "entropy": _mean(parts["entropy"]),
            "agreement": _mean(parts["agreement"]) if "agreement" in parts else None,
        }


def _mean(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each column's mean without its NaN, the same for every order of the rows."""
    columns = [column[~np.isnan(column)] for column in rows.T]
    return np.array(
        [math.fsum(column) / column.size if column.size else math.nan for column in columns]
    )


def _std(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.sqrt(_mean((rows - _mean(rows)) ** 2))
