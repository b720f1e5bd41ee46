from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

import pladapt
from pladapt import read_run
from pladapt.errors import MissingDataError

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.cli.application import application
from pladapt.reports.comparison import selected
from pladapt.reports.findings import describe_run
from pladapt.reports.markdown import to_markdown


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, toy.run(toy.lesions(), workdir=folder, rounds=2).record


def test_a_report_from_the_folder_is_that_of_the_run_itself(finished):
    folder, record = finished
    assert describe_run(read_run(folder)) == describe_run(record)


def test_a_run_that_selected_nothing_can_be_read(toy, tmp_path):
    record = toy.run(toy.lesions(), workdir=tmp_path, ci_limit=1.0).record
    assert read_run(tmp_path).stopped == record.stopped
    assert describe_run(read_run(tmp_path)) == describe_run(record)


def test_the_evidence_of_each_round_is_shown_and_the_refusal_said(toy, tmp_path):
    gates = [pladapt.DoNoHarm()]
    record = toy.run(toy.lesions(classes=2), workdir=tmp_path, gates=gates, by=-0.8).record
    result = CliRunner().invoke(application(), ["report", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Verdict: left as it was: round 1 refused: ")
    assert f"Verdict: {record.verdict}" in " ".join(result.output.split())
    assert describe_run(read_run(tmp_path)) == describe_run(record)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "0 of 8 target samples were retrained on in 0 rounds" in text
    assert f"The run stopped: {record.stopped}." in text
    assert "Round 1, refused: the predictor that was given and the one it made" in text
    page = toy.Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    table = next(rows for caption, rows in page.tables.items() if "refused" in caption)
    for row, evidence in zip(
        table[1:], record.rounds[0].judgement.evidence.to_pylist(), strict=True
    ):
        assert row[:2] == [evidence["measure"], str(evidence["class"])]
        assert row[-2:] == [evidence["limit"], "yes" if evidence["passed"] else "no"]
    assert {row[-1] for row in table[1:]} == {"yes", "no"}


def test_a_refused_round_s_samples_taught_nothing(toy):
    record = toy.run(toy.lesions(), rounds=2, gates=[pladapt.DoNoHarm()], by=0.1).record
    assert [current.stands for current in record.rounds] == [True, True]
    assert selected(record) == set(record.rounds[0].selection.kept)
    refused = toy.run(toy.lesions(), gates=[pladapt.DoNoHarm()], by=-0.8).record
    assert refused.rounds[0].selection.kept
    assert selected(refused) == set()


def test_a_run_without_gates_has_no_word_of_them(finished):
    assert "Do no harm" not in to_markdown(describe_run(finished[1]))


def test_a_run_without_evaluators_can_be_read(toy, tmp_path):
    toy.run(toy.lesions(), workdir=tmp_path, evaluators={})
    assert read_run(tmp_path).before == {}


@pytest.mark.parametrize("missing", ["round-2", "round-2/evaluations/overlap"])
def test_a_run_that_was_broken_off_is_not_reported(finished, tmp_path, missing):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / missing)
    with pytest.raises(MissingDataError, match="continue the run"):
        read_run(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match=r"has no run\.json"):
        read_run(tmp_path)


def test_the_command_writes_both_reports_and_says_where(finished):
    folder, _ = finished
    result = CliRunner().invoke(application(), ["report", str(folder)])
    assert result.exit_code == 0, result.output
    for name in ("report.html", "report.md"):
        assert str(folder / name) in result.output
        assert "Before and after" in (folder / name).read_text(encoding="utf-8")
