"""The demo, as a user meets it: the command, its table, its verdicts and its files."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pladapt.cli.application import application
from pladapt.errors import InputError, RunChangedError
from pladapt.review import Review
from pladapt.runs.records import read_run
from pladapt_covid_ct import demo
from pladapt_covid_ct.experiment import slices_of

RECIPES = ("paper", "robust")
VERDICTS = ("adapted", "left as it was", "not fit for these images")


@pytest.fixture(scope="module", autouse=True)
def small():
    """Make the demo's data and training tiny."""
    tiny = {"size": 32, "encoder": "tu-test_resnet", "epochs": 2, "min_pixels": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SETTINGS", replace(demo.SETTINGS, **tiny, device="cpu"))
        patch.setattr(demo, "PATIENTS", {"A": 4, "B": 2, "C": 2})
        patch.setattr(demo, "_SLICES", 4)
        patch.setattr(demo, "_WIDTH", 48)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a demo, and what its command printed."""
    out = tmp_path_factory.mktemp("demo")
    return out, invoke(out)


def invoke(out, *options):
    arguments = ["covid-ct", "demo", "--out", str(out), *options]
    result = CliRunner().invoke(application(), arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def stored(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_both_recipes_stand_side_by_side_with_their_verdicts(finished):
    _, output = finished
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in output.splitlines()]
    header, in_domain, *targets = [row for row in rows if len(row) == 4]
    assert header == ["DSC", "source", *RECIPES]
    assert in_domain[0] == "A in domain"
    assert in_domain[2:] == ["", ""]
    assert [row[0] for row in targets] == ["A to B", "A to C"]
    for _, before, *after in targets:
        for cell in after:
            dsc, verdict = cell.split(", ", 1)
            assert verdict in VERDICTS
            assert verdict == "adapted" or dsc == before


def test_every_verdict_is_printed_with_its_reason(finished):
    out, output = finished
    for recipe in RECIPES:
        for target in "BC":
            verdict = read_run(out / recipe / f"A-to-{target}").verdict
            assert f"A to {target}, {recipe}: {verdict}" in output


def test_each_recipe_has_its_reports_and_they_say_that_the_data_are_phantoms(finished):
    out, output = finished
    for recipe in RECIPES:
        for name in ("report.html", "report.md"):
            path = out / recipe / name
            assert str(path) in output
            assert "phantoms, drawn by a program" in path.read_text(encoding="utf-8")


def test_the_source_is_trained_once(finished):
    out, _ = finished
    assert len([path for path in stored(out) if path.parent.name == "source"]) == 1


def test_the_same_command_again_ends_with_the_same_table_and_trains_nothing(finished):
    out, output = finished
    before = stored(out)
    assert invoke(out) == output
    assert stored(out) == before


def test_a_demo_is_not_continued_with_another_seed(finished):
    with pytest.raises(RunChangedError, match=r"seed was 0 and is now 1"):
        demo.run_demo(finished[0], seed=1, progress=lambda *_: None)


@pytest.mark.parametrize("gate", [False, True])
def test_only_the_paper_s_recipe_is_asked_for_a_gate(tmp_path, monkeypatch, gate):
    seen = {}

    def run_round(_source, _domains, *, settings, **_rest):
        seen[settings.recipe] = settings.gate

    monkeypatch.setattr(demo, "run_round", run_round)
    demo.run_demo(tmp_path, seed=0, progress=lambda *_: None, gate=gate)
    assert seen == {"paper": gate, "robust": False}


def test_a_targets_slices_are_reviewed_and_teach_a_further_round(finished):
    out, _ = finished
    run = out / "paper" / "A-to-B"
    slices = slices_of(run, out / "data", lambda *_: None)
    assert not any(hasattr(slices[index], "mask") for index in range(len(slices)))
    review = Review(run, who="Ann")
    assert {slices[index].id for index in range(len(slices))} == {*review.masks.ids}
    (first,) = review.queue(1)
    review.correct(first, 1 - review.mask(first), seconds=30)
    output = invoke(out)
    assert "A to B, paper: adapted: trained with 1 reviewed mask" in output
    assert read_run(run).rounds[-1].reviewed["id"].to_pylist() == [first]
    assert "Review by people" in (out / "paper" / "report.md").read_text(encoding="utf-8")


def test_a_review_asks_for_the_folder_of_a_target(finished):
    out, _ = finished
    with pytest.raises(InputError, match="A-to-B"):
        slices_of(out / "paper", out / "data", lambda *_: None)
