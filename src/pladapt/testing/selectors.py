"""What every selector promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pladapt.functional.arrays import to_numpy
from pladapt.selection.labelling import pseudo_labels, soft
from pladapt.storage import read_table, write_table
from pladapt.testing.checks import (
    check_description,
    fresh,
    part,
    require,
    same,
    some_prediction,
)
from pladapt.types import IGNORE, Selection
from pladapt.typing import Selector

if TYPE_CHECKING:
    from pathlib import Path

    from pladapt.types import Prediction

_RESERVED: Final = {"id", "group", "sha256"}


class SelectorContract:
    """What every `pladapt.typing.Selector` promises.

    Fixtures to override: ``selector``; and ``prediction`` where the selector cannot take planes and
    volumes of one class and of several.
    """

    tolerance: ClassVar[float] = 1e-6
    """How far a score may move with the batch that it is computed in."""

    @pytest.fixture
    def selector(self) -> Selector:
        """Make the selector under test."""
        raise NotImplementedError("Override the fixture 'selector' with the part under test.")

    @pytest.fixture(
        params=[(6, 1, 16, 16), (6, 3, 16, 16), (6, 1, 6, 12, 12), (6, 4, 6, 12, 12)],
        ids=["plane", "plane-classes", "volume", "volume-classes"],
    )
    def prediction(self, request: pytest.FixtureRequest) -> Prediction:
        """Make a prediction of six samples: one of nothing, one of certainty, four between."""
        return some_prediction(request.param)

    @pytest.fixture
    def scores(self, selector: Selector, prediction: Prediction) -> pa.Table:
        """Score the prediction, as `pladapt.adapt` hands it to ``select``."""
        return self.scores_of(selector, prediction)

    def scores_of(self, selector: Selector, prediction: Prediction) -> pa.Table:
        """Return the table of a prediction's scores."""
        columns = {name: to_numpy(value) for name, value in selector.score(prediction).items()}
        keys: dict[str, Any] = {
            "id": list(prediction.ids),
            "group": [f"p{index // 2}" for index in range(len(prediction.ids))],
            "sha256": [f"{index:064x}" for index in range(len(prediction.ids))],
        }
        return pa.table(keys | columns)

    def test_it_has_the_methods_of_a_selector(self, selector: Selector) -> None:
        """It has ``score``, ``select`` and ``label``."""
        require(isinstance(selector, Selector), "A selector has score, select and label.")

    def test_it_describes_itself_the_same_each_time(self, selector: Selector) -> None:
        """The manifest of a run can tell it from another."""
        check_description(selector)

    def test_the_score_is_a_column(self, selector: Selector, prediction: Prediction) -> None:
        """``score`` returns columns of length ``B``, ``score`` among them."""
        columns = selector.score(prediction)
        require(isinstance(columns, Mapping), f"score returned a {type(columns).__name__}.")
        require("score" in columns, f"score returned {list(columns)} without 'score'.")
        require(
            not columns.keys() & _RESERVED, f"score returned {list(columns)}; {_RESERVED} are taken"
        )
        for name, column in columns.items():
            shape = to_numpy(column).shape
            require(
                shape == (len(prediction.ids),),
                f"The column {name!r} has shape {shape} for {len(prediction.ids)} samples.",
            )

    def test_a_score_is_a_number_or_nan(self, selector: Selector, prediction: Prediction) -> None:
        """A score is a finite number, or NaN where it cannot be computed."""
        score = to_numpy(selector.score(prediction)["score"])
        require(score.dtype.kind in "fiu", f"The score has dtype {score.dtype}.")
        require(not np.isinf(score).any(), f"The score is infinite somewhere: {score}.")

    def test_the_commands_find_the_pixels(self, selector: Selector, prediction: Prediction) -> None:
        """``score`` returns ``pixels``, whole numbers, for ``min_pixels`` and ``spread``."""
        columns = selector.score(prediction)
        require(
            "pixels" in columns,
            f"score returned {list(columns)} without 'pixels', how many are above the cut-off; "
            "`pladapt select --min-pixels` and the report need it.",
        )
        pixels = to_numpy(columns["pixels"])
        require(pixels.dtype.kind in "iu", f"The column 'pixels' has dtype {pixels.dtype}.")
        most = np.prod(prediction.probabilities.shape[2:])
        require(
            bool(np.all((pixels >= 0) & (pixels <= most))),
            f"The column 'pixels' is {pixels}; expected numbers from 0 to {most}.",
        )

    def test_a_score_does_not_depend_on_the_batch(
        self, selector: Selector, prediction: Prediction
    ) -> None:
        """A sample's columns are the same alone and in company."""
        together = selector.score(prediction)
        for index in range(len(prediction.ids)):
            for name, column in selector.score(part(prediction, index)).items():
                what = f"{name!r} of sample {index} depends on the other samples of its batch"
                same(column, to_numpy(together[name])[index : index + 1], what, self.tolerance)

    def test_it_leaves_the_prediction_unchanged(
        self, selector: Selector, prediction: Prediction
    ) -> None:
        """Neither ``score`` nor ``label`` writes into the probabilities."""
        before = to_numpy(prediction.probabilities).copy()
        selector.score(prediction)
        selector.label(prediction)
        same(prediction.probabilities, before, "the probabilities were written into", 0)

    def test_a_selection_has_a_row_for_each_sample(
        self, selector: Selector, scores: pa.Table
    ) -> None:
        """``select`` answers for every sample, in the order of the scores."""
        selection = selector.select(scores)
        require(isinstance(selection, Selection), f"select returned a {type(selection).__name__}.")
        require(
            selection.table["id"].equals(scores["id"]),
            "select returned other ids than the scores', or in another order.",
        )

    def test_a_sample_is_ranked_or_dropped_by_a_rule(
        self, selector: Selector, scores: pa.Table
    ) -> None:
        """A kept sample has a rank and no rule, a dropped one a rule and no rank."""
        table = selector.select(scores).table
        ranked, ruled = pc.is_valid(table["rank"]), pc.is_valid(table["rule"])
        require(
            pc.all(pc.xor(ranked, ruled)).as_py(),
            f"Each sample needs either a rank or a rule: {table.to_pylist()}.",
        )
        ranks = sorted(table["rank"].drop_null().to_pylist())
        require(ranks == list(range(1, len(ranks) + 1)), f"The ranks do not count from 1: {ranks}.")

    def test_the_order_of_the_samples_does_not_matter(
        self, selector: Selector, scores: pa.Table
    ) -> None:
        """The same samples are kept, in the same order of rank."""
        kept = selector.select(scores).kept
        turned = selector.select(scores.take(list(reversed(range(len(scores)))))).kept
        require(kept == turned, f"Kept {kept}, and {turned} from the same scores turned round.")

    def test_a_score_that_cannot_be_computed_is_not_kept(
        self, selector: Selector, scores: pa.Table
    ) -> None:
        """A sample whose score is NaN is dropped."""
        place = scores.column_names.index("score")
        undefined = pa.array(np.full(len(scores), np.nan))
        selection = selector.select(scores.set_column(place, "score", undefined))
        require(selection.kept == (), f"Kept {selection.kept}, whose scores are NaN.")

    def test_a_run_that_goes_on_selects_and_labels_alike(
        self, selector: Selector, prediction: Prediction, tmp_path: Path
    ) -> None:
        """Nothing that ``score`` learnt is missing from the stored table of scores."""
        other = fresh(selector)
        scores = self.scores_of(selector, prediction)
        write_table(scores, tmp_path / "scores.parquet")
        kept = selector.select(scores).kept
        resumed = other.select(read_table(tmp_path / "scores.parquet")).kept
        require(
            kept == resumed,
            f"Kept {kept}, and in a run that goes on with the stored scores {resumed}: select "
            "needs what score did not return.",
        )
        labels, again = soft(selector.label(prediction)), soft(other.label(prediction))
        what = "in a run that goes on the labels differ: label needs what another call has left"
        same(labels.label, again.label, what)

    def test_labels_are_classes_or_ignored(
        self, selector: Selector, prediction: Prediction
    ) -> None:
        """``label`` returns ``(B, *S)`` uint8: a class of the prediction, or 255."""
        labels = to_numpy(soft(selector.label(prediction)).label)
        shape = prediction.probabilities.shape
        expected = (shape[0], *shape[2:])
        require(
            labels.dtype == np.uint8 and labels.shape == expected,
            f"label returned {labels.dtype} of shape {labels.shape}; expected uint8 of {expected}.",
        )
        classes = max(2, shape[1])
        strange = sorted(set(np.unique(labels).tolist()) - {*range(classes), IGNORE})
        require(not strange, f"label returned {strange}; expected 0 to {classes - 1}, or {IGNORE}")

    def test_a_label_does_not_depend_on_the_batch(
        self, selector: Selector, prediction: Prediction
    ) -> None:
        """A sample's label is the same alone and in company, and fit to be stored."""
        together = dict(pseudo_labels(selector, prediction))
        for index, id_ in enumerate(prediction.ids):
            alone = dict(pseudo_labels(selector, part(prediction, index)))[id_]
            for name, array in alone.items():
                what = f"the {name} of sample {index} depends on the other samples of its batch"
                same(array, together[id_][name], what, 0 if name == "label" else self.tolerance)
