"""How far a predictor agrees with itself on mirrored and scaled images.

A mask that is right for an image is right for its mirror image. Where a predictor marks another
one there, it is unsure of at least one of the two. The agreement ranks what can be done to a
network without training it (another normalisation, say). It does not say how good a mask is: a
predictor may be wrong alike on every view, and training makes any predictor agree with itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from array_api_compat import array_namespace

from pladapt.data.batches import batches
from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.certainty import foreground, hard_labels
from pladapt.functional.overlap import COUNTS, count_rows, dsc, pool
from pladapt.functional.resampling import scale_images
from pladapt.predictors.prediction import predict
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import Array, LabelledSample, Progress, Sample, Samples
    from pladapt.typing import Predictor

_DRAWS: Final = 1000
_SURE: Final = 0.9
_GROUPS: Final = 5  # of fewer, all may differ alike by chance


@dataclass(frozen=True)
class Views:
    """Which other views of an image a predictor is asked about.

    Args:
        axes: The spatial axes along which a mirror image is as likely as the image, counted from
            the end. An axis that is not natural makes a good predictor look bad.
        scales: Magnifications about the centre; what a magnified image no longer shows is not
            compared.

    Raises:
        InputError: There is no view, or a scale is not positive or is 1.
    """

    axes: tuple[int, ...] = (-1,)
    scales: tuple[float, ...] = (0.8, 1.25)

    def __post_init__(self) -> None:
        if not (self.axes or self.scales) or any(s <= 0 or s == 1 for s in self.scales):
            raise InputError(
                f"axes is {self.axes} and scales {self.scales}; give at least one view, and "
                "scales that are positive and not 1."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """What a predictor marks in a target, and how far it agrees with itself there.

    Args:
        counts: A row per sample, class and view: ``id``, ``group``, ``class``, ``view`` and the
            counts ``tp``, ``fp``, ``fn`` and ``tn`` of the view's mask, with the mask of the image
            as it is in the place of the truth.
        marked: A row per sample and class: ``id``, ``group``, ``class``, ``pixels`` above the
            cut-off and ``size``, the number of all pixels.
    """

    counts: pa.Table
    marked: pa.Table

    @property
    def pooled(self) -> float:
        """The DSC of the views' masks with the plain ones, in [0, 1], all pixels pooled.

        The mean over the views and classes; 1 where nothing is marked. Large objects decide it.
        """
        return float(pool(self.counts, ["class", "view"])["dsc"].to_numpy().mean())

    @property
    def per_image(self) -> float:
        """The mean over the images of their own DSC with their views, in [0, 1].

        An image where neither mask shows anything agrees: so this falls where images without
        foreground are no longer left empty.
        """
        return float(self.by_sample()["agreement"].to_numpy().mean())

    @property
    def fraction(self) -> NDArray[np.float64]:
        """The fraction ``(F,)`` of all pixels that each foreground class marks."""
        return _sums(self.marked, "class", "pixels") / _sums(self.marked, "class", "size")

    def of(self, ids: Sequence[str]) -> Agreement:
        """Return that of some of the samples."""
        wanted = pa.array(ids)
        return Agreement(
            *(rows.filter(pc.is_in(rows["id"], wanted)) for rows in (self.counts, self.marked))
        )

    def matching(self, fraction: float) -> list[str]:
        """Return the ids of samples that together mark a fraction of their pixels.

        Where all mark more, those that mark most are left out, and where all mark less, those that
        mark least, and no more of them than it takes. All foreground classes count together.

        Args:
            fraction: In [0, 1].
        """
        rows = self.marked.group_by("id", use_threads=False)
        summed = rows.aggregate([("pixels", "sum"), ("size", "max")]).sort_by("id")
        ids = summed["id"].to_pylist()
        pixels, sizes = (summed[name].to_numpy() for name in ("pixels_sum", "size_max"))
        order = np.argsort(pixels / sizes, kind="stable")
        more = pixels.sum() > fraction * sizes.sum()
        order = order if more else order[::-1]
        reached = np.cumsum(pixels[order]) - fraction * np.cumsum(sizes[order])
        inside = reached <= 0 if more else reached >= 0
        last = int(np.flatnonzero(inside).max(initial=-1))
        return sorted(ids[place] for place in order[: last + 1])

    def surely_above(self, other: Agreement, margin: float, *, seed: int = 0) -> bool:
        """Tell whether it is surely higher than another agreement on the same samples.

        `pooled` must be higher by more than the margin, here and in 90 % of 1,000 draws of the
        groups with replacement, and single images must bear that out, as surely:

        - `per_image` is not lower by more than the margin;
        - or else the other agrees with itself so well since it finds nothing. Of the images in
          which both find something (in five groups at least) the mean is not lower by more than
          the margin, and of those in which only this one does it is not lower, by more than that,
          than the other's where both do.

        Of fewer than five groups nothing is sure.

        Args:
            other: That of another predictor, on the same samples and views.
            margin: In [0, 1).
            seed: Of the draws.
        """
        groups, place = self._groups()
        draws = _draws(groups, seed)
        mine, its = self._single(), other._single()

        def mean(values: NDArray[np.float64], images: NDArray[np.bool_]) -> NDArray[np.float64]:
            sums, found = (np.bincount(place, each, groups) for each in (values * images, images))
            with np.errstate(invalid="ignore"):  # NaN in a draw without such an image
                means: NDArray[np.float64] = (draws @ sums) / (draws @ found)
            return means

        pooled = self._pooled(draws) - other._pooled(draws) > margin
        both, only = mine.found & its.found, mine.found & ~its.found
        gain = mine.agreement - its.agreement
        if _sure(pooled & (mean(gain, np.ones_like(both)) >= -margin), groups):
            return True
        shown = (mean(gain, both) >= -margin) & ~(
            mean(mine.agreement, only) < mean(its.agreement, both) - margin
        )
        return len(np.unique(place[both])) >= _GROUPS and _sure(pooled & shown, groups)

    def surely_reaches(self, level: float, *, seed: int = 0) -> bool:
        """Tell whether the agreement of all pixels surely reaches a level, as `surely_above`."""
        groups, _ = self._groups()
        return _sure(self._pooled(_draws(groups, seed)) >= level, groups)

    def _groups(self) -> tuple[int, NDArray[np.intp]]:
        """Return how many groups there are, and each sample's place ``(N,)`` among them, sorted."""
        names, place = np.unique(self.by_sample()["group"].to_pylist(), return_inverse=True)
        return len(names), place

    def _pooled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `pooled` in each draw of the groups."""
        keys = ["group", "class", "view"]
        summed = pool(self.counts, keys).sort_by([(key, "ascending") for key in keys])
        counts = np.stack([summed[name].to_numpy() for name in COUNTS[:3]], axis=-1)
        counts = counts.reshape(draws.shape[1], -1, 3).astype(np.float64)
        tp, fp, fn = np.moveaxis(np.tensordot(draws, counts, axes=1), -1, 0)
        pooled: NDArray[np.float64] = dsc(tp, fp, fn).mean(axis=1)
        return pooled

    def _single(self) -> _Single:
        rows = self.by_sample()
        return _Single(rows["agreement"].to_numpy(), rows["found"].to_numpy() > 0)

    def by_sample(self) -> pa.Table:
        """Return a row per sample, in the order of their ids.

        ``id``, ``group``, ``agreement`` (the mean over the views and classes) and ``found``: how
        many pixels any of the masks shows, those of all views and classes together.
        """
        tp, fp, fn = (self.counts[name].to_numpy() for name in COUNTS[:3])
        rows = self.counts.append_column("agreement", pa.array(dsc(tp, fp, fn)))
        rows = rows.append_column("found", pa.array(tp + fp + fn))
        grouped = rows.group_by(["id", "group"], use_threads=False)
        summed = grouped.aggregate([("agreement", "mean"), ("found", "sum")])
        names = {"agreement_mean": "agreement", "found_sum": "found"}
        return summed.rename_columns(names).sort_by("id")


class _Single(NamedTuple):
    """Each image's own agreement ``(N,)``, and whether anything is found in it, in any view."""

    agreement: NDArray[np.float64]
    found: NDArray[np.bool_]


