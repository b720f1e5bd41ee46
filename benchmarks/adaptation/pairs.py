"""The study's pairs: which source model is adapted to which images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Pair(NamedTuple):
    """A source and a target.

    Args:
        family: Where both come from, a key of `domains.FAMILIES`.
        source: The source's name within the family.
        target: The target's.
        part: Which of the source's own held-out images are the target, a key of `PARTS`; None
            where the target is another domain.
    """

    family: str
    source: str
    target: str
    part: str | None = None


SHIFTS: Final = {
    "A-to-C": Pair("ct", "A", "C"),
    "C-to-A": Pair("ct", "C", "A"),
    "phantoms": Pair("phantoms", "A", "B"),
    "ultrasound": Pair("ultrasound", "source", "target"),
    "fluo256-to-fluo-other": Pair("nuclei", "fluo256", "fluo-other"),
    "fluo-other-to-fluo256": Pair("nuclei", "fluo-other", "fluo256"),
    "fluo256-to-purple": Pair("nuclei", "fluo256", "purple"),
    "fluo256-to-grey": Pair("nuclei", "fluo256", "grey"),
    "deepcrack-to-crack500": Pair("crack", "deepcrack", "crack500"),
    "crack500-to-deepcrack": Pair("crack", "crack500", "deepcrack"),
    "deepcrack-to-crackforest": Pair("crack", "deepcrack", "crackforest"),
    "crack500-to-rissbilder": Pair("crack", "crack500", "rissbilder"),
}
"""The pairs of two domains."""

PARTS: Final[Mapping[str, str]] = {
    "all": "all of them",
    "most": "the third with most foreground",
    "least": "the third with least foreground",
    "empty": "images without foreground, or quarters of them",
}
"""Which of a source's own held-out images are a target without a shift, and in words."""

NO_SHIFT: Final = {
    f"{pair.family}-{pair.source}-{part}": Pair(pair.family, pair.source, pair.source, part)
    for pair in dict.fromkeys(Pair(p.family, p.source, p.source) for p in SHIFTS.values())
    for part in PARTS
}
"""The pairs without a shift: every source model on images of its own source."""

PAIRS: Final = SHIFTS | NO_SHIFT
"""All pairs, by name."""
