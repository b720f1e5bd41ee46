"""That the simulated reviewer is measured on the same images in every order, and its page tells."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("matplotlib")
pytest.importorskip("pladapt_covid_ct")

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "benchmarks" / "review", ROOT / "benchmarks" / "adaptation")
NONE = [0, 0, 0, 100]
HALF = [5, 5, 5, 85]  # a DSC of 10 / 20
GOOD = [9, 1, 1, 89]  # of 18 / 20
BAD = [1, 9, 9, 81]  # of 2 / 20


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import a module of the benchmark, whose names are common, and forget it afterwards."""
    for folder in reversed(FOLDERS):
        monkeypatch.syspath_prepend(folder)
    before = list(sys.path)
    yield importlib.import_module
    sys.path[:] = before
    for folder in FOLDERS:
        for path in folder.glob("*.py"):
            sys.modules.pop(path.stem, None)


def review(order: str, reviewed: list[str], *counts: list[int], draw: int = 0) -> dict[str, Any]:
    return {
        "order": order,
        "draw": draw,
        "reviewed": reviewed,
        "verdict": "adapted: so",
        "counts": [*counts],
    }


def cell(*reviews: dict[str, Any], pair: str = "ultrasound") -> dict[str, Any]:
    """Return what was found on four images: of the last the model is right from the start."""
    return {
        "pair": pair,
        "seed": 0,
        "verdict": "left as it was: so",
        "ids": ["a", "b", "c", "d"],
        "source": [HALF, HALF, HALF, GOOD],
        "robust": [HALF, HALF, HALF, GOOD],
        "labels": [GOOD, GOOD, GOOD, GOOD],
        "reviews": [*reviews],
    }


QUEUE_5 = review("queue", ["a"], GOOD, HALF, GOOD, GOOD)
LOWEST_5 = review("lowest certainty", ["b"], HALF, GOOD, HALF, GOOD)
RANDOM_5 = review("random", ["a"], HALF, HALF, BAD, GOOD)


def test_orders_are_measured_on_the_images_that_none_of_them_reviewed(module: Any) -> None:
    found = module("figures").summary(cell(QUEUE_5, LOWEST_5, RANDOM_5))
    assert (found["images"], found["apart"]) == (4, 2)  # c and d
    assert found["robust"]["apart"] == pytest.approx(28 / 40)
    queue, lowest, _ = found["reviews"]
    assert queue["apart"] == pytest.approx(36 / 40)
    assert lowest["apart"] == pytest.approx(28 / 40)
    assert queue["not reviewed"] == pytest.approx(46 / 60)
    assert queue["before, not reviewed"] == pytest.approx(38 / 60)
    assert queue["all"] == pytest.approx(64 / 80)


def test_the_gap_closed_and_the_mean_of_draws(module: Any) -> None:
    figures = module("figures")
    other = review("random", ["b"], GOOD, HALF, GOOD, GOOD, draw=1)
    found = figures.Found([figures.summary(cell(QUEUE_5, RANDOM_5, other))])
    (one,) = found.gapped
    assert found.counts == [0, 1]
    assert found.closed(one, "queue", 0) == 0
    assert found.closed(one, "queue", 1) == pytest.approx(1)
    assert found.value(one, "random", 1) == pytest.approx((20 / 40 + 36 / 40) / 2)
    assert found.worse(1) == []


def test_a_cell_that_a_review_makes_worse_is_named(module: Any, tmp_path: Path) -> None:
    worse = review("queue", ["a"], GOOD, BAD, BAD, GOOD)
    figures = module("figures")
    found = [figures.summary(cell(worse, LOWEST_5, RANDOM_5))]
    module("review_page").write_page({"quick": False, "cells": found}, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| cells worse after 1 images of the queue | 1 of 1: ultrasound, seed 0 (-0.200)" in page
    assert "| the queue's DSC above that of random, 1 images | +0.000, above in 0 of 1" in page
    assert page.count("**not reached**") == 3
    assert (tmp_path / "page.svg").read_text().count("<svg") == 1


def test_a_quick_simulation_reviews_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDERS[0] / "simulate.py"), "--quick", "--out", str(tmp_path)]
    command += ["--pairs", "ultrasound", "--seeds", "1", "--counts", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "ultrasound, seed 1: done" in done.stdout
    (found,) = json.loads((tmp_path / "results.json").read_text())["cells"]
    orders = [(each["order"], each["count"]) for each in found["reviews"]]
    assert orders == [("queue", 2), ("lowest certainty", 2), ("random", 2)]
    assert all("reviewed mask" in each["verdict"] for each in found["reviews"])
    assert "A quick run" in (tmp_path / "page.md").read_text()


@pytest.mark.skipif(
    not (FOLDERS[0] / "results.json").exists(), reason="the simulation has not been run"
)
def test_the_projects_page_says_what_was_measured(module: Any, tmp_path: Path) -> None:
    page = ROOT / "docs" / "project" / "review-study.md"
    found = json.loads((FOLDERS[0] / "results.json").read_text())
    module("review_page").write_page(found, tmp_path / page.name)
    assert (tmp_path / page.name).read_text() == page.read_text()
