"""The surest 10,000 of a million rows, beside sorting all of them."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scratch
from harness import Case, Method

from pladapt import Rules
from pladapt.files import select_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TITLE = "Selection"
TEXT = """All rules, every row's rank or reason, ties by id, and the check that no id is there
twice. pyarrow's full sort makes the same table of the same ids in the same order; numpy's, by score
alone, finds neither. The memory is the peak of a process of its own."""

_ORDER: Final = [("score", "descending"), ("id", "ascending")]
_MIN_PIXELS: Final = 50


def cases(*, quick: bool) -> Iterator[Case]:
    """Yield a case in memory, and one from file to file."""
    rows, k = (5_000, 100) if quick else (1_000_000, 10_000)
    scores = _scores(rows)
    yield _in_memory(scores, k)
    folder = scratch.folder()
    pq.write_table(scores, folder / "scores.parquet", compression="zstd", row_group_size=2**17)
    yield _from_file(folder, rows, k)


def _scores(rows: int) -> pa.Table:
    generator = np.random.default_rng(0)
    numbers = pa.array(generator.permutation(rows)).cast(pa.string())
    ids = pc.binary_join_element_wise("case", pc.utf8_lpad(numbers, 8, "0"), "/")
    return pa.table(
        {
            "id": ids,
            "score": generator.uniform(0.5, 1, rows).round(6),  # so that there are ties
            "pixels": generator.integers(0, 5_000, rows),
        }
    )


def _in_memory(scores: pa.Table, k: int) -> Case:
    ours = partial(Rules(min_pixels=_MIN_PIXELS, top_k=k).select, scores)
    return Case(
        name=f"{k:,} of {len(scores):,} rows in memory",
        methods=[
            Method(name="pladapt", run=lambda: ours().table, role="ours"),
            Method(name="full sort, pyarrow", run=partial(sort_all, scores, k), agrees=_same),
            Method(
                name="full sort, numpy, by score alone",
                run=lambda: np.argsort(-scores["score"].to_numpy(), kind="stable")[:k],
            ),
        ],
        items=len(scores),
        unit="row",
    )


def _from_file(folder: Path, rows: int, k: int) -> Case:
    source, selected, sorted_ = (
        folder / name for name in ("scores.parquet", "selected.parquet", "sorted.parquet")
    )

    def ours() -> pa.Table:
        select_file(source, selected, min_pixels=_MIN_PIXELS, top_k=k)
        return pq.read_table(selected)

    def full_sort() -> pa.Table:
        sort_file(source, sorted_, k)
        return pq.read_table(sorted_)

    return Case(
        name=f"{k:,} of {rows:,} rows, parquet to parquet",
        methods=[
            Method(name="pladapt select", run=ours, role="ours"),
            Method(name="read, sort and write", run=full_sort, agrees=_same),
        ],
        items=rows,
        unit="row",
        facts=partial(_peaks, source, sorted_, k),
    )


def sort_all(scores: pa.Table, k: int) -> pa.Table:
    """Do the selection's work by a sort of all rows."""
    enough = pc.greater_equal(scores["pixels"], _MIN_PIXELS)
    order = pc.sort_indices(scores.filter(enough), _ORDER)
    places = np.flatnonzero(enough.to_numpy())[order.to_numpy()]
    ranks = np.zeros(len(scores), np.int64)
    ranks[places[:k]] = np.arange(1, min(k, len(places)) + 1)
    kept = pa.array(ranks > 0)
    dropped = pc.if_else(enough, "top_k", "min_pixels")
    return pa.table(
        {
            "id": scores["id"],
            "rank": pa.array(ranks, mask=ranks == 0),
            "rule": pc.if_else(kept, pa.scalar(None, pa.string()), dropped),
        }
    )


def sort_file(source: Path, output: Path, k: int) -> None:
    """Do the same from file to file."""
    pq.write_table(sort_all(pq.read_table(source), k), output, compression="zstd")


def _peaks(source: Path, output: Path, k: int) -> Mapping[str, str]:
    """Measure the peak memory of either way in a process of its own."""
    ways = {
        "nothing (imports alone)": "pass",
        "pladapt select": (
            f"select_file(Path({str(source)!r}), Path({str(output)!r}), "
            f"min_pixels={_MIN_PIXELS}, top_k={k})"
        ),
        "read, sort and write": f"sort_file(Path({str(source)!r}), Path({str(output)!r}), {k})",
    }
    return {f"peak memory, {name}": f"{_peak(code):.0f} MB" for name, code in ways.items()}


def _peak(code: str) -> float:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from bench_selection import select_file, sort_file
{code}
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return int(run.stdout) / 1024


def _same(ours: pa.Table, theirs: Any) -> str:
    if not ours.select(theirs.column_names).equals(theirs):
        raise AssertionError("The full sort selects otherwise.")
    return "the same table"
