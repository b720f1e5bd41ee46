"""That the study measures what it says, resumes, and writes its page from what it measured."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pladapt.types import LabelledSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("matplotlib")
pytest.importorskip("pladapt_covid_ct")

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "benchmarks" / "adaptation"
MODULES = sorted(path.stem for path in STUDY.glob("*.py"))
QUICK = ("source", "paper", "robust", "target-labels", "target-labels-batch-norm")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import a module of the study, whose names are common, and forget it afterwards."""
    monkeypatch.syspath_prepend(STUDY)
    before = list(sys.path)
    yield importlib.import_module
    sys.path[:] = before
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the study on tiny images, and return its folder."""
    folder = tmp_path_factory.mktemp("study")
    said = run(folder)
    assert said.count("done") == 2 * (1 + len(QUICK)), said
    return folder


def run(folder: Path) -> str:
    command = [sys.executable, str(STUDY / "study.py"), "--quick", "--out", str(folder)]
    command += ["--pairs", "ultrasound", "--seeds", "0,1", "--rows", ",".join(QUICK)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(study: Any, *patients: list[int], seeds: int = 1) -> Any:
    """Return a row with the same patients' counts at every seed."""
    results = study("results")
    counts = {seed: np.array(patients, np.int64) for seed in range(seeds)}
    return results.Found(counts, dict.fromkeys(counts, results.Cost(1, 2, 3)), {})


# of one patient: true and false positives, false and true negatives
LOW = [2, 3, 3, 92]  # a DSC of 4 / 10
HIGH = [8, 2, 2, 88]  # of 16 / 20
BETWEEN = [7, 3, 3, 87]  # of 14 / 20


def test_the_gap_closed_by_hand(study: Any) -> None:
    low, high, between = (found(study, row, row) for row in (LOW, HIGH, BETWEEN))
    closed = study("results").closed
    # every patient is alike, so that no draw gives another fraction
    assert closed(between, low, high)[:3] == pytest.approx((0.75, 0.75, 0.75))
    assert closed(low, low, high).mean == 0
    assert closed(high, low, high, minus=between).mean == pytest.approx(0.25)
    assert closed(low, high, between) is None  # no gap: the oracle is worse than the source


def test_the_gap_closed_by_patient_counts_a_small_patient_as_much_as_a_large_one(
    study: Any,
) -> None:
    large, better = ([100 * count for count in row] for row in (LOW, BETWEEN))
    source, oracle = found(study, LOW, large), found(study, HIGH, better)
    row = found(study, BETWEEN, better)
    fraction = study("results").closed(row, source, oracle, by_patient=True)
    assert fraction.mean == pytest.approx(0.6 / 0.7)  # of 0.3 + 0.3 and 0.4 + 0.3
    worse = found(study, HIGH, [0, 300, 300, 9400])  # much worse where most of the pixels are
    closed = study("results").closed
    assert closed(row, worse, source) is not None
    assert closed(row, worse, source, by_patient=True) is None


def test_the_gap_closed_is_a_ratio_of_means_over_the_seeds_that_have_all_rows(study: Any) -> None:
    source, oracle, row = (found(study, LOW, seeds=2) for _ in range(3))
    oracle.counts[0][:] = HIGH
    oracle.counts[1][:] = BETWEEN
    row.counts[0][:] = BETWEEN
    closed = study("results").closed
    # (0.7 + 0.4 - 2 * 0.4) / (0.8 + 0.7 - 2 * 0.4), where the mean of 0.75 and 0 would be 0.375
    assert closed(row, source, oracle).mean == pytest.approx(0.3 / 0.7)
    del row.counts[1]
    assert closed(row, source, oracle).mean == pytest.approx(0.75)


def test_the_gap_ends_at_the_better_of_the_rows_that_know_the_targets_labels(study: Any) -> None:
    reference, (labels, other) = study("results").reference, study("rows").ORACLES
    low, high = found(study, LOW), found(study, HIGH)
    assert reference({"source": low, "robust": high}) is None
    assert reference({"robust": high, labels: low}) == labels
    assert reference({labels: low, other: high}) == other
    assert reference({labels: high, other: low}) == labels


