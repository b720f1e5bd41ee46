from __future__ import annotations

import math

import pyarrow as pa
import pytest

from pladapt import Evaluation, InputError
from pladapt.evaluation import summarise_metrics

SAMPLES = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "group": ["p", "p", "q", "q"],
        "class": [1, 1, 1, 2],
        "error": [1.0, 3.0, 8.0, math.nan],
    }
)


def test_a_metric_is_summarised_over_samples_and_groups() -> None:
    found = Evaluation(SAMPLES, summarise_metrics(SAMPLES, ["error"]))
    assert found.value("error", aggregation="sample") == 4
    assert found.value("error", aggregation="group") == 5  # of 2 and 8
    rows = {(r["aggregation"], r["class"]): r for r in found.summary.to_pylist()}
    assert (rows["sample", 1]["count"], rows["group", 1]["count"]) == (3, 2)
    assert rows["group", 1]["std"] == 3


def test_what_is_undefined_is_left_out() -> None:
    rows = summarise_metrics(SAMPLES, ["error"]).to_pylist()
    (row,) = [r for r in rows if (r["aggregation"], r["class"]) == ("sample", 2)]
    assert math.isnan(row["mean"])
    assert (row["std"], row["count"]) == (None, 0)


@pytest.mark.parametrize("missing", ["group", "class", "error"])
def test_a_missing_column_is_named(missing: str) -> None:
    with pytest.raises(InputError, match=f"no column '{missing}'; they have"):
        summarise_metrics(SAMPLES.drop_columns(missing), ["error"])
