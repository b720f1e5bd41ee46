"""That the study measures what it says, resumes, and writes its page from what it measured."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from pladapt.predictors import Agreement
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
QUICK = ("source", "batch-norm", "paper", "robust", "target-labels")
WITHOUT_SHIFT = ("source", "batch-norm", "robust")
PAIRS = {"ultrasound": QUICK, "ultrasound-source-all": WITHOUT_SHIFT}
TASKS = sum(map(len, PAIRS.values()))


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
    assert said.count("done") == 1 + TASKS, said
    return folder


def run(folder: Path) -> str:
    command = [sys.executable, str(STUDY / "study.py"), "--quick", "--out", str(folder)]
    command += ["--pairs", ",".join(PAIRS), "--seeds", "1", "--rows", ",".join(QUICK)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(study: Any, *groups: list[int], **told: Any) -> Any:
    """Return a row with these groups' counts."""
    return study("results").Measured(np.array(groups, np.int64), {"seconds": 1.0} | told)


def cell(study: Any, pair: str = "ultrasound", **rows: Any) -> Any:
    """Return a cell, its rows named with underscores."""
    named = {name.replace("_", "-"): row for name, row in rows.items()}
    return study("results").Cell(pair, 0, named)


# of one group: true and false positives, false and true negatives
LOW = [2, 3, 3, 92]  # a DSC of 4 / 10
HIGH = [8, 2, 2, 88]  # of 16 / 20
BETWEEN = [7, 3, 3, 87]  # of 14 / 20
EMPTY = [0, 10, 0, 90]  # nothing to find, and a tenth of the pixels marked
NOTHING = [0, 0, 0, 100]


def test_the_gap_closed_by_hand(study: Any) -> None:
    low, high, between = (measured(study, row, row) for row in (LOW, HIGH, BETWEEN))
    one = cell(study, source=low, robust=between, target_labels=high)
    assert one.change("robust") == pytest.approx(0.3)
    assert one.closed("robust") == pytest.approx(0.75)
    assert one.closed("target-labels") == pytest.approx(1)
    assert one.closed("paper") is None  # not run
    assert cell(study, source=high, robust=between, target_labels=low).closed("robust") is None
    assert cell(study, source=low, robust=between).closed("robust") is None


def test_the_pixels_of_all_groups_count_together(study: Any) -> None:
    large = [100 * count for count in HIGH]
    row = measured(study, LOW, large)
    assert row.score == pytest.approx(2 * 802 / (2 * 802 + 203 + 203))
    assert row.area_ratio == pytest.approx(1)
    assert measured(study, [8, 8, 2, 82]).area_ratio == pytest.approx(1.6)


def test_without_foreground_what_is_left_unmarked_counts(study: Any) -> None:
    source, after = measured(study, NOTHING, EMPTY), measured(study, EMPTY, EMPTY)
    assert source.score == pytest.approx(0.95)
    assert np.isnan(source.area_ratio)
    one = cell(study, source=source, robust=after)
    assert one.change("robust") == pytest.approx(-0.05)
    assert one.interval("robust").mean == pytest.approx(-0.05)


def test_the_interval_of_a_change_draws_the_same_groups_in_both_rows(study: Any) -> None:
    source, row = (measured(study, *[each] * 8) for each in (HIGH, BETWEEN))
    found = cell(study, source=source, robust=row).interval("robust")
    assert found[:3] == pytest.approx((-0.1, -0.1, -0.1))
    mixed = measured(study, *[BETWEEN] * 5, *[[9, 1, 1, 89]] * 3)
    found = cell(study, source=source, robust=mixed).interval("robust")
    assert found.low < found.mean < 0 < found.high


@pytest.mark.parametrize(
    ("outcome", "robust", "batch_norm", "truth"),
    [
        ("adapted", HIGH, LOW, "right"),
        ("adapted", LOW, HIGH, "wrong"),
        ("adapted", BETWEEN, BETWEEN, "difference"),
        ("unchanged", BETWEEN, LOW, "right"),
        ("unchanged", BETWEEN, HIGH, "wrong"),
        ("unchanged", BETWEEN, BETWEEN, "difference"),
        ("unfit", BETWEEN, HIGH, "wrong"),
    ],
)
def test_a_verdict_is_right_or_wrong_by_the_truth(
    study: Any, outcome: str, robust: list[int], batch_norm: list[int], truth: str
) -> None:
    one = cell(
        study,
        source=measured(study, BETWEEN),
        batch_norm=measured(study, batch_norm),
        robust=measured(study, robust, outcome=outcome),
    )
    truth_of = study("results").truth_of
    assert truth_of(one, 0.9) == truth
    assert truth_of(cell(study, source=measured(study, LOW)), 0.9) is None