def _draws(groups: int, seed: int) -> NDArray[np.int64]:
    """Return how often each group counts: once in the first row, then in draws of them."""
    draws = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), _DRAWS)
    return np.concatenate([np.ones((1, groups), np.int64), draws])


def _sure(holds: NDArray[np.bool_], groups: int) -> bool:
    """Tell whether what holds in some of these draws is sure."""
    return groups >= _GROUPS and bool(holds[0] and holds[1:].mean() >= _SURE)


class Compared(NamedTuple):
    """A batch's masks ``(B, *S)``, and the rows of an `Agreement`'s ``counts`` and ``marked``."""

    masks: NDArray[np.uint8]
    classes: int
    counts: list[dict[str, Any]]
    marked: list[dict[str, Any]]


class _View(NamedTuple):
    """A way to look at images, and back."""

    name: str
    axis: int | None = None
    scale: float = 1.0

    def of(self, images: Array) -> Array:
        """Return the view of images ``(B, C, *S)``."""
        if self.axis is not None:
            return array_namespace(images).flip(images, axis=self.axis)
        return scale_images(images, self.scale)

    def back(self, probabilities: Array) -> Array:
        """Return what was predicted there ``(B, K, *S)`` in the place of the image."""
        if self.axis is not None:
            return self.of(probabilities)
        return scale_images(probabilities, 1 / self.scale, "zero")

    def shown(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Tell which pixels of a plane ``(*S)`` the view shows wholly."""
        ones = np.ones((1, 1, *shape))
        shown: NDArray[np.bool_] = self.back(ones)[0, 0] > 1 - 1e-6
        return shown


def measure_agreement(
    predictor: Predictor,
    target: Samples[Sample],
    *,
    cutoff: Cutoff = 0.5,
    views: Views | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> Agreement:
    """Predict every sample and its views, and count where their masks agree.

    Memory holds the counts alone. The result depends neither on the samples' order nor on the size
    of the batches.

    Args:
        predictor: Whose agreement it is; without test-time augmentation of its own, which would
            make it agree with itself on the views that it averages.
        target: At least one sample without a mask.
        cutoff: In (0, 1); one for every class, or one per foreground class.
        views: What it is asked about; by default the left-right mirror image and two scales.
        batch_size: How many samples are predicted at once.
        progress: Called after each batch.

    Raises:
        InputError: The target is empty.
        LabelledTargetError: A sample has a mask.
    """
    if len(target) == 0:
        raise InputError("The target is empty; give at least one unlabelled sample.")
    counts: list[dict[str, Any]] = []
    marked: list[dict[str, Any]] = []
    done = 0
    for batch, images in batches((target[i] for i in range(len(target))), batch_size=batch_size):
        for sample in batch:
            check_unlabelled(sample)
        compared = compare_views(predictor, batch, images, cutoff, views or Views())
        counts += compared.counts
        marked += compared.marked
        done += len(batch)
        if progress is not None:
            progress("agreement", done, len(target))
    return agreement_of(counts, marked)


def compare_views(
    predictor: Predictor,
    batch: Sequence[Sample | LabelledSample],
    images: Array,
    cutoff: Cutoff,
    views: Views,
) -> Compared:
    """Predict a batch, and its views, for `measure_agreement`."""
    probabilities = predict(predictor, batch, images).probabilities
    plain = to_numpy(hard_labels(probabilities, cutoff))
    classes = foreground(probabilities).shape[1]
    counts: list[dict[str, Any]] = []
    for look in _looks(views):
        seen = predict(predictor, batch, look.of(images)).probabilities
        labels = to_numpy(hard_labels(look.back(seen), cutoff))
        shown = np.where(look.shown(plain.shape[1:]), plain, np.uint8(IGNORE))
        rows = count_rows(batch, labels, shown, classes)
        counts += [row | {"view": look.name} for row in rows]
    return Compared(plain, classes, counts, list(_marked(batch, plain, classes)))


def agreement_of(counts: list[dict[str, Any]], marked: list[dict[str, Any]]) -> Agreement:
    """Make an agreement of the rows of `compare_views`, whatever their order."""
    return Agreement(_ordered(counts, "class", "view", "id"), _ordered(marked, "class", "id"))


def _looks(views: Views) -> Iterator[_View]:
    yield from (_View(f"mirror {axis}", axis=axis) for axis in views.axes)
    yield from (_View(f"scale {scale:g}", scale=scale) for scale in views.scales)


def _marked(
    batch: Sequence[Sample | LabelledSample], labels: NDArray[np.uint8], classes: int
) -> Iterator[dict[str, Any]]:
    for sample, label in zip(batch, labels, strict=True):
        for class_ in range(1, classes + 1):
            pixels = int(np.count_nonzero(label == class_))
            keys = {"id": sample.id, "group": sample.group, "class": class_}
            yield keys | {"pixels": pixels, "size": label.size}


def _ordered(rows: list[dict[str, Any]], *names: str) -> pa.Table:
    return pa.Table.from_pylist(rows).sort_by([(name, "ascending") for name in names])


def _sums(table: pa.Table, key: str, column: str) -> NDArray[np.float64]:
    found = table.group_by(key, use_threads=False).aggregate([(column, "sum")]).sort_by(key)
    sums: NDArray[np.float64] = found[f"{column}_sum"].to_numpy().astype(np.float64)
    return sums
