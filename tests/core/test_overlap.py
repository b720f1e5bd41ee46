from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pladapt import InputError, LabelledSample
from pladapt.evaluation import calibrate_cutoff
from pladapt.evaluation.evaluators import DetailEvaluator, OverlapEvaluator
from pladapt.functional.overlap import EMPTY_DSC, add_metrics, confusion, dsc, sen, spc, summarise

MASKS = hnp.array_shapes(min_dims=3, max_dims=4, max_side=5).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)),
        hnp.arrays(
            st.sampled_from([np.uint8, np.int16, np.int64]),
            shape,
            elements=st.sampled_from([0, 1, 2, 255]),
        ),
    )
)


@given(MASKS, st.integers(1, 2))
def test_counts_agree_with_a_loop_over_pixels(masks: tuple[Any, Any], class_: int) -> None:
    counts = confusion(*masks, class_)
    for row, predicted, truth in zip(counts.tolist(), *masks, strict=True):
        pairs = [
            (p == class_, t == class_)
            for p, t in zip(predicted.flat, truth.flat, strict=True)
            if t != 255
        ]
        assert row == [
            pairs.count(pair)
            for pair in [(True, True), (True, False), (False, True), (False, False)]
        ]


def test_the_metrics_of_one_table() -> None:
    assert dsc(6, 2, 4).item() == 12 / 18
    assert sen(6, 4).item() == 0.6
    assert spc(2, 18).item() == 0.9


def test_empty_masks_have_the_value_that_is_declared() -> None:
    assert dsc([0, 0, 0], [0, 3, 0], [0, 0, 3]).tolist() == [EMPTY_DSC, 0, 0]
    assert dsc(0, 0, 0, empty=0).item() == 0
    assert math.isnan(dsc(0, 0, 0, empty=math.nan).item())
    assert math.isnan(sen(0, 0).item())
    assert math.isnan(spc(0, 0).item())


def test_truth_that_is_ignored_throughout_counts_nothing() -> None:
    truth = np.full((1, 3, 3), 255, np.uint8)
    assert confusion(np.ones_like(truth), truth).tolist() == [[0, 0, 0, 0]]


def test_boolean_masks_count_too() -> None:
    truth = np.array([[[True, False], [True, False]]])
    predicted = np.array([[[1, 1], [0, 0]]], np.uint8)
    assert confusion(predicted, truth).tolist() == [[1, 1, 1, 1]]


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(2, 3, 3\) and the truth \(2, 3, 4\)"):
        confusion(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 4), np.uint8))


def counts_of(*rows: tuple[str, int, int, int, int]) -> pa.Table:
    groups, tp, fp, fn, tn = zip(*rows, strict=True)
    classes = [1] * len(rows)
    return pa.table({"group": groups, "class": classes, "tp": tp, "fp": fp, "fn": fn, "tn": tn})


def test_the_three_aggregations_worked_by_hand() -> None:
    # one large and two small slices of a patient, one empty slice of another
    table = counts_of(
        ("p", 6, 2, 2, 10), ("p", 1, 0, 3, 16), ("p", 2, 2, 0, 16), ("q", 0, 0, 0, 20)
    )
    rows = {
        (row["aggregation"], row["metric"]): (row["mean"], row["std"], row["count"])
        for row in summarise(table).to_pylist()
    }
    slices = [12 / 16, 2 / 5, 4 / 6, 1.0]
    patients = [18 / (18 + 4 + 5), 1.0]  # TP 9, FP 4, FN 5
    expected = {
        ("sample", "dsc"): (np.mean(slices), np.std(slices), 4),
        ("sample", "sen"): (np.mean([0.75, 0.25, 1.0]), np.std([0.75, 0.25, 1.0]), 3),
        ("sample", "spc"): (np.mean([10 / 12, 1, 16 / 18, 1]), np.std([10 / 12, 1, 16 / 18, 1]), 4),
        ("group", "dsc"): (np.mean(patients), np.std(patients), 2),
        ("group", "sen"): (9 / 14, 0.0, 1),
        ("group", "spc"): (np.mean([42 / 46, 1]), np.std([42 / 46, 1]), 2),
        ("pooled", "dsc"): (18 / 27, None, 1),
        ("pooled", "sen"): (9 / 14, None, 1),
        ("pooled", "spc"): (62 / 66, None, 1),
    }
    assert rows.keys() == expected.keys()
    for key, (mean, std, count) in expected.items():
        assert rows[key] == (pytest.approx(mean), std and pytest.approx(std), count), key


def test_the_value_of_empty_masks_reaches_every_aggregation() -> None:
    table = counts_of(("p", 0, 0, 0, 4), ("q", 0, 0, 0, 4))
    for empty in (0.0, 1.0):
        rows = summarise(table, empty=empty).to_pylist()
        assert {row["mean"] for row in rows if row["metric"] == "dsc"} == {empty}


def test_a_metric_that_is_nowhere_defined_says_so() -> None:
    rows = summarise(counts_of(("p", 0, 1, 0, 3))).to_pylist()
    undefined = [row for row in rows if row["metric"] == "sen"]
    assert all(math.isnan(row["mean"]) and row["std"] is None for row in undefined)
    assert [row["count"] for row in undefined] == [0, 0, 0]


