"""What every gate promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pladapt.data.views import Subset
from pladapt.runs.stages import read_judgement, write_judgement
from pladapt.testing.checks import Sigmoid, check_description, require, some_images
from pladapt.types import EVIDENCE, Judgement, Sample
from pladapt.typing import Gate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pladapt.typing import Predictor


class GateContract:
    """What every `pladapt.typing.Gate` promises.

    Fixtures to override: ``gate``; and ``before``, ``after`` and ``target`` where it takes other
    predictors or images.
    """

    @pytest.fixture
    def gate(self) -> Gate:
        """Make the gate under test."""
        raise NotImplementedError("Override the fixture 'gate' with the part under test.")

    @pytest.fixture
    def before(self) -> Predictor:
        """Make the predictor before the round."""
        return Sigmoid()

    @pytest.fixture
    def after(self) -> Predictor:
        """Make the predictor after it."""
        return Sigmoid(0.1)

    @pytest.fixture
    def target(self) -> Sequence[Sample]:
        """Make six unlabelled samples of three groups, with images ``(1, 32, 32)``."""
        images = some_images((6, 1, 32, 32))
        return [Sample(f"t{i}", f"g{i // 2}", image) for i, image in enumerate(images)]

    def test_it_has_the_method_of_a_gate(self, gate: Gate) -> None:
        """It has ``judge``."""
        require(isinstance(gate, Gate), "A gate has judge.")

    def test_it_describes_itself_the_same_each_time(self, gate: Gate) -> None:
        """The manifest of a run can tell it from another."""
        check_description(gate)

    def test_it_returns_a_judgement_with_evidence(
        self, gate: Gate, before: Predictor, after: Predictor, target: Sequence[Sample]
    ) -> None:
        """The evidence has at least a row, and a refusal a row that did not pass."""
        judgement = gate.judge(before, after, target)
        require(isinstance(judgement, Judgement), f"judge returned a {type(judgement).__name__}.")
        require(len(judgement.evidence) > 0, "The evidence has no row.")
        require(
            judgement.accepted == all(judgement.evidence["passed"].to_pylist()),
            f"accepted is {judgement.accepted}, and the evidence says "
            f"{judgement.evidence['passed'].to_pylist()}.",
        )

    def test_what_changed_nothing_is_accepted(
        self, gate: Gate, before: Predictor, target: Sequence[Sample]
    ) -> None:
        """A predictor does no harm in its own place."""
        judgement = gate.judge(before, before, target)
        require(judgement.accepted, f"Refused the predictor itself: {judgement.reasons}.")

    def test_it_judges_the_same_again_and_in_any_order(
        self, gate: Gate, before: Predictor, after: Predictor, target: Sequence[Sample]
    ) -> None:
        """Judging changes nothing, and the order of the samples does not matter."""
        first = _told(gate.judge(before, after, target))
        require(first == _told(gate.judge(before, after, target)), "Judged otherwise again.")
        turned = Subset(target, np.random.default_rng(0).permutation(len(target)).tolist())
        require(
            first == _told(gate.judge(before, after, turned)),
            "Judged otherwise with the samples in another order.",
        )

    def test_a_run_folder_keeps_it(
        self,
        gate: Gate,
        before: Predictor,
        after: Predictor,
        target: Sequence[Sample],
        tmp_path: Path,
    ) -> None:
        """A judgement is read from a run folder as it was written."""
        judgement = gate.judge(before, after, target)
        write_judgement([judgement], tmp_path / "judgement")
        read = read_judgement(tmp_path / "judgement")
        require(
            _told(read) == _told(judgement) and read.evidence.schema.equals(EVIDENCE),
            f"{_told(judgement)} comes back from the disk as {_told(read)}.",
        )


def _told(judgement: Judgement) -> tuple[object, ...]:
    """Return what a judgement says, NaN equal to itself."""
    return judgement.accepted, judgement.reasons, repr(judgement.evidence.to_pylist())
