"""The paper's selector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from pladapt.certainty import certainty_index, combine_classes
from pladapt.errors import InputError
from pladapt.ranking import RankingSelector, rank

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pladapt.certainty import Combination
    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True, kw_only=True)
class CertaintyIndexSelector(RankingSelector):
    """Keep the predictions that are surest of their foreground (Eq. 1 and section II).

    A sample is dropped by ``min_pixels`` where no class has that many pixels above the cut-off, by
    ``ci_limit`` where its score is below the limit, and by ``top_k`` beyond the number kept.

    Args:
        cutoff: The probability above which, strictly, a pixel counts and is labelled; in (0, 1).
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        ci_limit: The lowest CI that is kept, in [0, 1]; None for no limit.
        top_k: How many samples are kept at the most; None for no end.
        combination: How several classes make one score; see `pladapt.combine_classes`.

    Raises:
        InputError: A parameter outside its range.
    """

    min_pixels: int = 50
    ci_limit: float | None = None
    combination: Combination = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None:
            raise InputError("The limit of a certainty index is called ci_limit; leave out limit.")
        if self.min_pixels < 0:
            raise InputError(f"min_pixels is {self.min_pixels}; it must not be negative.")
        if self.ci_limit is not None and not 0 <= self.ci_limit <= 1:
            raise InputError(f"ci_limit is {self.ci_limit}; a CI lies in [0, 1].")

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return ``score``, ``pixels`` (N of the largest class), and each class's CI and N."""
        ci, pixels = certainty_index(prediction.probabilities, self.cutoff)
        xp = array_namespace(ci)
        columns = {
            "score": combine_classes(
                ci, pixels, rule=self.combination, min_pixels=self._presence(ci.shape[1])
            ),
            "pixels": xp.max(pixels, axis=1),
        }
        if ci.shape[1] > 1:
            for index in range(ci.shape[1]):
                columns[f"ci_{index + 1}"] = ci[:, index]
                columns[f"pixels_{index + 1}"] = pixels[:, index]
        return columns

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply ``min_pixels``, ``ci_limit`` and ``top_k``, in this order."""
        return rank(
            scores,
            min_pixels=self.min_pixels,
            limit=self.ci_limit,
            limit_name="ci_limit",
            top_k=self.top_k,
        )

    def _presence(self, classes: int) -> int:
        # one class: the score is its CI, whatever the rule on pixels says of it later
        return 1 if classes == 1 else self.min_pixels
