"""What every recalibrator promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from pladapt.data.views import Subset
from pladapt.functional.arrays import to_numpy
from pladapt.storage import read_table, write_table
from pladapt.testing.checks import Sigmoid, check_description, require, same, some_images
from pladapt.types import Sample
from pladapt.typing import Predictor, Recalibration, Recalibrator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.types import Array


class RecalibratorContract:
    """What every `pladapt.typing.Recalibrator` promises.

    Fixtures to override: ``recalibrator``; and ``predictor`` and ``target`` where it takes another
    predictor or other images.
    """

    tolerance: ClassVar[float] = 0.0
    """How far a probability may move where the predictor is to be the same."""

    @pytest.fixture
    def recalibrator(self) -> Recalibrator:
        """Make the recalibrator under test."""
        raise NotImplementedError("Override the fixture 'recalibrator' with the part under test.")

    @pytest.fixture
    def predictor(self) -> Predictor:
        """Make a predictor to recalibrate."""
        return Sigmoid()

    @pytest.fixture
    def target(self) -> Sequence[Sample]:
        """Make six unlabelled samples of three groups, with images ``(1, 32, 32)``."""
        images = some_images((6, 1, 32, 32))
        return [Sample(f"t{i}", f"g{i // 2}", image) for i, image in enumerate(images)]

    def test_it_has_the_method_of_a_recalibrator(self, recalibrator: Recalibrator) -> None:
        """It has ``recalibrate``."""
        require(isinstance(recalibrator, Recalibrator), "A recalibrator has recalibrate.")

    def test_it_describes_itself_the_same_each_time(self, recalibrator: Recalibrator) -> None:
        """The manifest of a run can tell it from another."""
        check_description(recalibrator)

    def test_it_returns_a_predictor_with_evidence(
        self, recalibrator: Recalibrator, predictor: Predictor, target: Sequence[Sample]
    ) -> None:
        """The new predictor predicts the old one's shape, and the evidence has at least a row."""
        made = recalibrator.recalibrate(predictor, target)
        require(
            isinstance(made, Recalibration)
            and isinstance(made.teacher, Predictor)
            and isinstance(made.student, Predictor),
            f"recalibrate returned a {type(made).__name__}; expected a Recalibration with a "
            "teacher and a student.",
        )
        require(
            isinstance(made.evidence, pa.Table) and len(made.evidence) > 0,
            f"The evidence is {made.evidence!r}; expected a table of at least a row.",
        )
        before, after = (p.predict(_images(target)).shape for p in (predictor, made.teacher))
        require(
            tuple(before) == tuple(after),
            f"The new predictor predicts {tuple(after)} where the given one predicts "
            f"{tuple(before)}.",
        )

    def test_it_leaves_the_given_predictor_and_the_target_unchanged(
        self, recalibrator: Recalibrator, predictor: Predictor, target: Sequence[Sample]
    ) -> None:
        """What goes in predicts the same as before, and no image is written into."""
        images = _images(target)
        before = to_numpy(predictor.predict(images)).copy()
        recalibrator.recalibrate(predictor, target)
        same(_images(target), images, "an image of the target was written into")
        what = "the predictor that was given has changed"
        same(predictor.predict(images), before, what, self.tolerance)

    def test_it_makes_the_same_again_and_in_any_order(
        self, recalibrator: Recalibrator, predictor: Predictor, target: Sequence[Sample]
    ) -> None:
        """A run that goes on makes it again, and the order of the samples does not matter."""
        images = _images(target)
        turned = Subset(target, np.random.default_rng(0).permutation(len(target)).tolist())
        first = recalibrator.recalibrate(predictor, target)
        for samples, how in ((target, "again"), (turned, "with the samples in another order")):
            other = recalibrator.recalibrate(predictor, samples)
            same(
                other.teacher.predict(images),
                first.teacher.predict(images),
                f"recalibrate makes another predictor {how}",
                self.tolerance,
            )
            require(_told(other) == _told(first), f"The evidence is another one {how}.")

    def test_a_run_folder_keeps_its_evidence(
        self,
        recalibrator: Recalibrator,
        predictor: Predictor,
        target: Sequence[Sample],
        tmp_path: Path,
    ) -> None:
        """The evidence is read from a run folder as it was written."""
        evidence = recalibrator.recalibrate(predictor, target).evidence
        write_table(evidence, tmp_path / "evidence.parquet")
        read = read_table(tmp_path / "evidence.parquet")
        require(
            read.schema.equals(evidence.schema)
            and repr(read.to_pylist()) == repr(evidence.to_pylist()),
            f"{evidence} comes back from the disk as {read}.",
        )


def _images(target: Sequence[Sample]) -> Array:
    return np.stack([to_numpy(target[index].image) for index in range(len(target))])


def _told(made: Recalibration) -> str:
    """Return what the evidence says, NaN equal to itself."""
    return repr(made.evidence.to_pylist())
