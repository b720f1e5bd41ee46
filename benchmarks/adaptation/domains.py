"""The study's domains: prepared once and kept, split for a source, and cut to targets."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from families import evenly
from scans import Ultrasound
from slices import Phantoms, Slices
from tiles import Cracks, Nuclei

from pladapt import LabelledSample
from pladapt.errors import InputError
from pladapt.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from families import Config, Family
    from pairs import Pair

FAMILIES: Final[Mapping[str, Callable[[Config], Family]]] = {
    "ct": Slices,
    "phantoms": Phantoms,
    "ultrasound": Ultrasound,
    "nuclei": Nuclei,
    "crack": Cracks,
}
"""The kinds of domains."""

# what each of ten groups in the order of their foreground is for: train, validate, test, held out
_MANY: Final = "TVSTHTSTHT"
_FEW: Final = "TVSTVTSTST"
_MANY_GROUPS: Final = 20
_MIN_VALIDATION: Final = 2
_MIN_IMAGES: Final = 8  # of a target without a shift


class Split(NamedTuple):
    """The samples of a source's groups; no group is in two parts.

    Args:
        train: For the weights.
        validation: For stopping, and the choice of the weights.
        test: For the cut-off, the source's statistics and the in-domain DSC.
        held: Used for nothing but as targets without a shift; of a source with fewer than twenty
            groups these are the test samples.
    """

    train: list[LabelledSample]
    validation: list[LabelledSample]
    test: list[LabelledSample]
    held: list[LabelledSample]


@lru_cache
def family(config: Config, name: str) -> Family:
    """Return a family; the same one for the same question."""
    return FAMILIES[name](config)


@lru_cache
def domain(config: Config, name: str, letter: str) -> list[LabelledSample]:
    """Return a domain's samples, which are prepared once and kept in a file."""
    path = config.out / "domains" / f"{name}-{letter}.npz"
    if not path.exists():
        samples = family(config, name).load(letter)
        arrays = {
            "ids": np.array([s.id for s in samples]),
            "groups": np.array([s.group for s in samples]),
            "images": np.stack([np.asarray(s.image, np.float32) for s in samples]),
            "masks": np.stack([np.asarray(s.mask, np.uint8) for s in samples]),
        }
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # arrays
    with np.load(path) as stored:
        columns = [stored[name] for name in ("ids", "groups", "images", "masks")]
    return [LabelledSample(str(i), str(g), x, y) for i, g, x, y in zip(*columns, strict=True)]


def split(samples: Sequence[LabelledSample], seed: int) -> Split:
    """Split a source's groups so that every part has groups with much and with little foreground.

    In the order of their foreground every ten groups are dealt out alike: of twenty groups or more
    in an order drawn anew for every ten, half of them for training; of fewer in one order, which
    every seed begins elsewhere.

    Raises:
        InputError: Fewer than two of the validation groups have foreground.
    """
    groups = sorted({s.group for s in samples})
    fraction = {g: np.mean([_fraction(s) for s in samples if s.group == g]) for g in groups}
    groups.sort(key=lambda group: -fraction[group])
    rng = np.random.default_rng(seed)
    many = len(groups) >= _MANY_GROUPS
    roles = ""
    while len(roles) < len(groups):
        roles += "".join(rng.permutation(list(_MANY)) if many else np.roll(list(_FEW), seed))
    role = dict(zip(groups, roles, strict=False))
    validating = [g for g in groups if role[g] == "V" and fraction[g] > 0]
    if len(validating) < _MIN_VALIDATION:
        raise InputError(
            f"Of {len(groups)} groups the validation groups with foreground are {validating}; "
            "give a source of which at least two are."
        )
    parts = [[s for s in samples if role[s.group] == letter] for letter in "TVSH"]
    return Split(*parts[:3], parts[3] if many else parts[2])


def target_of(config: Config, pair: Pair, seed: int) -> list[LabelledSample]:
    """Return a pair's target.

    Raises:
        InputError: It is of images without foreground, and there are fewer than eight.
    """
    samples = domain(config, pair.family, pair.target)
    if pair.part is not None:
        held = split(samples, seed).held
        if pair.part == "empty":
            samples = _without_foreground(held, family(config, pair.family))
        else:
            samples = _part(held, pair.part)
    return evenly(samples, config.max_images)


def _part(samples: list[LabelledSample], part: str) -> list[LabelledSample]:
    if part == "all":
        return samples
    ranked = sorted(samples, key=lambda s: (_fraction(s), s.id), reverse=part == "most")
    chosen = {s.id for s in ranked[: max(_MIN_IMAGES, len(samples) // 3)]}
    return [s for s in samples if s.id in chosen]


def _without_foreground(samples: list[LabelledSample], made: Family) -> list[LabelledSample]:
    images = [s for s in samples if _fraction(s) == 0]
    if len(images) < _MIN_IMAGES:
        images = [s for s in made.pieces(samples) if _fraction(s) == 0]
    if len(images) < _MIN_IMAGES:
        raise InputError(
            f"{len(images)} of the held-out images have no foreground; a target without any needs "
            f"at least {_MIN_IMAGES}."
        )
    return images


def _fraction(sample: LabelledSample) -> float:
    return float(np.mean(np.asarray(sample.mask)))
