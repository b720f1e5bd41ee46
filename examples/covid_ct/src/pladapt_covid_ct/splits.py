"""Patient-independent splits of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Split:
    """The patients of each part; no patient is in two.

    Args:
        train: For the weights.
        validation: For early stopping and the choice of the weights.
        test: For the cut-off and the in-domain figures.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split_patients(
    patients: Iterable[str], *, seed: int = 0, fold: int = 0, folds: int = 5
) -> Split:
    """Split patients 60/10/30, as section IV of the paper does.

    The patients are shuffled once by the seed; each fold starts a fifth further round, so that
    every patient is tested in one or two of five folds.

    Args:
        patients: Their names; repetitions count once.
        seed: Of the shuffle.
        fold: Which fold, from 0.
        folds: How many folds there are.

    Raises:
        InputError: Fewer than three patients, or a fold beyond the last.
    """
    names = np.array(sorted(set(patients)))
    if len(names) < 3:  # noqa: PLR2004 - one for each part
        raise InputError(f"{len(names)} patients cannot be split in three parts; at least 3 can.")
    if not 0 <= fold < folds:
        raise InputError(f"fold is {fold}; it must be from 0 to {folds - 1}.")
    np.random.default_rng(seed).shuffle(names)
    names = np.roll(names, -round(fold * len(names) / folds))
    test, validation = (max(1, round(fraction * len(names))) for fraction in (0.3, 0.1))
    parts = names[test + validation :], names[test : test + validation], names[:test]
    return Split(*(tuple(str(name) for name in part) for part in parts))
