from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pladapt import InputError, LabelledSample
from pladapt.errors import MissingDataError, RunChangedError
from pladapt_covid_ct import domains, report, tables
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.settings import Settings

SETTINGS = Settings(
    size=32,
    encoder="resnet18",
    encoder_weights="none",
    epochs=2,
    top_k=0.5,
    min_pixels=0,
    device="cpu",
)


def silent(stage, done, total):
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, 0, patients={"A": 4, "B": 2, "C": 2}, slices=4, size=48)
    return folder


def run(data, out, targets=("B", "C"), settings=SETTINGS, progress=silent):
    return run_experiment(data, "A", targets, settings=settings, out=out, progress=progress)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished")
    return out, run(data, out)


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_both_targets_are_scored_selected_retrained_and_evaluated(finished):
    out, outcome = finished
    assert set(outcome.targets) == {"B", "C"}
    for letter, result in outcome.targets.items():
        assert len(result.rounds[0].selection.kept) == result.rounds[0].scores.num_rows // 2
        assert result.predictor is not outcome.trained.predictor
        assert (out / f"A-to-{letter}" / "round-1" / "predictor" / "model.safetensors").is_file()


def test_with_a_gate_what_comes_out_is_judged_and_nothing_else_changes(data, finished, tmp_path):
    outcome = run(data, tmp_path, targets=("B",), settings=replace(SETTINGS, gate=True))
    result = outcome.targets["B"]
    (only,) = result.rounds
    assert set(only.judgement.evidence["measure"].to_pylist()) == {
        "foreground fraction",
        "churn",
        "agreement under flips",
    }
    kept = result.predictor is outcome.trained.predictor
    assert kept != only.judgement.accepted
    assert finished[1].targets["B"].rounds[0].judgement is None
    weights = "round-1/predictor/model.safetensors"
    one, other = (digests(out / "A-to-B")[weights] for out in (finished[0], tmp_path))
    assert one == other


def test_no_patient_of_the_source_is_trained_on_and_tested_on(finished):
    split = finished[1].trained.split
    assert not set(split.train) & (set(split.validation) | set(split.test))


def test_the_manifest_names_the_data_by_their_digest(finished):
    manifest = json.loads((finished[0] / "run.json").read_text())
    assert len(manifest["config"]["data"]["sha256"]) == 64
    for target in "BC":
        manifest = json.loads((finished[0] / f"A-to-{target}" / "run.json").read_text())
        evaluator = manifest["config"]["evaluators"]["overlap"]
        assert len(evaluator["samples"]["sha256"]) == 64


class Killed(BaseException):
    """What ends a process between two steps."""


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A finished run of A to B, and the stage of each call for progress."""
    out, seen = tmp_path_factory.mktemp("undisturbed"), []
    run(data, out, targets=("B",), progress=lambda stage, _done, _total: seen.append(stage))
    return out, [stage.partition(":")[0] for stage in seen]


def calls(stage):
    """Where to kill: at the first call of a stage, or at the last."""
    return [
        pytest.param(stage, which, id=f"{name} {stage}")
        for which, name in enumerate(("first", "last"))
    ]


@pytest.mark.parametrize(("stage", "last"), [*calls("train"), *calls("score"), *calls("evaluate")])
def test_a_killed_experiment_ends_with_the_same_bytes(data, undisturbed, tmp_path, stage, last):
    expected, stages = undisturbed
    places = [place for place, seen in enumerate(stages) if seen == stage]
    left = iter(range(places[-1 if last else 0]))

    def kill(stage, done, total):
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        run(data, tmp_path, targets=("B",), progress=kill)
    run(data, tmp_path, targets=("B",))
    assert digests(tmp_path) == digests(expected)


def test_the_same_seed_gives_the_same_table(data, finished, tmp_path):
    again = run(data, tmp_path)
    assert list(tables.table(again)) == list(tables.table(finished[1]))


def test_other_settings_do_not_continue_a_run(data, finished):
    out, _ = finished
    with pytest.raises(RunChangedError, match=r"settings\.top_k was 0\.5 and is now 0\.25"):
        run(data, out, settings=Settings(**{**vars(SETTINGS), "top_k": 0.25}))


def test_the_report_has_a_row_before_and_after_for_each_target(finished, tmp_path):
    report.write_report(finished[1], tmp_path)
    text = (tmp_path / "report.md").read_text()
    for aggregation in ("Pooled", "Group", "Sample"):
        assert f"{aggregation}: " in text
    assert text.count("| A to B | all |") == 3
    assert "not retrained on" in text
    assert "| A in domain | test |" in text


def test_the_masks_of_a_target_change_the_evaluation_and_nothing_else(
    data, finished, tmp_path, monkeypatch
):
    out, _ = finished
    view = domains.prepare

    def with_empty_masks(dataset, settings, progress):
        samples = view(dataset, settings, progress)
        if dataset.name != "C":
            return samples
        listed = [samples[i] for i in range(len(samples))]
        return [LabelledSample(s.id, s.group, s.image, s.mask * 0) for s in listed]

    monkeypatch.setattr(domains, "prepare", with_empty_masks)
    run(data, tmp_path)
    one, other = digests(out / "A-to-C" / "round-1"), digests(tmp_path / "A-to-C" / "round-1")
    changed = {name for name in one if one[name] != other[name]}
    assert changed
    assert all(name.startswith("evaluations") for name in changed)


@pytest.mark.parametrize(
    ("source", "targets", "match"),
    [("A", ["A"], "source is A"), ("A", [], "at least one"), ("Z", ["A"], "'Z'")],
)
def test_letters_that_make_no_experiment_are_refused(data, tmp_path, source, targets, match):
    with pytest.raises(InputError, match=match):
        run_experiment(data, source, targets, settings=SETTINGS, out=tmp_path, progress=silent)


def test_a_missing_data_set_says_how_to_obtain_it(data, tmp_path):
    partial = tmp_path / "data"
    shutil.copytree(data / "A", partial / "A")
    with pytest.raises(MissingDataError, match="Download"):
        run(partial, tmp_path / "out", targets=("C",))


@pytest.mark.parametrize("size", [0, 33, 100])
def test_a_size_that_linknet_cannot_halve_five_times_is_refused(size):
    with pytest.raises(InputError, match="multiple of 32"):
        Settings(size=size)


def test_the_least_number_of_pixels_scales_with_the_area():
    assert Settings(size=512).scaled_min_pixels == 50
    assert Settings(size=256).scaled_min_pixels == round(50 / 4)
    assert Settings(size=32).scaled_min_pixels == 1
    assert Settings(size=32, min_pixels=7).scaled_min_pixels == 7


def test_the_command_prints_the_table_and_the_paths(data, tmp_path):
    from pladapt.cli.application import application

    arguments = ["covid-ct", "run", "--data", data, "--source", "A", "--target", "C"]
    arguments += ["--size", 32, "--encoder", "resnet18", "--encoder-weights", "none"]
    arguments += ["--epochs", 1, "--out", tmp_path / "out", "--device", "cpu"]
    result = CliRunner().invoke(application(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "A to C" in result.output
    assert "report.md" in result.output
    assert (tmp_path / "out" / "report.md").is_file()