def test_classes_are_summarised_apart() -> None:
    table = pa.concat_tables(
        [
            counts_of(("p", 1, 0, 0, 3)),
            counts_of(("p", 0, 2, 2, 0)).set_column(1, "class", [[2]]),
        ]
    )
    rows = {
        (row["class"], row["aggregation"]): row["mean"]
        for row in summarise(table).to_pylist()
        if row["metric"] == "dsc"
    }
    assert rows == {(c, a): 2.0 - c for c in (1, 2) for a in ("sample", "group", "pooled")}


def test_metrics_are_added_as_columns() -> None:
    row = add_metrics(counts_of(("p", 6, 2, 4, 18))).to_pylist()[0]
    assert (row["dsc"], row["sen"], row["spc"]) == (12 / 18, 0.6, 0.9)


class AsGiven:
    """Predicts the image itself."""

    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


def labelled(name: str, group: str, image: Any, mask: Any) -> LabelledSample:
    return LabelledSample(name, group, np.asarray(image, float), np.asarray(mask, np.uint8))


def test_the_evaluator_measures_one_class() -> None:
    samples = [
        labelled("a", "p", [[[0.9, 0.9], [0.1, 0.4]]], [[1, 0], [0, 1]]),
        labelled("b", "p", [[[0.9, 0.5], [0.6, 0.1]]], [[1, 0], [1, 255]]),
        labelled("c", "q", [[[0.0, 0.0]]], [[0, 0]]),  # of another size
    ]
    evaluation = OverlapEvaluator(samples=samples).evaluate(AsGiven())
    rows = evaluation.samples.to_pylist()
    assert [(row["id"], row["group"], row["class"]) for row in rows] == [
        ("a", "p", 1),
        ("b", "p", 1),
        ("c", "q", 1),
    ]
    assert [[row[name] for name in ("tp", "fp", "fn", "tn")] for row in rows] == [
        [1, 1, 1, 1],
        [2, 0, 0, 1],
        [0, 0, 0, 2],
    ]
    assert evaluation.value("dsc") == 6 / 8
    assert evaluation.value("dsc", aggregation="sample") == pytest.approx((0.5 + 1 + 1) / 3)
    assert evaluation.value("dsc", aggregation="group") == pytest.approx((6 / 8 + 1) / 2)
    assert evaluation.notes["empty_dsc"] == "1"


def test_the_evaluator_measures_each_of_several_classes() -> None:
    image = np.zeros((3, 1, 4))
    image[[0, 1, 2, 2], 0, range(4)] = 0.9
    evaluation = OverlapEvaluator(
        samples=[labelled("a", "p", image, [[0, 1, 2, 1]])], cutoff=(0.5, 0.8)
    ).evaluate(AsGiven())
    assert evaluation.value("dsc", class_=1) == 2 / 3
    assert evaluation.value("dsc", class_=2) == 2 / 3
    assert evaluation.value("sen", class_=1) == 0.5
    assert evaluation.value("spc", class_=2) == pytest.approx(2 / 3)


def test_what_was_not_measured_is_refused_with_what_was() -> None:
    evaluation = OverlapEvaluator(samples=[labelled("a", "p", [[[1.0]]], [[1]])]).evaluate(
        AsGiven()
    )
    with pytest.raises(InputError, match=r"no 'hd95' of class 1.*'pooled', 1, 'dsc'"):
        evaluation.value("hd95")


def test_there_must_be_samples_to_evaluate_on() -> None:
    with pytest.raises(InputError, match="no samples to evaluate on"):
        OverlapEvaluator(samples=[])


def test_image_and_mask_must_have_one_shape() -> None:
    with pytest.raises(InputError, match=r"'a' has an image of shape \(1, 2, 2\) and a mask"):
        labelled("a", "p", np.zeros((1, 2, 2)), np.zeros((2, 3)))


def with_masks(values: list[int]) -> list[LabelledSample]:
    """Make samples whose left halves have a value."""
    made = []
    for number, value in enumerate(values):
        mask = np.zeros((4, 4), np.uint8)
        mask[:, :2] = value
        image = (mask > 0)[None].astype(np.float32)
        made.append(LabelledSample(f"s{number}", f"g{number}", image, mask))
    return made


class Bright:
    def predict(self, images: Any, /) -> Any:
        return images


def test_masks_with_values_that_are_no_class_are_not_measured() -> None:
    samples, said = with_masks([1, 3]), r"'s1' has the value 3; the predictor's classes are 0 to 1"
    for kind in (OverlapEvaluator, DetailEvaluator):
        found = kind(samples=samples).evaluate(Bright())
        assert re.search(said, found.notes["left out"])
        assert found.samples["id"].to_pylist() == ["s0"]
        with pytest.raises(InputError, match="has the value 3"):
            kind(samples=with_masks([3, 3, 3, 3])).evaluate(Bright())
    with pytest.raises(InputError, match=said):
        calibrate_cutoff(Bright(), samples)


def test_masks_of_0_and_255_alone_are_told_of() -> None:
    """255 is for pixels to leave out; who exports pictures means foreground by it."""
    samples = with_masks([255, 255, 0])
    with pytest.warns(UserWarning, match="give masks of 0 and 1"):
        OverlapEvaluator(samples=samples).evaluate(Bright())
    with pytest.raises(InputError, match="hold 0 and 255 alone"):
        calibrate_cutoff(Bright(), samples)
    found = OverlapEvaluator(samples=with_masks([1, 255])).evaluate(Bright())
    assert found.value("dsc") == 1
    OverlapEvaluator(samples=with_masks([0])).evaluate(Bright())
