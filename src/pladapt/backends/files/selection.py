"""Selecting from a parquet file of scores, however many rows it has."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from pladapt.errors import InputError, MissingDataError
from pladapt.ranking import SELECTION, rank_blocks
from pladapt.runs import parquet_errors, written_aside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIN_PIXELS: Final = 50
"""The fewest pixels above the cut-off that a sample needs, unless said otherwise."""
_BLOCK: Final = 2**17  # rows


def select_file(
    scores: Path,
    output: Path,
    *,
    min_pixels: int | None = None,
    ci_limit: float | None = None,
    top_k: int | None = None,
    top_fraction: float | None = None,
) -> Mapping[str, int]:
    """Write a selection from a file of scores, in memory for the kept rows and a block.

    Args:
        scores: A parquet file with ``id``, ``score`` and, if ``min_pixels`` is to hold, ``pixels``.
        output: The parquet file to write: the table of a `pladapt.Selection`.
        min_pixels: The fewest pixels above the cut-off that a sample needs. None: 50 where the
            scores count them, else no such rule.
        ci_limit: The lowest score that is kept.
        top_k: How many samples are kept at the most.
        top_fraction: The same as a share of all samples, in place of ``top_k``.

    Returns:
        How many samples each rule dropped, and how many were ``kept``.

    Raises:
        MissingDataError: There is no file of scores.
        DataError: It is no whole parquet file.
        InputError: A parameter is out of its range, a column is missing, or an id stands twice.
    """
    if min_pixels is not None and min_pixels < 0:
        raise InputError(f"min_pixels is {min_pixels}; it must not be negative.")
    if not scores.is_file():
        raise MissingDataError(f"There is no file of scores {scores}; `pladapt score` writes one.")
    counts = Counter(kept=0)
    # a pre-buffer would hold the whole file
    with parquet_errors(scores), pq.ParquetFile(scores, pre_buffer=False) as file:
        if min_pixels is None:
            min_pixels = MIN_PIXELS if "pixels" in file.schema_arrow.names else 0
        ranked = rank_blocks(
            partial(file.iter_batches, batch_size=_BLOCK, columns=_columns(file, min_pixels)),
            min_pixels=min_pixels or None,
            limit=ci_limit,
            limit_name="ci_limit",
            top_k=_top_k(top_k, top_fraction, file.metadata.num_rows),
        )
        with (
            written_aside(output) as aside,
            pq.ParquetWriter(aside, SELECTION, compression="zstd") as writer,
        ):
            for block in ranked:
                writer.write_batch(block)
                for row in block["rule"].value_counts().to_pylist():
                    counts[row["values"] or "kept"] += row["counts"]
    return counts


def _columns(file: pq.ParquetFile, min_pixels: int) -> list[str] | None:
    """Return the columns to read; all where one is missing, so that the error can list them."""
    wanted = ["id", "score", *(["pixels"] if min_pixels else [])]
    return wanted if set(wanted) <= set(file.schema_arrow.names) else None


def _top_k(top_k: int | None, top_fraction: float | None, rows: int) -> int | None:
    if top_fraction is None:
        return top_k
    if top_k is not None or not 0 < top_fraction <= 1:
        raise InputError(
            f"top_fraction is {top_fraction} and top_k {top_k}; expected a share in (0, 1], or a "
            "number, not both."
        )
    return max(1, round(top_fraction * rows))
