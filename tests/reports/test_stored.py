from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from pladapt import MissingDataError, read_run

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.cli.application import application
from pladapt.reports.findings import describe_run


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
