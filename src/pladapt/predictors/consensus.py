"""Where predictors agree without labels: which to trust, and how much is foreground.

Between a source and a target the scale of a network's logits moves, so that a cut-off found on the
source can mark many times too much or too little, while the order of the pixels is often still
good. Here each predictor's surest pixels are compared at many fractions of foreground. True objects
are where predictors and views agree; beyond them, and short of them, they disagree. The fraction of
the highest agreement is therefore the target's, and its place in each predictor's logits the
predictor's own cut-off.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pladapt.data.batches import batches
from pladapt.data.views import check_unlabelled
from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.functional.intensities import split
from pladapt.functional.logits import LEAST, RESOLUTION, foreground_logit, logit
from pladapt.predictors.ensembles import EnsemblePredictor, map_members
from pladapt.predictors.prediction import predict_batch
from pladapt.predictors.shift import LogitShiftPredictor
from pladapt.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.functional.intensities import Region
    from pladapt.protocols import Predictor
    from pladapt.types import Array, Progress, Sample, Samples

FRACTIONS: Final = tuple(1 / (1 + math.exp(-odds)) for odds in np.arange(-9, 2.3, 0.3))
"""The fractions of foreground that are tried, from 0.0001 to 0.9, evenly in log-odds."""

PIXELS: Final = 1_000_000
"""How many pixels of the target are compared, at most, all images together."""

_PEAK: Final = 0.02
_TRUST: Final = 0.03
_ENOUGH: Final = 0.65
_REACH: Final = 5.0
_GROUP_REACH: Final = 10.0  # a group is moved by less than half of what it asks for
_POOLED: Final = 16  # samples of a group that tell as much about it as all the others do


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What several predictors agree on in a target.

    Args:
        fraction: The fraction of the region's pixels that is foreground.
        agreed: The fraction of the highest agreement alone; None where the agreement has no peak,
            so that it tells nothing.
        kept: Which predictors agree about as well as the best one, by their place; all of them
            where nothing is agreed on.
        shifts: What is to be added to each predictor's foreground logits, so that this fraction
            lies above a probability of 0.5.
        curve: ``predictor`` (int64, null for all that are kept together), ``fraction`` and
            ``agreement``: Cohen's kappa in [-1, 1], the mean of that between the views of one
            predictor and that between predictors.
        agreement: Each predictor's agreement at its own best fraction.
        groups: What is to be added to the foreground logits of a group's samples beside that, for
            `pladapt.predictors.LogitShiftPredictor`: for the groups whose own samples have a peak.
    """

    fraction: float
    agreed: float | None
    kept: tuple[int, ...]
    shifts: tuple[float, ...]
    curve: pa.Table
    agreement: tuple[float, ...]
    groups: Mapping[str, float]

    def predictor(
        self, predictors: Sequence[Predictor], shifts: Sequence[float] | None = None
    ) -> EnsemblePredictor:
        """Return the mean of the kept predictors, each shifted; its cut-off is 0.5.

        Args:
            predictors: Those that were compared, in their order.
            shifts: Other shifts than those found, or None.
        """
        shifts = shifts or self.shifts
        return EnsemblePredictor(
            [LogitShiftPredictor(predictors[place], shifts[place]) for place in self.kept]
        )


