"""Summaries of metrics of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pladapt.errors import InputError
from pladapt.types import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def summarise_metrics(samples: pa.Table, metrics: Sequence[str]) -> pa.Table:
    """Summarise metrics of samples as the summary of a `pladapt.Evaluation`.

    ``sample`` is the mean over samples, ``group`` the mean over the groups' own means, so that a
    patient with many slices weighs no more than one with few. A value that is NaN is left out, and
    ``count`` says of how many the mean is. There is no ``pooled``, which only counts of pixels
    have.

    Args:
        samples: ``group``, ``class`` (int) and a column for each metric, a row per sample and
            class.
        metrics: The columns that are summarised.

    Returns:
        ``aggregation``, ``class``, ``metric``, ``mean``, ``std`` (of the population; null where
        there is no value) and ``count``.

    Raises:
        InputError: A column is missing.
    """
    if missing := [
        each for each in ("group", "class", *metrics) if each not in samples.schema.names
    ]:
        raise InputError(
            f"The samples have no column {missing[0]!r}; they have {samples.column_names}."
        )
    rows = [row for metric in metrics for row in _rows(samples, metric)]
    return pa.Table.from_pylist(rows, schema=SUMMARY)


def _rows(samples: pa.Table, metric: str) -> Iterator[dict[str, Any]]:
    table = samples.select(["group", "class", metric]).to_pylist()
    for class_ in sorted({row["class"] for row in table}):
        groups: dict[str, list[float]] = {}
        for row in table:
            value = row[metric]
            if row["class"] == class_ and value is not None and not np.isnan(value):
                groups.setdefault(row["group"], []).append(float(value))
        values = {
            "sample": [value for each in groups.values() for value in each],
            "group": [float(np.mean(each)) for each in groups.values()],
        }
        for aggregation, found in values.items():
            yield {
                "aggregation": aggregation,
                "class": class_,
                "metric": metric,
                "mean": float(np.mean(found)) if found else float("nan"),
                "std": float(np.std(found)) if found else None,
                "count": len(found),
            }
