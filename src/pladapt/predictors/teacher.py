"""Teachers that are not what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from pladapt.predictors.averaging import ViewPredictor, members_of, of_groups
from pladapt.predictors.inference import average

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pladapt.protocols import Predictor
    from pladapt.types import Array


@dataclass(frozen=True, eq=False)
class TeacherPredictor(ViewPredictor):
    """Predicts as a teacher, and holds the student that is to be trained.

    A retrainer trains what is inside; the trained student is then its own teacher.

    Args:
        predictor: The student, which has a module to train.
        teacher: Whose predictions these are: an ensemble, say, that no retrainer could train.
    """

    teacher: Predictor

    def predict_members(self, images: Array, /) -> Array:
        """Map images ``(B, C, *S)`` to the teacher's probabilities ``(M, B, K, *S)``."""
        return members_of(self.teacher, images)

    def average(self, members: Array, /) -> Array:
        """Return what the teacher makes of its members, ``(B, K, *S)``."""
        return average(self.teacher, members)

    def for_groups(self, groups: Sequence[str], /) -> Self:
        """Return the same with the teacher of a batch of these groups."""
        return replace(self, teacher=of_groups(self.teacher, groups))

    def with_predictor(self, predictor: Predictor, /) -> Self:
        """Return the student that predicts for itself."""
        return replace(self, predictor=predictor, teacher=predictor)