def test_worse_beyond_noise_is_worse_in_whatever_patients_are_drawn(study: Any) -> None:
    before = found(study, *[HIGH] * 8)
    worse = found(study, *[BETWEEN] * 8)
    rises = study("results").rises
    assert rises(worse, before)[0].high < 0
    mixed = found(study, *[BETWEEN] * 5, *[[9, 1, 1, 89]] * 3)
    rise = rises(mixed, before)[0]
    assert rise.low < rise.mean < 0 < rise.high


def test_the_gain_is_the_mean_over_the_seeds_of_both(study: Any) -> None:
    source, row = found(study, LOW, LOW, seeds=2), found(study, HIGH, HIGH, seeds=3)
    row.counts[1][:] = BETWEEN
    gain = study("results").gain
    assert gain(row, source)[:3] == pytest.approx((0.35, 0.35, 0.35))  # of 0.4 and 0.3
    assert gain(found(study, LOW, seeds=0), source) is None


def test_the_score_that_surely_ranks_above_the_certainty_index_is_named(study: Any) -> None:
    def audit(**differences: tuple[float, float]) -> list[dict[str, Any]]:
        given = {"certainty-index": (0, 0)} | {
            name.replace("_", "-"): each for name, each in differences.items()
        }
        return [
            {"score": score, "difference": difference, "difference_high": high}
            for score, (difference, high) in given.items()
        ]

    others = dict.fromkeys(
        ("foreground_entropy", "boundary_free_certainty", "trimmed_certainty"), (0.1, 0.2)
    )
    audits = {
        "A": {
            "0": audit(**others, soft_dice=(-0.2, -0.1), pairwise_dice=(-0.3, 0.1)),
            "1": audit(**others, soft_dice=(0.1, 0.2), pairwise_dice=(-0.3, 0.1)),
        }
    }
    assert study("audits").ranked_above(audits) == ("soft-dice", 1, 1, 2)
    assert study("audits").ranked_above({})[0] is None


def test_pooled_and_by_patient_by_hand(study: Any) -> None:
    counts = np.array([[8, 2, 2, 88], [0, 0, 0, 100]])
    measured = study("results").measures(counts)
    assert measured["dsc pooled"] == pytest.approx(0.8)
    assert measured["dsc patients"] == pytest.approx((0.8 + 1) / 2)  # rightly empty
    assert measured["sen patients"] == pytest.approx(0.8)  # of the one patient who has it
    assert measured["spc pooled"] == pytest.approx(188 / 190)


def test_the_papers_best_is_chosen_at_each_seed_by_the_targets_labels(study: Any) -> None:
    names = study("rows").FRACTIONS
    rows = [
        {"pair": "ultrasound", "seed": seed, "row": name, "told": told(), "patients": {"p": LOW}}
        for name in names
        for seed in (0, 1)
    ]
    rows[0]["patients"], rows[3]["patients"] = {"p": BETWEEN}, {"p": HIGH}
    results = study("results")
    best = results.found_in({"rows": rows}, "ultrasound")[results.BEST]
    assert [best.counts[seed][0].tolist() for seed in (0, 1)] == [BETWEEN, HIGH]
    assert results.BEST not in results.found_in({"rows": rows[:-2]}, "ultrasound")
    rows[0]["patients"] = {"another": LOW}
    with pytest.raises(ValueError, match="different patients"):
        results.found_in({"rows": rows}, "ultrasound")


def told() -> dict[str, float]:
    return {"seconds": 1.0, "inference": 2.0, "training": 3.0}


def target(patients: int = 5, images: int = 3) -> list[LabelledSample]:
    blank = np.zeros((8, 8), np.uint8)
    return [
        LabelledSample(f"{p}-{i}", f"p{p}", blank[None].astype(np.float32), blank)
        for p in range(patients)
        for i in range(images)
    ]


def test_the_oracle_is_measured_on_patients_that_it_did_not_learn_from(study: Any) -> None:
    samples = target()
    measured: list[int] = []
    for learnt, held in study("rows").halves(samples):
        assert not {samples[i].group for i in learnt} & {samples[i].group for i in held}
        measured += held
    assert sorted(measured) == list(range(len(samples)))


