"""A base for selectors that score each class of a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from array_api_compat import array_namespace

from pladapt.errors import InputError
from pladapt.functional.arrays import to_numpy
from pladapt.types import Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from pladapt.protocols import Selector
    from pladapt.types import Array, Sample


from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from pladapt.functional.certainty import Combination, combine_classes
from pladapt.selection.ranking import RankingSelector, rank

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pladapt.types import Array, Prediction, Selection


@dataclass(frozen=True, kw_only=True)
class ClassSelector(RankingSelector):
    """A base for selectors that score each class: a subclass writes ``score_classes`` alone.

    A sample is dropped by ``min_pixels`` where no class has that many pixels, by ``undefined``
    where its score is NaN, by ``limit`` where it is lower, and by ``top_k`` beyond the number kept.

    Args:
        cutoff: The probability above which, strictly, a pixel counts and is labelled; in (0, 1).
        limit: The lowest score that is kept; None for no limit.
        top_k: How many samples are kept at the most; None for no end.
        min_pixels: The fewest pixels above the cut-off; 50 in the paper, for 512 x 512 pixels.
        combination: How several classes make one score; see `pladapt.combine_classes`.

    Raises:
        InputError: A parameter outside its range.
    """

    min_pixels: int = 50
    combination: Combination = "mean"

    column: ClassVar[str] = "score"
    """What the classes' own columns are called, before an underscore and the class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_pixels < 0:
            raise InputError(f"min_pixels is {self.min_pixels}; it must not be negative.")
        if self.combination not in get_args(Combination):
            raise InputError(
                f"No combination rule {self.combination!r}; expected one of "
                f"{get_args(Combination)}."
            )

    @abstractmethod
    def score_classes(self, prediction: Prediction, /) -> tuple[Array, Array]:
        """Return each class's score ``(B, F)``, higher for a surer one, and its pixels ``(B, F)``.

        A score is NaN where it cannot be computed. The pixels are integers.
        """

    def score(self, prediction: Prediction, /) -> Mapping[str, Array]:
        """Return ``score``, ``pixels`` (of the largest class), and each class's of several."""
        scores, pixels = self.score_classes(prediction)
        xp = array_namespace(scores)
        columns = {
            "score": combine_classes(
                scores, pixels, rule=self.combination, min_pixels=self._presence(scores.shape[1])
            ),
            "pixels": xp.max(pixels, axis=1),
        }
        if scores.shape[1] > 1:
            for index in range(scores.shape[1]):
                columns[f"{self.column}_{index + 1}"] = scores[:, index]
                columns[f"pixels_{index + 1}"] = pixels[:, index]
        return columns

    def select(self, scores: pa.Table, /) -> Selection:
        """Apply ``min_pixels``, ``limit`` and ``top_k``, in this order."""
        return rank(scores, min_pixels=self.min_pixels, limit=self.limit, top_k=self.top_k)

    def _presence(self, classes: int) -> int:
        # one class: the score is its own, whatever the rule on pixels says of it later
        return 1 if classes == 1 else self.min_pixels


def score(selector: Selector, batch: Sequence[Sample], prediction: Prediction) -> pa.Table:
    """Score a batch's prediction: ``id``, ``group`` and the selector's columns.

    Raises:
        InputError: The probabilities are none, or the selector returned other columns than
            `pladapt.Selector` asks for.
    """
    try:
        scored = selector.score(prediction)
    except InputError as error:
        error.add_note(f"The batch holds {', '.join(prediction.ids)}.")
        raise
    columns = {name: to_numpy(column) for name, column in scored.items()}
    _check_columns(selector, columns, len(batch))
    keys: dict[str, Any] = {
        "id": pa.array([sample.id for sample in batch], pa.string()),
        "group": pa.array([sample.group for sample in batch], pa.string()),
    }
    return pa.table(keys | columns)


def _check_columns(selector: Selector, columns: Mapping[str, NDArray[Any]], size: int) -> None:
    returned = f"{type(selector).__name__}.score returned"
    for name, column in columns.items():
        if column.shape != (size,):
            raise InputError(
                f"{returned} {name!r} of shape {column.shape} for {size} samples; expected "
                f"({size},)."
            )
    if "score" not in columns or columns.keys() & {"id", "group", "sha256"}:
        raise InputError(
            f"{returned} {list(columns)}; expected 'score', and not 'id', 'group' or 'sha256'."
        )