def test_a_model_is_rightly_unfit_where_it_finds_less_than_half_of_what_it_did(study: Any) -> None:
    source, robust = measured(study, LOW), measured(study, LOW, outcome="unfit")
    one = cell(study, source=source, robust=robust)
    assert study("results").truth_of(one, 0.81) == "right"
    assert study("results").truth_of(one, 0.79) == "wrong"


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


def test_rows_of_a_cell_that_were_measured_on_different_groups_are_refused(study: Any) -> None:
    rows = [
        {"pair": "ultrasound", "seed": 0, "row": name, "told": told(), "groups": {group: LOW}}
        for name, group in (("source", "p"), ("robust", "q"))
    ]
    with pytest.raises(ValueError, match="different groups"):
        study("results").cells_in({"rows": rows})


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


def test_a_source_of_several_pairs_is_trained_once_and_before_its_rows(study: Any) -> None:
    order, essential = study("rows").USUAL, study("rows").ESSENTIAL
    turns = study("work").tasks(["A-to-C", "ct-A-all", "C-to-A"], [0, 1], order)
    assert [len(turn) for turn in turns] == 2 * [2, 2 * len(essential) + 3, 2 * 2]
    assert {task.pair for task in turns[0]} == {"A-to-C", "C-to-A"}
    assert {task.row for task in turns[1]} == set(essential)
    assert {task.row for task in turns[1] if task.pair == "ct-A-all"} == set(WITHOUT_SHIFT)
    assert {task.row for task in turns[2]} == {"robust-without-training", "tent"}
    assert [{task.seed for task in turn} for turn in turns] == [{0}] * 3 + [{1}] * 3


def source(groups: int, empty: int = 0) -> list[LabelledSample]:
    """Return three images of each group, with more foreground in each, and none in the first."""
    samples = []
    for number in range(groups):
        for image in range(3):
            mask = np.zeros((8, 8), np.uint8)
            mask.flat[: max(0, number - empty + 1)] = 1
            shown = np.zeros((1, 8, 8), np.float32)
            samples.append(LabelledSample(f"{number:02}-{image}", f"{number:02}", shown, mask))
    return samples


@pytest.mark.parametrize("groups", [9, 10, 19, 20, 47])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_part_of_a_source_has_groups_with_much_and_with_little_foreground(
    study: Any, groups: int, seed: int
) -> None:
    samples = source(groups)
    parts = study("domains").split(samples, seed)
    names = [sorted({s.group for s in part}) for part in parts]
    few = groups < 20
    used = names[:3] if few else names
    assert sorted(name for part in used for name in part) == sorted({s.group for s in samples})
    assert (names[2] == names[3]) == few
    for part in names:
        assert len(part) >= 2
        assert int(part[0]) <= 0.6 * groups
        assert int(part[-1]) >= 0.4 * groups
    assert sorted(s.id for part in parts[: len(used)] for s in part) == [s.id for s in samples]


def test_a_source_with_too_few_validation_groups_with_foreground_is_refused(study: Any) -> None:
    with pytest.raises(ValueError, match="at least two"):
        study("domains").split(source(10, empty=8), 0)


