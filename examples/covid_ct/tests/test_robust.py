"""The recommended recipe on the example, with nothing of it changed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from pladapt import InputError, SourceStatistics
from pladapt.cli.application import application
from pladapt.errors import RunChangedError
from pladapt.reports.comparison import selected
from pladapt.runs.records import read_run
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.report import describe, write_report
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.tables import table

SETTINGS = Settings(
    size=32,
    encoder="tu-test_resnet",
    encoder_weights="none",
    epochs=4,
    recipe="robust",
    device="cpu",
)


def run(data, out, settings=SETTINGS, progress=lambda *_: None):
    return run_experiment(data, "A", ["C"], settings=settings, out=out, progress=progress)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, 0, patients={"A": 4, "C": 2}, slices=6, size=48)
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    outcome = run(data, out)
    write_report(outcome, out)
    return out, outcome


def test_the_target_is_looked_at_and_what_is_made_is_judged(finished):
    result = finished[1].targets["C"]
    adjustments = result.recalibration.evidence["adjustment"].to_pylist()
    assert adjustments[0] == "none"
    assert adjustments[-1] == "source"
    changed = result.verdict.outcome == "adapted"
    assert (result.predictor is not finished[1].trained.predictor) == changed
    assert (result.recalibration.judgement is not None) == result.recalibration.changed
    for current in result.rounds:
        assert current.selection.kept
        assert current.judgement.evidence.num_rows


def test_the_source_is_measured_once_on_its_test_patients(finished, data):
    out, outcome = finished
    trained = outcome.trained
    path = out / "source" / "statistics.npz"
    stored = SourceStatistics.load(path)
    measured = SourceStatistics.measure(
        trained.test, trained.predictor, cutoff=trained.calibration.cutoff
    )
    assert {trained.test[i].group for i in range(len(trained.test))} == set(trained.split.test)
    assert stored.cutoff == trained.calibration.cutoff
    np.testing.assert_array_equal(stored.quantiles, measured.quantiles)
    np.testing.assert_array_equal(stored.fraction, measured.fraction)


def test_a_finished_run_is_read_and_not_made_again(finished, data):
    out, outcome = finished
    before = {path: path.stat().st_mtime_ns for path in (out / "source").rglob("*.*")}
    stages = []
    again = run(data, out, progress=lambda stage, _done, _total: stages.append(stage))
    assert list(table(again)) == list(table(outcome))
    assert {path: path.stat().st_mtime_ns for path in (out / "source").rglob("*.*")} == before
    assert not any(stage.startswith("train") for stage in stages)
    assert len(read_run(out / "A-to-C").rounds) == len(outcome.targets["C"].rounds)


def test_a_run_is_not_continued_with_another_recipe(finished, data):
    with pytest.raises(RunChangedError, match=r"recipe was 'robust' and is now 'paper'"):
        run(data, finished[0], replace(SETTINGS, recipe="paper"))


def test_the_report_shows_the_evidence_of_all_rounds(finished):
    out, outcome = finished
    (target,) = [s for s in describe(outcome, out).body if s.title == "A to C"]
    titles = [section.title for section in target.body]
    result = outcome.targets["C"]
    trained = ["Selection", "Do no harm", "Kept and dropped samples"] if result.rounds else []
    assert titles[: 1 + len(trained)] == ["Recalibration", *trained]
    text = (out / "report.md").read_text(encoding="utf-8")
    for current in result.rounds:
        verdict = "accepted" if current.judgement.accepted else "refused"
        assert f"Round {current.number}, {verdict}" in text
    learnt = {id_ for r in result.rounds if r.stands for id_ in r.selection.kept}
    if result.rounds:
        assert f"{len(learnt)} of {len(result.rounds[0].scores)}" in text
    config = json.loads((out / "run.json").read_text())["config"]["settings"]
    assert config["recipe"] == "robust"


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": 0.5},
        {"min_pixels": 0},
        {"optimiser": "continued"},
        {"validation": "pseudo-labels"},
        {"lesions": "classes"},
    ],
    ids=str,
)
def test_what_the_recipe_would_not_heed_is_refused(wrong):
    with pytest.raises(InputError, match=rf"recipe is .robust..* {next(iter(wrong))}"):
        replace(SETTINGS, **wrong)


def test_one_cutoff_for_all_classes_is_taken():
    assert replace(SETTINGS, lesions="classes", cutoffs="0.4").cutoff_grid == (0.4,)


def test_the_protocol_has_no_table_of_slices_when_all_were_learnt_from(data, tmp_path):
    arguments = ["covid-ct", "reproduce", "--data", data, "--out", tmp_path, "--sources", "A"]
    arguments += ["--folds", 0, "--recipe", "robust", "--size", 32, "--device", "cpu"]
    arguments += ["--encoder", "tu-test_resnet", "--encoder-weights", "none", "--epochs", 4]
    result = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    run = read_run(tmp_path / "A" / "fold-0" / "A-to-C")
    # nothing was learnt from where no round was begun, or the gate refused the first
    some_left = 0 < len(selected(run)) < len(run.rounds[0].scores) if run.rounds else False
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "by the recipe `robust`" in text
    assert ("## Not retrained on" in text) == some_left
    assert ("slices: not retrained on" in result.output) == some_left
