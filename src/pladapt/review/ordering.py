"""The order in which a look is worth most.

The samples are chosen one after the other, each time the one that adds most to

    sum over all samples j of  doubt(j) * max over the chosen i of likeness(i, j)

which is facility location, weighted by doubt (Wei, Iyer, Bilmes, ICML 2015; the greedy choice has
at least 63 % of the best sum that there is: Nemhauser, Wolsey, Fisher 1978). A sample is early
where it is doubtful itself, where many doubtful ones are like it, and where none of these was
chosen before: neighbouring slices have masks that are alike and are of one group, so one of them
stands for all.

The doubt is about how many pixels of a mask may be wrong: a low score of a few pixels is worth less
than a middling one of many. By the score alone, specks would come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pladapt.types import IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

APART: Final = 0.5
"""The likeness of equal masks of two groups; of one group it is 1."""

CEILING: Final = 4096
"""How many samples are compared with each other: where there are more, those of lowest score."""

_SUREST: Final = 1e-6  # the doubt that is left of a mask with the score 1


def embedding(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how much of a mask is foreground, where it is and how far it spreads.

    Args:
        mask: ``(*S)``; classes are not told apart.

    Returns:
        ``(1 + 2 * len(S),)``: the root of the fraction, the centre on each axis from 0 to 1, and
        the standard deviation along each; the middle and 0 where there is no foreground.
    """
    marked = np.nonzero((mask > 0) & (mask != IGNORE))
    fraction = marked[0].size / max(1, mask.size)
    if not fraction:
        return np.array([0.0, *[0.5] * mask.ndim, *[0.0] * mask.ndim])
    places = [place / max(1, size - 1) for place, size in zip(marked, mask.shape, strict=True)]
    return np.array([fraction**0.5, *map(np.mean, places), *map(np.std, places)])


def doubts(scores: Sequence[float | None]) -> NDArray[np.float64]:
    """Return how doubtful samples are by their scores, of which higher is surer.

    Returns:
        ``(N,)`` in (0, 1]: by rank, so that it does not depend on the scale of a score, 1 for the
        lowest; 0.5 where there is none.
    """
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    known = np.sort(values[~np.isnan(values)])
    lower = np.searchsorted(known, values, side="left")
    return np.where(np.isnan(values), 0.5, 1 - lower / max(1, len(known)))


def doubtful_pixels(scores: Sequence[float | None], pixels: Sequence[int]) -> NDArray[np.float64]:
    """Return about how many pixels of each mask may be wrong.

    Args:
        scores: Of which higher is surer; None where there is none.
        pixels: How many pixels each mask marks.

    Returns:
        ``(N,)``, above 0: 1 - score, where the scores lie in [0, 1], else the doubt by rank, times
        the pixels marked. One pixel is added to each mask, so that the surest ones and those that
        mark nothing have their turn, last of all.
    """
    values = np.array([np.nan if score is None else score for score in scores], np.float64)
    known = values[~np.isnan(values)]
    if len(known) and 0 <= known.min() <= known.max() <= 1:
        doubt = np.where(np.isnan(values), 0.5, 1 - values)
    else:
        doubt = doubts(scores)
    ordered: NDArray[np.float64] = (doubt + _SUREST) * (np.asarray(pixels) + 1)
    return ordered


def likeness(embeddings: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float32]:
    """Return how alike samples are: ``(N, N)`` in [0, 1].

    Args:
        embeddings: ``(N, E)``.
        groups: Of each sample; of none where it is empty.
    """
    spread = embeddings.std(axis=0)
    scaled = (embeddings / np.where(spread > 0, spread, 1)).astype(np.float32)
    squares = (scaled**2).sum(axis=1)
    far = np.maximum(0, squares[:, None] + squares - 2 * scaled @ scaled.T)
    alike: NDArray[np.float32] = np.exp(-far / max(float(far.mean()), 1e-6))
    _, numbers = np.unique([*groups], return_inverse=True)
    unknown = np.array([not group for group in groups])
    apart = (numbers[:, None] != numbers) | (unknown & ~np.eye(len(groups), dtype=bool))
    return np.where(apart, np.float32(APART) * alike, alike)


def in_order(
    doubt: NDArray[np.float64], alike: NDArray[np.float32], n: int, done: Sequence[int] = ()
) -> list[int]:
    """Return the n samples that are worth most, in order.

    Args:
        doubt: ``(N,)``.
        alike: ``(N, N)``.
        n: How many.
        done: Those that were looked at already.
    """
    covered = alike[list(done)].max(axis=0, initial=0)
    left = np.setdiff1d(np.arange(len(doubt)), list(done))
    chosen: list[int] = []
    while left.size and len(chosen) < n:
        gains = np.maximum(0, alike[left] - covered) @ doubt
        best = int(left[np.lexsort((left, -doubt[left], -gains))[0]])
        chosen.append(best)
        covered = np.maximum(covered, alike[best])
        left = left[left != best]
    return chosen