def test_a_row_is_given_no_mask(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = study("rows")

    def spy(_source: object, given: Any) -> Any:
        assert len(given) == 15
        assert not any(hasattr(given[i], "mask") for i in range(len(given)))
        return rows.Adapted(given)

    monkeypatch.setattr(rows, "ROWS", dict.fromkeys(rows.ROWS, spy))
    for row in rows.ROWS:
        assert len(rows.adapted(row, None, target())) == 1


def test_passes_are_counted_in_images_of_the_targets_size(study: Any) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 1, 1))
    with study("work").counted(network, 64) as passes:
        network(torch.zeros(3, 2, 8, 8))
        with torch.inference_mode():
            type(network)(torch.nn.Identity())(torch.zeros(5, 2, 8, 8))  # as a copy would
            network(torch.zeros(2, 2, 4, 4))
    network(torch.zeros(1, 2, 8, 8))
    assert (passes.training, passes.inference) == (3, 5.5)


def test_the_essential_rows_come_first_and_a_source_of_two_pairs_is_trained_once(
    study: Any,
) -> None:
    order = study("rows").ORDER
    sources, rows = study("work").tasks(["A-to-C", "C-to-A"], [0, 1], order)
    assert len(sources) == 4
    assert len(set(rows)) == len(rows) == 4 * len(order)
    assert {task.row for task in rows[: 4 * 7]} == set(study("rows").ESSENTIAL)
    assert {task.row for task in rows[-4:]} == {"robust-without-training"}


def lungs(study: Any, group: str = "p") -> LabelledSample:
    """Return a slice as the study has them: normalised, and constant outside of what it shows."""
    shown = np.random.default_rng(0).uniform(0.2, 1, (32, 32))
    shown[:8] = shown[:, :8] = 0
    image = ((shown - shown.mean()) / shown.std())[None].astype(np.float32)
    return LabelledSample("s", group, image, (shown > 0.9).astype(np.uint8))


@pytest.mark.parametrize("scanner", ["soft", "sharp"])
def test_a_simulated_scanner_changes_what_is_shown_and_nothing_else(
    study: Any, scanner: str
) -> None:
    sample = lungs(study)
    made = study("scanners").rescanned(sample, scanner, 0)
    assert (made.id, made.group, made.mask is sample.mask) == ("s", "p", True)
    outside = sample.image == sample.image[0, 0, 0]
    assert np.unique(made.image[outside]).size == 1
    assert made.image[~outside].min() > made.image[0, 0, 0]
    assert made.image.mean() == pytest.approx(0, abs=1e-4)
    assert made.image.std() == pytest.approx(1, abs=1e-4)
    detail = [np.abs(np.diff(image[0, 8:, 8:])).mean() for image in (sample.image, made.image)]
    assert (detail[1] > detail[0]) == (scanner == "sharp")
    again, other = (study("scanners").rescanned(lungs(study, g), scanner, 0) for g in ("p", "q"))
    np.testing.assert_array_equal(again.image, made.image)
    assert not np.array_equal(other.image, made.image), "each patient is shown in a way of its own"