@pytest.fixture
def without_shift(study: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that makes targets without a shift of a source that is made up."""
    domains = study("domains")
    samples = source(40, empty=5)
    monkeypatch.setattr(domains, "domain", lambda *_: samples)
    config = study("families").Config(out=tmp_path, max_images=10)
    pairs = study("pairs").PAIRS

    def target(part: str, seed: int = 0) -> tuple[list[LabelledSample], Any]:
        made = domains.target_of(config, pairs[f"ultrasound-source-{part}"], seed)
        return made, domains.split(samples, seed)

    return target


def test_a_target_without_a_shift_is_of_held_out_groups(without_shift: Any) -> None:
    for seed in (0, 1):
        means = {}
        for part in ("all", "most", "least"):
            samples, parts = without_shift(part, seed)
            groups = {s.group for s in samples}
            assert groups <= {s.group for s in parts.held}
            assert not groups & {s.group for part in parts[:3] for s in part}
            means[part] = np.mean([s.mask.mean() for s in samples])
        assert means["least"] < means["all"] < means["most"]


def test_a_target_has_no_more_images_than_asked_for(without_shift: Any) -> None:
    samples, parts = without_shift("all")
    assert len(samples) == 10 < len(parts.held)


def test_where_too_few_images_have_no_foreground_that_target_is_left_out(
    without_shift: Any,
) -> None:
    with pytest.raises(ValueError, match="needs at least 8"):
        without_shift("empty")


def test_quarters_without_foreground_stand_in_for_images(study: Any, tmp_path: Path) -> None:
    tiles = study("tiles").Nuclei(study("families").Config(out=tmp_path, quick=True))
    pieces = tiles.pieces(source(4)[-3:])
    assert len({piece.id for piece in pieces}) == 12
    assert {piece.mask.shape for piece in pieces} == {(4, 4)}
    assert {piece.image.shape for piece in pieces} == {(1, 4, 4)}
    assert [int(piece.mask.sum()) for piece in pieces[:4]] == [4, 0, 0, 0]
    found = study("domains")._without_foreground(source(4), tiles)
    assert len(found) == 36
    assert not any(s.mask.any() for s in found)


def test_tiles_are_cut_to_the_middle_and_grouped_by_picture(study: Any, tmp_path: Path) -> None:
    from PIL import Image

    for kind, value in (("images", 128), ("masks", 255)):
        pixels = np.zeros((12, 12), np.uint8)
        pixels[2:6, 2:10] = value
        folder = tmp_path / "nuclei" / "some" / kind
        folder.mkdir(parents=True)
        for name in ("a-b-1.png", "a-b-2.png"):
            Image.fromarray(pixels).save(folder / name)
    config = study("families").Config(out=tmp_path, data=tmp_path, size=8)
    first, second = study("tiles").Nuclei(config).load("some")
    assert (first.group, first.image.shape, first.image.dtype) == (
        second.group,
        (1, 8, 8),
        np.float32,
    )
    assert first.id != second.id
    np.testing.assert_array_equal(first.mask, np.repeat([[1], [0]], 4, 0).repeat(8, 1))
    assert first.image[0, 0, 0] == pytest.approx((128 / 255 - 0.5) / 0.25)
    with pytest.raises(FileNotFoundError, match="no PNG"):
        study("tiles").Cracks(config).load("none")


def test_a_weak_source_is_trained_once_more_and_then_left_out(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, domains, families = study("sources"), study("domains"), study("families")
    pair = study("pairs").PAIRS["ultrasound"]
    given = families.SmallUNet(families.Config(out=tmp_path, quick=True))
    samples = study("scans").Ultrasound(given.config).load("source")
    monkeypatch.setattr(sources, "domain", lambda *_: samples)
    monkeypatch.setattr(sources, "family", lambda *_: given)
    given.min_dsc = 0.99
    config = families.Config(out=tmp_path)
    for _ in range(2):  # the second time nothing is trained
        with pytest.raises(sources.WeakSourceError, match=r"must be at least 0\.99"):
            sources.source_of(config, pair, 0)
    told = sources.sources_in(tmp_path)
    assert [(one["source"], one["tries"], one["least"]) for one in told] == [
        ("ultrasound-source", 2, 0.99)
    ]
    given.min_dsc = 0.0
    kept = sources.source_of(config, pair, 0)
    assert kept.cutoff == told[0]["cutoff"]
    assert kept.statistics.axes == given.axes
    assert {s.group for s in kept.train} == {s.group for s in domains.split(samples, 0).train}


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
    assert collected["rows"][0]["groups"] == {"p": [3, 0, 1, 60], "q": [1, 2, 3, 4]}
    assert collected["rows"][0]["images"] == 3
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


def test_a_quick_run_measures_every_row_on_every_group(quick: Path) -> None:
    collected = json.loads((quick / "results.json").read_text())
    assert collected["failures"] == []
    assert {(row["pair"], row["seed"], row["row"]) for row in collected["rows"]} == {
        (pair, 1, row) for pair, rows in PAIRS.items() for row in rows
    }
    assert len(collected["rows"]) == TASKS
    shifted = [row for row in collected["rows"] if row["pair"] == "ultrasound"]
    pixels = {sum(map(sum, row["groups"].values())) for row in shifted}
    assert pixels == {4 * 4 * 64 * 64}
    cost = {row["row"]: row["told"] for row in shifted}
    assert cost["source"]["inference"] == cost["source"]["training"] == 0
    # two epochs of each half of 16 images, and of the source's 12 or more beside it
    assert cost["target-labels"]["training"] >= 2 * 2 * (8 + 12) / 16
    assert [(one["source"], one["split"]) for one in collected["sources"]] == [
        ("ultrasound-source", 1)
    ]


def test_a_quick_run_says_so_and_leaves_the_projects_page_alone(quick: Path) -> None:
    page = (quick / "page.md").read_text()
    assert "A quick run" in page
    assert re.search(r"\| ultrasound \| 1 \| \d.*(adapted|left as it was|not fit .*): ", page)
    assert "2 cells at seed 1;" in page
    assert "`A-to-C`" in page  # among those that were not run
    assert all(f"- `{row}`: " in page for row in QUICK)
    assert (quick / "page.svg").read_text().count("<svg") == 1


def test_a_few_labelled_images_choose_what_is_clearly_better_on_them(study: Any) -> None:
    right, wrong = [9.0, 0, 0, 91], [3.0, 6, 6, 85]
    known = {name: np.array([wrong] * 20) for name in ("robust", "source", "batch-norm")}
    drawn = [*study("labels").drawn(known, 5)]
    assert {draw["chosen"] for draw in drawn} == {drawn[0]["robust"]}
    known["batch-norm"][:] = right
    assert [draw["chosen"] for draw in study("labels").drawn(known, 5)] == [1.0] * 500
    known["batch-norm"][:, :] = wrong
    known["batch-norm"][0] = right  # on one image of twenty alone
    assert {draw["chosen"] == draw["robust"] for draw in study("labels").drawn(known, 5)} == {True}


def test_what_labelled_images_would_choose_stands_on_the_page(
    quick: Path, study: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "study"  # others look at the one that is shared
    shutil.copytree(quick, folder)
    command = [sys.executable, str(STUDY / "labels.py"), "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    rows = study("labels").labelled_in(folder)
    assert {(row["pair"], row["images"]) for row in rows} >= {("ultrasound", 3)}
    (section,) = ["\n".join(study("labels").labelled_lines(rows))]
    assert "| 3, with a shift | 1 |" in section
    assert study("labels").labelled_in(quick) == []


def test_the_choice_is_made_with_each_part_left_out(
    quick: Path, study: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "study"  # others look at the one that is shared
    shutil.copytree(quick, folder)
    command = [sys.executable, str(STUDY / "parts.py"), "--quick", "--out", str(folder)]
    command += ["--pairs", ",".join(PAIRS), "--seeds", "1"]
    subprocess.run(command, check=True, capture_output=True)
    rows = json.loads((folder / "parts.json").read_text())
    collected = study("results").collect(folder)
    assert collected["parts"] == rows
    assert [row["variant"] for row in rows] == [*study("parts").VARIANTS]
    assert {(row["shifted"]["cells"], row["same"]["cells"]) for row in rows} == {(1, 1)}
    (cell,) = (folder / "parts" / "ultrasound").rglob("scores.json")
    known = json.loads(cell.read_text())["scores"]
    of_row = {cell.pair: cell for cell in study("results").cells_in(collected)}["ultrasound"].rows
    assert known["none"] == pytest.approx(of_row["source"].score)
    assert known["batch norm"] == pytest.approx(of_row["batch-norm"].score)
    page = tmp_path / "page.md"
    settings = {"size": 8, "device": "cpu", "quick": False, "max_images": 9}
    study("page").write_page(collected | {"settings": settings}, page)
    assert "| without the limit of the shift | " in page.read_text()


@pytest.mark.parametrize(
    ("variant", "found"),
    [
        ("as it is", "matched batch norm"),
        ("without statistics at the source's fraction", "batch norm"),
        ("without the limit of what is marked", "matched batch norm"),
    ],
)
def test_a_part_that_is_left_out_does_not_decide(study: Any, variant: str, found: str) -> None:
    parts = study("parts")
    scores = {parts.NONE: 0.5, parts.ALL: 0.6, parts.MATCHED: 0.7}
    agreements = {
        name: agreed(level)
        for name, level in ((parts.NONE, 0.5), (parts.ALL, 0.7), (parts.MATCHED, 0.8))
    }
    given = {"unfit": False, "usual": 0.2, "agreements": agreements, "scores": scores}
    known = parts.Known("A-to-C", 0, shift=9.0, **given)
    assert parts.taken(known, parts.VARIANTS[variant]) == found
    same = parts.Known("A-to-C", 0, shift=1.0, **given)
    assert parts.taken(same, parts.VARIANTS["as it is"]) == parts.NONE
    assert parts.taken(same, parts.VARIANTS["without the limit of the shift"]) != parts.NONE


def agreed(level: float) -> Agreement:
    """Of six groups with an image each, which all agree with their views to the same DSC."""
    names, tp = [f"s{place}" for place in range(6)], round(100 * level)
    both = {"id": names, "group": names, "class": [1] * 6}
    counts = both | {"view": ["flip"] * 6, "tp": [tp] * 6, "fp": [100 - tp] * 6}
    marked = both | {"pixels": [200] * 6, "size": [1000] * 6}
    return Agreement(pa.table(counts | {"fn": [100 - tp] * 6, "tn": [800] * 6}), pa.table(marked))


def test_where_robust_was_not_measured_the_page_says_so(study: Any, tmp_path: Path) -> None:
    rows = [
        {"pair": "A-to-C", "seed": 0, "row": name, "told": told(), "groups": {"p": counts}}
        for name, counts in (("source", LOW), ("paper", BETWEEN), ("target-labels", HIGH))
    ]
    page = written(study, tmp_path, rows)
    assert "| fraction of the gap closed, A-to-C | not measured yet | at least 80% | open |" in page
    assert re.search(r"by more than 0.01, all \| not measured yet \| none \| open \|", page)
    assert re.search(r"\| A-to-C \| 0 \| 0.400 .*\| not measured yet \|", page)
    assert "What `robust` found" not in page


def written(study: Any, folder: Path, rows: list[dict[str, Any]]) -> str:
    """Return the page of these rows."""
    settings = {"size": 8, "device": "cpu", "quick": False, "max_images": 9}
    collected = {"settings": settings, "machines": [], "rows": rows, "failures": [], "sources": []}
    study("page").write_page(collected, folder / "page.md")
    return (folder / "page.md").read_text()


def test_the_page_names_every_cell_that_is_below_its_source(study: Any, tmp_path: Path) -> None:
    def row(pair: str, name: str, counts: list[int]) -> dict[str, Any]:
        about = told() | {"verdict": "adapted: so", "outcome": "adapted", "evidence": []}
        return {"pair": pair, "seed": 1, "row": name, "told": about, "groups": {"p": counts}}

    rows = [
        *(row("A-to-C", name, LOW) for name in ("source", "batch-norm")),
        row("A-to-C", "robust", HIGH),
        row("A-to-C", "target-labels", HIGH),
        *(row("nuclei-fluo256-most", name, HIGH) for name in ("source", "batch-norm")),
        row("nuclei-fluo256-most", "robust", BETWEEN),
    ]
    page = written(study, tmp_path, rows)
    worse = r"nuclei-fluo256-most, seed 1 \(-0.100\) \| none \| \*\*not reached\*\*"
    assert len(re.findall(worse, page)) == 2
    assert "closed, A-to-C | 100% of 1 | at least 80% | reached |" in page
    assert "| adapted | 1 | 0 | 1 | nuclei-fluo256-most, seed 1 |" in page
    assert "| `robust`, without | 1 | -0.100 | -0.100, nuclei-fluo256-most, seed 1 |" in page


def test_a_study_that_is_done_does_nothing_and_writes_the_same_page(quick: Path) -> None:
    before = {path.name: path.read_bytes() for path in quick.glob("*.*")}
    made = [path.stat().st_mtime_ns for path in sorted(quick.glob("rows/**/*.parquet"))]
    said = run(quick)
    assert f" of {TASKS}: " not in said
    assert {path.name: path.read_bytes() for path in quick.glob("*.*")} == before
    assert [path.stat().st_mtime_ns for path in sorted(quick.glob("rows/**/*.parquet"))] == made


@pytest.mark.skipif(not (STUDY / "results.json").exists(), reason="the study has not been run")
def test_the_projects_page_says_what_was_measured(study: Any, tmp_path: Path) -> None:
    pages = ROOT / "docs" / "project" / "adaptation-study.md"
    study("page").write_page(
        json.loads((STUDY / "results.json").read_text()), tmp_path / pages.name
    )
    assert (tmp_path / pages.name).read_text() == pages.read_text()
