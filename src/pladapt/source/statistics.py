"""The few numbers about the source that travel with a model, in place of its images."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from pladapt.data.views import Mapped
from pladapt.errors import DataError, InputError, MissingDataError
from pladapt.functional.certainty import check_cutoffs
from pladapt.functional.intensities import region_name
from pladapt.predictors.agreement import Views, measure_agreement
from pladapt.predictors.prediction import predict
from pladapt.source.estimation import DscCalibration
from pladapt.source.features import FeatureCounter, ImageFeatures
from pladapt.source.measuring import PredictionStatistics, RegionQuantiles, checked
from pladapt.storage import atomic_write
from pladapt.types import Sample

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.functional.intensities import Region
    from pladapt.types import LabelledSample, Samples
    from pladapt.typing import Predictor

LEVELS: Final = 1001
"""How many quantiles are kept: one for each thousandth of the pixels, and the least."""

_VERSION: Final = 4
_READ: Final = (2, 3, _VERSION)
"""The versions that are read; 2 is without the estimate of a DSC, and both without features."""

_PAIR: Final = 2
_MAX_BYTES: Final = 2**30
_BROKEN: Final = (  # what numpy raises for files that are not whole, or not its own
    *(AttributeError, EOFError, LookupError, NotImplementedError, OSError, TypeError, ValueError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SourceStatistics:
    """What the source's images, and a model's predictions on them, are like.

    Made by `measure`, from images alone: a mask that a sample has is never read there. Arrays are
    numpy's. What concerns predictions is None unless a predictor was given.

    Args:
        quantiles: ``(C, Q)``, the intensities at Q evenly spaced levels from 0 to 1, of the pixels
            of the region pooled over all images; each is one of them
            (`pladapt.functional.intensities.PooledQuantiles`).
        background: ``(C, Q)``, the same of the images' constant backgrounds, one number an image;
            None where no image has one, or the region does not go by it.
        region: What the region is called: ``informative``, None for all pixels, or the name of a
            function.
        samples: The number of images.
        features: What a few numbers about each image are in the mean, and how the images vary in
            them; None where every image is constant, or the file is of an older version.
        cutoff: The probability above which a pixel is foreground.
        fraction: ``(F,)``, in [0, 1]: each foreground class's fraction of the region's pixels.
        foreground_fraction: ``(F,)``, in [0, 1]: its fraction of all pixels.
        certainty: ``(F,)``, the mean certainty index of the samples that show the class; NaN where
            none does.
        certainty_std: ``(F,)``, its standard deviation over these samples.
        entropy: ``(F,)``, in [0, 1]: their mean
            `pladapt.functional.uncertainty.foreground_entropy`.
        agreement: How far the predictor agrees with itself on other views of the images, in
            [0, 1]; see `pladapt.predictors.measure_agreement`.
        axes: The spatial axes along which the images were mirrored for that.
        scales: At which they were scaled.
        estimation: How a DSC is estimated without labels; None unless it was measured on labelled
            samples (`pladapt.source.calibrate_estimate`).

    Raises:
        InputError: The quantiles are not ``(C, Q)`` ascending numbers, two or more for a channel.
    """

    quantiles: NDArray[np.float32]
    background: NDArray[np.float32] | None
    region: str | None
    samples: int
    cutoff: Cutoff
    fraction: NDArray[np.float64] | None = None
    foreground_fraction: NDArray[np.float64] | None = None
    certainty: NDArray[np.float64] | None = None
    certainty_std: NDArray[np.float64] | None = None
    entropy: NDArray[np.float64] | None = None
    agreement: float | None = None
    axes: tuple[int, ...] = Views.axes
    scales: tuple[float, ...] = Views.scales
    estimation: DscCalibration | None = None
    features: ImageFeatures | None = None

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
        views: Views | None = None,
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
                background (`pladapt.functional.intensities.background`); None, all; or a function
                from images ``(B, C, *S)`` to bool ``(B, *S)``.
            views: On which the predictor is compared with itself; give the mirror axes that are
                natural for these images.
            levels: How many quantiles, at least 2.
            batch_size: How many samples are read and predicted at once.

        Raises:
            InputError: There are no samples, or none has a pixel in the region; an image is not
                finite; images of several numbers of channels; or an option out of its range.
        """
        check_cutoffs(cutoff)
        pooled = RegionQuantiles(region, levels)
        predicted, features = PredictionStatistics(cutoff), FeatureCounter()
        images_alone = Mapped(samples, _without_mask)
        for batch, images in checked(images_alone, batch_size):
            inside = pooled.count(images)
            features.add(batch, images, inside)
            if predictor is not None:
                predicted.add(predict(predictor, batch, images), inside)
        again = (images for _, images in checked(images_alone, batch_size))
        intensities, background = pooled.refined(again)
        views, agreement = views or Views(), None
        if predictor is not None:
            agreement = measure_agreement(
                predictor, images_alone, cutoff=cutoff, views=views, batch_size=batch_size
            ).pooled
        return cls(
            quantiles=intensities,
            background=background,
            region=region_name(region),
            samples=len(samples),
            cutoff=cutoff if isinstance(cutoff, float | int) else tuple(cutoff),
            agreement=agreement,
            axes=views.axes,
            scales=views.scales,
            features=features.result(),
            **predicted.summary(),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write one compressed file of numpy's format, ``.npz``, without pickle."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        features = values.pop("features")
        arrays = {k: v for k, v in values.items() if isinstance(v, np.ndarray)}
        others = {k: v for k, v in values.items() if k not in arrays and v is not None}
        if self.estimation is not None:
            others["estimation"] = self.estimation.as_dict()
        if features is not None:
            arrays |= {
                f"features_{name}": np.asarray(each) for name, each in vars(features).items()
            }
        about = np.array(json.dumps({"version": _VERSION, **others}))
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
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
                f"There is no file {path}; write it with `pladapt source`, or in Python with "
                "SourceStatistics.measure(...).save(path)."
            )
        try:
            return cls(**_read(path))
        except DataError:
            raise
        except _BROKEN as error:
            raise DataError(
                f"{path} is not a whole file of source statistics ({error!r}); measure and save "
                "them again."
            ) from error


def _read(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _MAX_BYTES:  # a small archive can be made to fill the memory
        raise DataError(
            f"{path} would take {size:,} bytes of memory; statistics take at most {_MAX_BYTES:,}. "
            "Measure and save them again."
        )
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    about = json.loads(values.pop("about").item())
    if (version := about.pop("version")) not in _READ:
        raise DataError(
            f"{path} is of another version of source statistics, {version}, than those that are "
            f"read here, {' and '.join(map(str, _READ))}; measure and save them again."
        )
    about = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    if "estimation" in about:
        about["estimation"] = DscCalibration.from_dict(about["estimation"])
    if "features_mean" in values:
        named = (values.pop(f"features_{field.name}") for field in fields(ImageFeatures))
        mean, covariance, groups = named
        values["features"] = ImageFeatures(mean, covariance, int(groups))
    optional = dict.fromkeys(("background", "region"))
    return optional | values | about


def _without_mask(sample: Sample | LabelledSample) -> Sample:
    return Sample(sample.id, sample.group, sample.image)