def test_a_simulated_target_is_of_patients_that_the_source_model_has_not_seen(
    study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    domains = study("domains")
    known = [
        LabelledSample(f"{p}-{i}", f"p{p}", lungs(study).image, lungs(study).mask)
        for p in range(10)
        for i in range(2)
    ]
    monkeypatch.setattr(domains.Slices, "load", lambda self, name: known)
    rescanned = domains._rescanned
    config = domains.Config(out=tmp_path)
    for name, pair in domains.SIMULATED.items():
        learnt, *held = ({s.group for s in part} for part in domains.split(known, pair.seed))
        target = rescanned(config, name)
        assert {s.group for s in target} == set.union(*held)
        assert not {s.group for s in target} & learnt
        assert not np.array_equal(target[0].image, known[0].image)


def test_a_simulated_target_is_for_one_seed_alone(study: Any) -> None:
    sources, rows = study("work").tasks(["A-to-C", "A-soft-1"], [0, 1], ["source"])
    assert [(task.pair, task.seed) for task in rows] == [
        ("A-to-C", 0),
        ("A-to-C", 1),
        ("A-soft-1", 1),
    ]
    assert len(sources) == 2


def test_what_fails_is_noted_and_done_again(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    work, results = study("work"), study("results")
    tasks = [work.Task("ultrasound", 0, row) for row in ("source", "tent")]

    def measure(_config: object, task: Any) -> Any:
        if task.row == "source":
            raise ZeroDivisionError("half of nothing")
        return table(work)

    monkeypatch.setattr(work, "measure", measure)
    config = SimpleNamespace(out=tmp_path)
    work.run(config, tasks, 1)
    assert "source: ZeroDivisionError: half of nothing" in capsys.readouterr().out
    collected = results.collect(tmp_path)
    assert [row["row"] for row in collected["rows"]] == ["tent"]
    assert collected["rows"][0]["patients"] == {"p": [3, 0, 1, 60], "q": [1, 2, 3, 4]}
    assert [one["reason"] for one in collected["failures"]] == [
        "ZeroDivisionError: half of nothing"
    ]
    monkeypatch.setattr(work, "measure", lambda *_: table(work))
    work.run(config, tasks, 1)
    assert "1 of 1" in capsys.readouterr().out  # the other one was there
    assert results.collect(tmp_path)["failures"] == []


def table(work: Any) -> Any:
    import pyarrow as pa

    rows = [("a", "p", 1, 0, 1, 30), ("b", "p", 2, 0, 0, 30), ("c", "q", 1, 2, 3, 4)]
    names = ("id", "group", "tp", "fp", "fn", "tn")
    counts = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    return counts.replace_schema_metadata({work.KEY: json.dumps(told() | {"about": {}})})


def test_a_quick_run_measures_every_row_on_every_patient(quick: Path) -> None:
    collected = json.loads((quick / "results.json").read_text())
    assert collected["failures"] == []
    assert {(row["seed"], row["row"]) for row in collected["rows"]} == {
        (seed, row) for seed in (0, 1) for row in QUICK
    }
    pixels = {sum(map(sum, row["patients"].values())) for row in collected["rows"]}
    assert pixels == {4 * 4 * 64 * 64}
    cost = {row["row"]: row["told"] for row in collected["rows"]}
    assert cost["source"]["inference"] == cost["source"]["training"] == 0
    # two epochs of each half of 16 images, and of the source's 20 beside it
    assert cost["target-labels"]["training"] == 2 * 2 * (8 + 20) / 16
    # and each half's network once over all images
    more = [cost[row] for row in ("target-labels", "target-labels-batch-norm")]
    assert more[1]["training"] == more[0]["training"]
    assert more[1]["inference"] == more[0]["inference"] + 2


def test_a_quick_run_says_so_and_leaves_the_projects_page_alone(quick: Path) -> None:
    page = (quick / "page.md").read_text()
    assert "A quick run" in page
    assert re.search(
        r"- seed 0: (adapted|left as it was|not fit .*): .*; agreement `none` \d", page
    )
    assert "| `robust-without-training` | not measured yet |" in page
    assert all(f"| `{row}` |" in page for row in QUICK)
    assert (quick / "page-ultrasound.svg").read_text().count("<svg") == 1


def test_where_robust_was_not_measured_the_page_says_so(study: Any, tmp_path: Path) -> None:
    rows = [
        {"pair": "A-to-C", "seed": 0, "row": name, "told": told(), "patients": {"p": counts}}
        for name, counts in (("source", LOW), ("paper", BETWEEN), ("target-labels", HIGH))
    ]
    settings = {"size": 8, "device": "cpu", "quick": False}
    collected = {"settings": settings, "machines": [], "rows": rows, "failures": []}
    study("page").write_page(collected, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| fraction of the gap closed, A-to-C | not measured yet | at least 80% | open |" in page
    assert "below their source model beyond noise | not measured yet | none | open |" in page
    assert "| `robust` | not measured yet |" in page
    assert "What `robust` found" not in page


def test_a_study_that_is_done_does_nothing_and_writes_the_same_page(quick: Path) -> None:
    before = {path.name: path.read_bytes() for path in quick.glob("*.*")}
    made = [path.stat().st_mtime_ns for path in sorted(quick.glob("rows/**/*.parquet"))]
    said = run(quick)
    assert f" of {2 * len(QUICK)}: " not in said
    assert {path.name: path.read_bytes() for path in quick.glob("*.*")} == before
    assert [path.stat().st_mtime_ns for path in sorted(quick.glob("rows/**/*.parquet"))] == made


@pytest.mark.skipif(not (STUDY / "results.json").exists(), reason="the study has not been run")
def test_the_projects_page_says_what_was_measured(study: Any, tmp_path: Path) -> None:
    pages = ROOT / "docs" / "project" / "adaptation-study.md"
    study("page").write_page(
        json.loads((STUDY / "results.json").read_text()), tmp_path / pages.name
    )
    assert (tmp_path / pages.name).read_text() == pages.read_text()
