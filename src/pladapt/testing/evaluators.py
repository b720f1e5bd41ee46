"""What every evaluator promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest

from pladapt.runs.stages import read_evaluation, write_evaluation
from pladapt.testing.checks import check_description, require
from pladapt.types import Evaluation
from pladapt.typing import Evaluator

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.typing import Predictor


_SUMMARY: Final = {
    "aggregation": pa.string(),
    "class": pa.int64(),
    "metric": pa.string(),
    "mean": pa.float64(),
    "std": pa.float64(),
    "count": pa.int64(),
}


class EvaluatorContract:
    """What every `pladapt.typing.Evaluator` promises.

    Fixtures to override: ``evaluator``, bound to labelled samples; and ``predictor``, one that can
    predict them.
    """

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """Make the evaluator under test."""
        raise NotImplementedError("Override the fixture 'evaluator' with the part under test.")

    @pytest.fixture
    def predictor(self) -> Predictor:
        """Make a predictor for the samples that the evaluator is bound to."""
        raise NotImplementedError("Override the fixture 'predictor' with one to evaluate.")

    def test_it_has_the_method_of_an_evaluator(self, evaluator: Evaluator) -> None:
        """It has ``evaluate``."""
        require(isinstance(evaluator, Evaluator), "An evaluator has evaluate.")

    def test_it_describes_itself_the_same_each_time(self, evaluator: Evaluator) -> None:
        """The manifest of a run can tell it from another."""
        check_description(evaluator)

    def test_it_returns_rows_per_sample(self, evaluator: Evaluator, predictor: Predictor) -> None:
        """``samples`` has at least ``id`` and ``group``."""
        evaluation = evaluator.evaluate(predictor)
        require(
            isinstance(evaluation, Evaluation), f"evaluate returned a {type(evaluation).__name__}."
        )
        names = evaluation.samples.column_names
        require({"id", "group"} <= set(names), f"The samples' columns are {names}: no id or group")
        for name in ("id", "group"):
            type_ = evaluation.samples.schema.field(name).type
            require(
                type_ == pa.string(), f"The samples' {name} is of type {type_}; expected string."
            )
        require(len(evaluation.samples) > 0, "The evaluation has no sample.")

    def test_it_summarises_by_named_aggregations(
        self, evaluator: Evaluator, predictor: Predictor
    ) -> None:
        """``summary`` has a row per aggregation, class and metric."""
        summary = evaluator.evaluate(predictor).summary
        require(
            _SUMMARY.items() <= {field.name: field.type for field in summary.schema}.items(),
            "The summary's columns are "
            f"{ {field.name: str(field.type) for field in summary.schema} }; expected "
            f"{ {name: str(type_) for name, type_ in _SUMMARY.items()} }.",
        )
        keys = [(row["aggregation"], row["class"], row["metric"]) for row in summary.to_pylist()]
        require(len(set(keys)) == len(keys), f"A row of the summary stands twice: {keys}.")
        strange = {aggregation for aggregation, *_ in keys} - {"sample", "group", "pooled"}
        require(not strange, f"The summary has aggregations that nobody knows: {strange}.")

    def test_it_measures_the_same_again(self, evaluator: Evaluator, predictor: Predictor) -> None:
        """Evaluating changes neither the predictor nor the evaluator."""
        one, other = (evaluator.evaluate(predictor) for _ in range(2))
        for name in ("samples", "summary"):
            first, second = getattr(one, name).to_pydict(), getattr(other, name).to_pydict()
            require(repr(first) == repr(second), f"The {name} differ when measured again.")

    def test_a_run_folder_keeps_it(
        self, evaluator: Evaluator, predictor: Predictor, tmp_path: Path
    ) -> None:
        """An evaluation is read from a run folder as it was written."""
        evaluation = evaluator.evaluate(predictor)
        write_evaluation(evaluation, tmp_path / "evaluation")
        read = read_evaluation(tmp_path / "evaluation")
        for name in ("samples", "summary"):
            require(
                getattr(read, name).schema.equals(getattr(evaluation, name).schema),
                f"The {name} come back from the disk with other columns.",
            )
        require(
            read.notes == dict(evaluation.notes),
            f"The notes {evaluation.notes} come back as {read.notes}; give names and texts.",
        )
