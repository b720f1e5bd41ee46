"""From CT slices to what a network is given: resized, masked to the lung and normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from PIL import Image

from pladapt.errors import InputError
from pladapt.runs.manifest import fingerprint
from pladapt.types import LabelledSample, Sample
from pladapt_covid_ct.lungs import Lungs, find_lung
from pladapt_covid_ct.slices import Intensity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.types import Progress
    from pladapt_covid_ct.slices import Pixels, Slice, Slices

Order: TypeAlias = Literal["mask-then-normalise", "normalise-then-mask"]
Statistics: TypeAlias = Literal["slice", "lung"]
Lesions: TypeAlias = Literal["binary", "classes"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic", "nearest"]

_RESAMPLING: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


_LEAST_CONTRAST: Final = 1e-6  # of the mean: what rounding leaves of a flat image's deviation


class Prepared(NamedTuple):
    """A slice as a network is given it.

    Args:
        image: ``(1, size, size)`` float32.
        mask: ``(size, size)`` uint8, or None where the data have no lesion masks.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a slice becomes a network's input. Each choice the paper leaves open has a name.

    The slice is resized, Hounsfield units are clipped to a window and counted from its lower
    end, so that 0 is air on every scale; then non-lung is set to 0 and the slice is normalised.

    Args:
        size: The width and height given to the network, in pixels. The paper's is 512.
        window: The range of Hounsfield units that is kept; None to take them as they are. Other
            scales are not touched. Metal and contrast reach 8000 HU and would rule the mean and
            the standard deviation.
        order: The paper names masking and normalising without their order. Masked first, non-lung
            is the darkest value, as in the authors' earlier code; normalised first, it is the
            slice's mean, which in the chest is the intensity of ground glass.
        statistics: Whether mean and standard deviation are of the whole slice, as the paper
            says, or of the lung. A slice without contrast there becomes all 0.
        lesions: One foreground, as in the paper, or the data's lesion classes.
        lungs: Where lung masks come from.
        interpolation: How images are resized; when shrinking, over all the pixels that a new one
            covers (except ``nearest``). Masks take the nearest pixel. The paper does not say.

    Raises:
        InputError: A value is not one of those listed.
    """

    size: int = 512
    window: tuple[float, float] | None = (-1024.0, 600.0)
    order: Order = "mask-then-normalise"
    statistics: Statistics = "slice"
    lesions: Lesions = "binary"
    lungs: Lungs = "files-or-threshold"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"size is {self.size}; it must be at least 1 pixel.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise InputError(f"window is {self.window}; its lower end must come first.")
        for name, kind in (
            ("order", Order),
            ("statistics", Statistics),
            ("lesions", Lesions),
            ("lungs", Lungs),
            ("interpolation", Interpolation),
        ):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be one of {known}.")

    def __call__(self, slice_: Slice) -> Prepared:
        """Prepare one slice.

        Raises:
            DataError: The lung cannot be found as asked for.
        """
        lung = self._lung(slice_)
        image = self._resize(slice_.image)
        if self.window is not None and slice_.intensity is Intensity.HU:
            image = image.clip(*self.window) - np.float32(self.window[0])
        return Prepared(self._normalise(image, lung)[np.newaxis], self._lesion(slice_))

    def _lung(self, slice_: Slice) -> NDArray[np.bool_]:
        lung = find_lung(slice_, self.lungs)
        if lung is None:
            return np.ones((self.size, self.size), np.bool_)
        return _resize_mask(lung.view(np.uint8), self.size).view(np.bool_)

    def _lesion(self, slice_: Slice) -> NDArray[np.uint8] | None:
        if slice_.lesion is None:
            return None
        mask = _resize_mask(slice_.lesion, self.size)
        return mask if self.lesions == "classes" else (mask > 0).view(np.uint8)

    def _resize(self, image: Pixels) -> NDArray[np.float32]:
        picture = Image.fromarray(image.astype(np.float32))
        resized = picture.resize((self.size, self.size), _RESAMPLING[self.interpolation])
        return np.array(resized, np.float32)

    def _normalise(
        self, image: NDArray[np.float32], lung: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        if self.order == "mask-then-normalise":
            image = image * lung
        counted = image[lung] if self.statistics == "lung" else image
        mean, std = _mean_and_std(counted)
        if std <= _LEAST_CONTRAST * abs(mean):
            return np.zeros_like(image)
        normal = (image - np.float32(mean)) / np.float32(std)
        return normal * lung if self.order == "normalise-then-mask" else normal


def _mean_and_std(values: NDArray[np.float32]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 0.0
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    resized = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
    return np.array(resized, np.uint8)


class PreparedSlices:
    """Slices prepared when they are asked for.

    Args:
        slices: What to prepare.
        preprocessing: How.
        cache: Keep what was prepared in memory: ``5 * size * size`` bytes a slice. Epochs after
            the first then cost nothing; `preload` spends the first in the order of the volumes.
    """

    def __init__(self, slices: Slices, preprocessing: Preprocessing, *, cache: bool = True) -> None:
        self.slices = slices
        self.preprocessing = preprocessing
        self.cache = cache
        self._prepared: dict[int, Prepared] = {}

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> Prepared:
        if index in self._prepared:
            return self._prepared[index]
        prepared = self.preprocessing(self.slices[index])
        if self.cache:
            self._prepared[index] = prepared
        return prepared

    def preload(self, progress: Progress | None = None) -> None:
        """Prepare every slice now, so that each volume is decoded once.

        Args:
            progress: Told of every slice, under the name ``prepare``.
        """
        for index in range(len(self)):
            self[index]
            if progress is not None:
                progress("prepare", index + 1, len(self))

    def labelled(self) -> LabelledView:
        """Return the slices with their masks, for training, calibration and evaluation.

        Raises:
            InputError: The data have no lesion masks.
        """
        return LabelledView(self)

    def unlabelled(self) -> UnlabelledView:
        """Return the slices without their masks, for adaptation."""
        return UnlabelledView(self)


class LabelledView:
    """Prepared slices as labelled samples.

    Args:
        prepared: The slices.

    Raises:
        InputError: The data have no lesion masks.
    """

    def __init__(self, prepared: PreparedSlices) -> None:
        without = [row.id for row in prepared.slices.rows if row.lesion_pixels is None]
        if without:
            raise InputError(
                f"{len(without)} slices have no lesion mask, {without[0]} first; only data with "
                "masks can be labelled samples."
            )
        self.prepared = prepared

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, index: int) -> LabelledSample:
        row = self.prepared.slices.rows[index]
        image, mask = self.prepared[index]
        return LabelledSample(row.id, row.group, image, mask)

    def describe(self) -> dict[str, Any]:
        """Return the number of samples and the SHA-256 of their ids, groups, images and masks."""
        total = hashlib.sha256()
        for index in range(len(self)):
            sample = self[index]
            parts = (sample.id, sample.group, fingerprint(sample.image), fingerprint(sample.mask))
            total.update("\0".join(parts).encode())
        return {"samples": len(self), "sha256": total.hexdigest()}


class UnlabelledView:
    """Prepared slices as samples without masks.

    Args:
        prepared: The slices.
    """

    def __init__(self, prepared: PreparedSlices) -> None:
        self.prepared = prepared

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, index: int) -> Sample:
        row = self.prepared.slices.rows[index]
        return Sample(row.id, row.group, self.prepared[index].image)


def keep_slices(slices: Slices, *, only_infected: bool = False, with_lung: bool = False) -> Slices:
    """Leave slices out before anything else sees them.

    Args:
        slices: Where to choose from.
        only_infected: Keep those with a lesion. The paper's Table I counts these. On a target
            this looks at its masks: a result that used it says so.
        with_lung: Leave out slices whose lung mask is empty; those without a mask stay.
    """
    return slices.where(
        lambda row: (
            not (only_infected and row.lesion_pixels == 0)
            and not (with_lung and row.lung_pixels == 0)
        )
    )
