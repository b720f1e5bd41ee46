"""Pseudo-labels without small connected components."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from array_api_compat import array_namespace, device

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.selection.labelling import Labelling, soft
from pladapt.types import IGNORE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pladapt.selection.labelling import Labeller
    from pladapt.types import Prediction, SoftLabels


@dataclass(frozen=True, kw_only=True)
class WithoutSmallComponents:
    """Label as another part does, without the small components; for `pladapt.compose`.

    A component is a set of pixels of one class that touch at least at a corner.

    Args:
        labeller: Makes the labels: a `pladapt.selection.Labelling`, or the ``label`` of a selector.
        min_pixels: The fewest pixels of a component that stays.
        becomes: What the others become: 0, the background, or 255, pixels to ignore.

    Raises:
        InputError: A parameter outside its range.
    """

    labeller: Labeller = field(default_factory=Labelling)
    min_pixels: int = 10
    becomes: Literal[0, 255] = 0

    def __post_init__(self) -> None:
        if self.min_pixels < 1:
            raise InputError(f"min_pixels is {self.min_pixels}; it must be at least 1.")
        if self.becomes not in (0, IGNORE):
            raise InputError(f"becomes is {self.becomes}; give 0 (background) or 255 (ignored).")

    def __call__(self, prediction: Prediction, /) -> SoftLabels:
        """Return the labels ``(B, *S)`` as uint8, on the device where they were made."""
        made = soft(self.labeller(prediction))
        cleaned = np.stack([self._cleaned(label) for label in to_numpy(made.label)])
        array = array_namespace(made.label).asarray(cleaned, device=device(made.label))
        return replace(made, label=array)

    def _cleaned(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from scipy import ndimage  # noqa: PLC0415 - slow to import

        cleaned = label.copy()
        touching = np.ones((3,) * label.ndim)
        for class_ in set(np.unique(label).tolist()) - {0, IGNORE}:
            components, _ = ndimage.label(label == class_, touching)
            small = np.bincount(components.reshape(-1)) < self.min_pixels
            small[0] = False  # what is not of the class
            cleaned[small[components]] = self.becomes
        return cleaned
