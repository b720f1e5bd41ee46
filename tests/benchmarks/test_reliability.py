"""That runs survive what is done to them, and that the trials can tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the trials fork")
def test_a_few_trials_of_each_kind_end_with_the_same_bytes_or_a_clear_error(
    tmp_path: Path,
) -> None:
    page = tmp_path / "reliability.md"
    command = [sys.executable, str(BENCHMARKS / "reliability.py"), "--quick", "--page", str(page)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.split(" | ") for line in run.stdout.splitlines() if " | " in line]
    assert {row[0] for row in rows} == {"adapt", "score", "select", "source statistics"}
    assert len(rows) == 19
    for _, fault, tried, same, clear, raw, other, _ in rows:
        assert int(same) + int(clear) == int(tried) > 0, fault
        assert (raw, other) == ("0", "0"), fault
    assert page.read_text().count("\n| ") == 21


def test_ten_times_the_images_take_hardly_more_memory(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    command = [sys.executable, str(BENCHMARKS / "scaling.py"), "--page", str(page)]
    subprocess.run([*command, "--counts", "500", "5000"], check=True, capture_output=True)
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[0] for row in rows] == ["500", "5,000"]
    assert int(rows[1][5].removesuffix("%")) < 10