def find_consensus(
    predictors: Sequence[Predictor],
    target: Samples[Sample],
    *,
    cutoff: float = 0.5,
    region: Region = "informative",
    batch_size: int = 8,
    pixels: int = PIXELS,
    progress: Progress | None = None,
) -> Consensus:
    """Find the fraction of foreground on which predictors, and views of each, agree best.

    At each of `pladapt.predictors.consensus.FRACTIONS` the surest pixels of every member are its
    foreground. Two members' agreement is Cohen's kappa, which is 0 for what chance gives. A
    predictor's agreement is the mean of two: that among its own members, and that with the other
    predictors' members. The fraction is the largest one that comes within 0.02 of the highest peak:
    the peak itself tends to lie below the truth, since the heart of an object is agreed on more
    easily than its rim. Predictors whose best agreement is more than 0.03 below the best one's are
    left out, and the fraction is found anew from the others. What is returned lies half-way (in
    log-odds) between that and what the members of the predictors that are kept mark at the source's
    cut-off. Only fractions within a factor of five (in odds) of what some predictor marks there are
    considered. A peak at the end of that range is none, nor is one below 0.65. Where nothing is
    agreed on, as where the target shows no foreground at all, the predictors cannot be told apart:
    all of them are kept, at the mean of what they mark. It is that of their members, since a mean
    of members that disagree marks less, or more, than any of them.

    Groups of samples differ as well: in volumes from several scanners, some with much foreground
    and some with little. So among each group's own pixels the fraction is found once more, in the
    same way, from where the consensus put the cut-off, within a factor of ten. A group of ``n``
    samples is moved by ``n / (n + 16)`` of that: few samples tell little.

    The result depends neither on the samples' order nor on the size of the batches.

    Args:
        predictors: At least one; each a `pladapt.BatchPredictor` of two members or more (flips,
            say), unless there are several predictors.
        target: Samples without masks.
        cutoff: The source's cut-off, in (0, 1).
        region: Which pixels count, as for `pladapt.SourceStatistics`.
        batch_size: How many samples are predicted at once.
        pixels: About how many pixels are compared; each image gives the same number, drawn by the
            SHA-256 of its id.
        progress: Called after each batch.

    Raises:
        InputError: No predictors, a single one of a single member, an empty target, or an option
            out of its range.
        LabelledTargetError: A sample has a mask.
    """
    if not 0 < cutoff < 1:
        raise InputError(f"cutoff is {cutoff}; it must lie between 0 and 1.")
    if not predictors or len(target) == 0:
        raise InputError(
            f"There are {len(predictors)} predictors and {len(target)} unlabelled samples; give at "
            "least one of each."
        )
    each = max(1, pixels // len(target))

    def step(done: int) -> None:
        if progress is not None:
            progress("consensus", done, len(target))

    views, samples = _views(predictors, _read(target, region, batch_size, each), step)
    if sum(len(members) for members in views) < 2:  # noqa: PLR2004 - to agree takes two
        raise InputError(
            "There is a single predictor with a single member, which has none to agree with; give "
            "several, or one that averages, such as FlipPredictor."
        )
    if views[0].shape[1] == 0:
        raise InputError(
            "No image has a pixel in the region, so there is nothing to agree on; give "
            "region=None for all pixels."
        )
    return _agreed(views, samples, logit(cutoff))


class _Drawn(NamedTuple):
    """The pixels of a sample that are compared."""

    id: str
    group: str
    places: NDArray[np.int64]


def _agreed(
    views: Sequence[NDArray[np.float32]], samples: Sequence[_Drawn], given: float
) -> Consensus:
    """Find the consensus from each predictor's log-odds ``(M, N)`` and the cut-off's."""
    marked = np.array([_marked(members, given) for members in views])
    within = _considered(marked, _REACH)
    owner = np.repeat(np.arange(len(views)), [len(members) for members in views])
    kappas = _kappas(np.concatenate(views))
    everyone = np.arange(len(views))
    curves = [_agreement(kappas, owner, own, everyone) for own in everyone[:, None]]
    peaks = [_peak(curve, within) for curve in curves]
    best = [-1.0 if peak is None else float(c[peak]) for c, peak in zip(curves, peaks, strict=True)]
    kept = np.flatnonzero(np.asarray(best) >= max(best) - _TRUST)
    together = _agreement(kappas, owner, kept, kept)
    peak = _peak(together, within)
    agreed = None if peak is None or together[peak] < _ENOUGH else FRACTIONS[peak]
    if agreed is None:
        kept = everyone
    middle = _middle(marked[kept])
    fraction = middle if agreed is None else _middle([agreed, middle])
    means = [members.mean(axis=0) for members in views]
    shifts = tuple(-float(np.quantile(mean, 1 - fraction)) for mean in means)
    moved = [] if agreed is None else [views[k] + np.float32(shifts[k]) for k in kept.tolist()]
    return Consensus(
        fraction,
        agreed,
        tuple(kept.tolist()),
        shifts,
        pa.concat_tables([*map(_rows, everyone.tolist(), curves), _rows(None, together)]),
        tuple(best),
        _group_shifts(moved, samples) if moved else {},
    )


def _group_shifts(
    views: Sequence[NDArray[np.float32]], samples: Sequence[_Drawn]
) -> dict[str, float]:
    """Return what is to be added to the log-odds of the groups that have a fraction of their own.

    Args:
        views: The kept predictors' log-odds ``(M, N)``, moved so that the cut-off is at 0.
        samples: Whose pixels these are, in order.
    """
    groups, owner = np.unique([sample.group for sample in samples], return_inverse=True)
    pixels = np.repeat(owner, [len(sample.places) for sample in samples])
    found = {}
    for place, group in enumerate(groups.tolist()):
        inside = pixels == place
        count = int(np.sum(owner == place))
        shift = _group_shift([view[:, inside] for view in views], count) if inside.any() else 0.0
        if shift:
            found[group] = shift
    return found


def _group_shift(views: Sequence[NDArray[np.float32]], count: int) -> float:
    """Return the shift of a group of so many samples; 0 where nothing is agreed on."""
    owner = np.repeat(np.arange(len(views)), [len(members) for members in views])
    odds = np.concatenate(views)
    mean = np.mean(1 / (1 + np.exp(-odds.astype(np.float64))), axis=0).clip(LEAST, 1 - RESOLUTION)
    marked = _marked(mean, 0.5)
    curve = _agreement(_kappas(odds), owner, owner, owner)
    peak = _peak(curve, _considered(np.array([marked]), _GROUP_REACH))
    if peak is None or curve[peak] < _ENOUGH:
        return 0.0
    moved = (logit(FRACTIONS[peak]) - logit(marked)) / 2 * count / (count + _POOLED)
    fraction = 1 / (1 + math.exp(-logit(marked) - moved))
    return -logit(float(np.quantile(mean, 1 - fraction)))


def _read(
    target: Samples[Sample], region: Region, batch_size: int, most: int
) -> Iterator[tuple[list[_Drawn], Array]]:
    """Yield batches of images, each with the pixels that are compared."""
    samples = (target[index] for index in range(len(target)))
    for batch, images in batches(samples, batch_size=batch_size):
        for sample in batch:
            check_unlabelled(sample)
        inside = to_numpy(split(images, region)[0]).reshape(len(batch), -1)
        each = zip(batch, inside, strict=True)
        yield [_Drawn(s.id, s.group, drawn(s.id, flags, most)) for s, flags in each], images


def _views(
    predictors: Sequence[Predictor],
    read: Iterable[tuple[list[_Drawn], Array]],
    step: Callable[[int], None],
) -> tuple[list[NDArray[np.float32]], list[_Drawn]]:
    """Return each predictor's log-odds ``(M, N)`` of the same pixels, and whose they are."""
    samples: dict[str, _Drawn] = {}
    found: list[dict[str, NDArray[np.float32]]] = [{} for _ in predictors]
    for batch, images in read:
        ids, groups, _ = zip(*batch, strict=True)
        given = Batch(ids, groups, images)
        for parts, predictor in zip(found, predictors, strict=True):
            odds = to_numpy(map_members(foreground_logit, predict_batch(predictor, given).views))
            flat = odds.reshape(*odds.shape[:2], -1).astype(np.float32)
            parts |= {each.id: flat[:, i, each.places] for i, each in enumerate(batch)}
        samples |= {each.id: each for each in batch}
        step(len(samples))
    views = [np.concatenate([parts[id_] for id_ in sorted(parts)], axis=1) for parts in found]
    return views, [samples[id_] for id_ in sorted(samples)]


def drawn(id_: str, inside: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Draw at most so many of the places that are true."""
    places = np.flatnonzero(inside)
    if len(places) <= most:
        return places
    seed = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    return np.sort(np.random.default_rng(seed).choice(places, most, replace=False))


def _considered(marked: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    """Tell which fractions are near enough to what some predictor marks at the cut-off."""
    fractions = np.asarray(FRACTIONS)
    odds = fractions / (1 - fractions)
    low, high = (fraction / (1 - fraction) for fraction in (marked.min(), marked.max()))
    near: NDArray[np.bool_] = (odds >= low / reach) & (odds <= high * reach)
    return near


def _marked(odds: NDArray[np.float32], given: float) -> float:
    """Return the fraction of the pixels that lies above the cut-off, neither none nor all."""
    least = 0.5 / odds.size
    return float(np.clip(np.mean(odds > given), least, 1 - least))


def _middle(fractions: Iterable[float]) -> float:
    """Return the mean in log-odds."""
    mean = np.mean([logit(fraction) for fraction in fractions])
    return float(1 / (1 + np.exp(-mean)))


def _kappas(odds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Cohen's kappa ``(S, T, T)`` between members' surest pixels at each fraction.

    Args:
        odds: ``(T, N)``, the log-odds of all members.
    """
    levels = 1 - np.asarray(FRACTIONS)
    thresholds = np.quantile(odds, levels, axis=1).astype(np.float32)
    found = np.empty((len(FRACTIONS), len(odds), len(odds)))
    for place, threshold in enumerate(thresholds):
        marked = (odds > threshold[:, None]).astype(np.float32)
        both = (marked @ marked.T).astype(np.float64) / odds.shape[1]  # exact below 2**24 pixels
        fraction = both.diagonal()
        # (observed - expected) / (1 - expected), for two raters of two categories
        chance = np.outer(fraction, fraction)
        rest = fraction[:, None] + fraction - 2 * chance
        found[place] = 2 * (both - chance) / np.where(rest > 0, rest, np.inf)
    return found


def _agreement(
    kappas: NDArray[np.float64],
    owner: NDArray[np.intp],
    own: NDArray[np.intp],
    others: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the agreement ``(S,)`` of some predictors among their views and with others."""
    mine, theirs = np.isin(owner, own), np.isin(owner, others)
    same = owner[:, None] == owner
    pairs = mine[:, None] & theirs & ~np.eye(len(owner), dtype=np.bool_)
    means = [kappas[:, kind].mean(axis=1) for kind in (pairs & same, pairs & ~same) if kind.any()]
    return np.asarray(np.mean(means, axis=0)) if means else np.full(len(kappas), np.nan)


def _peak(curve: NDArray[np.float64], within: NDArray[np.bool_]) -> int | None:
    """Return the largest fraction as good as the highest peak that is not at the range's end."""
    inner = [
        place
        for place in range(1, len(curve) - 1)
        if within[place - 1 : place + 2].all()
        and curve[place - 1] <= curve[place] > curve[place + 1]
    ]
    if not inner:
        return None
    top = max(inner, key=lambda place: float(curve[place]))
    last = top
    while last + 1 < len(curve) and within[last + 1] and curve[last + 1] >= curve[top] - _PEAK:
        last += 1
    return last


def _rows(place: int | None, curve: NDArray[np.float64]) -> pa.Table:
    return pa.table(
        {
            "predictor": pa.array([place] * len(curve), pa.int64()),
            "fraction": np.asarray(FRACTIONS),
            "agreement": curve,
        }
    )
