"""Keeping labelled samples apart from the target, whose truth must not teach or decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pladapt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.types import LabelledSample, PseudoLabelled, Sample, Samples

Names: TypeAlias = "Sequence[tuple[str, str]]"
"""Each sample's id and group."""


def names_of(samples: Samples[Sample | LabelledSample | PseudoLabelled]) -> Names:
    """Return each sample's id and group; every sample is read once."""
    return [(sample.id, sample.group) for sample in (samples[i] for i in range(len(samples)))]


def check_leakage(target: Names, labelled: Names, role: str) -> None:
    """Refuse labelled samples that the target has as well.

    Args:
        target: The target samples' ids and groups.
        labelled: Those of the labelled samples.
        role: What the labelled samples are for.

    Raises:
        InputError: The two share an id or a group.
    """
    for kind, place in (("id", 0), ("group", 1)):
        shared = {name[place] for name in target} & {name[place] for name in labelled}
        if shared:
            raise InputError(
                f"{len(shared)} target samples' {kind}s are also in {role!r}, first "
                f"{min(shared)!r}. Labelled samples of the target must not teach or choose; give "
                f"source samples, and name the {kind}s of source and target apart."
            )
