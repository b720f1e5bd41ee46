"""The paper's whole protocol on small phantoms: every cell, every fold, whatever interrupts it."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyarrow import csv
from typer.testing import CliRunner

from pladapt import InputError
from pladapt.cli.application import application
from pladapt.errors import MissingDataError, RunChangedError
from pladapt.reports.comparison import NOT_RETRAINED, selected
from pladapt_covid_ct import paper, protocol
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.protocol import Fold, reproduce
from pladapt_covid_ct.protocol_cli import parse_folds
from pladapt_covid_ct.protocol_report import Tables, write_protocol
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.workers import in_processes

SETTINGS = Settings(
    size=32,
    encoder="resnet18",
    encoder_weights="none",
    epochs=1,
    min_pixels=0,
    device="cpu",
)
TINY = replace(SETTINGS, encoder="tu-test_resnet")
KILLS = int(os.environ.get("PLADAPT_KILLS", "1"))
"""How many times in a row the run is killed; PLADAPT_KILLS=20 takes a few minutes."""

CSV = ("measured.csv", "table-2.csv", "table-3.csv", "paired.csv")


def silent(stage, done, total):
    assert 0 <= done <= total


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Let one thread compute, here and in the workers: their number changes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantoms(folder, 0, patients={"A": 4, "B": 4, "C": 4}, slices=4, size=48)
    return folder


def run(data, out, *, settings=TINY, sources="A", folds=(0,), **more):
    return reproduce(
        data, settings=settings, out=out, progress=silent, sources=sources, folds=folds, **more
    )


def written(found):
    """Write a protocol's tables, and return their bytes."""
    write_protocol(found, Tables.of(found.records), "pooled")
    return {name: (found.out / name).read_bytes() for name in CSV}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Three sources, two folds, two targets each."""
    out = tmp_path_factory.mktemp("whole")
    return run(data, out, settings=SETTINGS, sources="ABC", folds=(0, 1))


@pytest.fixture(scope="module")
def tables(whole):
    return Tables.of(whole.records)


@pytest.fixture(scope="module")
def fold(data, tmp_path_factory):
    """A protocol of one source and one fold."""
    return run(data, tmp_path_factory.mktemp("fold"))


# The tables


@pytest.mark.parametrize("aggregation", ["pooled", "group", "sample"])
def test_every_cell_of_both_tables_is_computed_and_stands_beside_the_papers(tables, aggregation):
    second = {
        (row["source"], row["test"], row["stage"], row["metric"]): row
        for row in tables.second.to_pylist()
        if (row["aggregation"], row["samples"]) == (aggregation, "all")
    }
    assert second.keys() == {(*key, m) for key, row in paper.TABLE_2.items() for m in row}
    for (*key, metric), row in second.items():
        assert row["folds"] == 2
        assert 0 <= row["mean"] <= 1
        assert row["std"] >= 0
        assert (row["paper_mean"], row["paper_std"]) == paper.TABLE_2[tuple(key)][metric]
        assert row["difference"] == pytest.approx(row["mean"] - row["paper_mean"])
        assert row["values_min"] > 0
        assert row["slices_min"] >= row["patients_min"] > 0
        assert (row["selected_min"] is None) == (row["stage"] == "in domain")
    third = [row for row in tables.third.to_pylist() if row["aggregation"] == aggregation]
    found = {(row["stage"], row["metric"]): row for row in third if row["samples"] == "all"}
    assert found.keys() == {(stage, m) for stage, row in paper.TABLE_3.items() for m in row}
    for (stage, metric), row in found.items():
        rows = [second[key] for key in second if key[2:] == (stage, metric)]
        assert row["tests"] == len(rows) == (3 if stage == "in domain" else 6)
        assert row["mean"] == pytest.approx(np.mean([r["mean"] for r in rows]))
        assert row["std"] == pytest.approx(np.mean([r["std"] for r in rows]))
        assert (row["paper_mean"], row["paper_std"]) == paper.TABLE_3[stage][metric]


def test_the_rows_stand_in_the_papers_order(tables):
    keys = zip(*(tables.second[n].to_pylist() for n in ("source", "test", "stage")), strict=True)
    assert list(dict.fromkeys(keys)) == list(paper.TABLE_2)


def test_a_cell_is_the_mean_and_deviation_of_what_the_folds_measured(whole, tables):
    runs = [r.targets["C"] for r in whole.records if r.fold.source == "A"]
    for metric in ("dsc", "sen", "spc"):
        for stage, found in (
            ("before", [r.before for r in runs]),
            ("after", [r.after for r in runs]),
        ):
            values = [evaluations["overlap"].value(metric) for evaluations in found]
            (row,) = [
                row
                for row in tables.second.to_pylist()
                if (row["source"], row["test"], row["stage"], row["metric"])
                == ("A", "C", stage, metric)
                and (row["aggregation"], row["samples"]) == ("pooled", "all")
            ]
            assert row["mean"] == pytest.approx(np.mean(values))
            assert row["std"] == pytest.approx(np.std(values, ddof=1))


def test_what_was_retrained_on_is_left_out_beside(whole, tables):
    counts = {
        (row["samples"], row["slices_min"])
        for row in tables.second.to_pylist()
        if (row["source"], row["test"], row["stage"]) == ("B", "A", "after")
    }
    retrained = {len(selected(r.targets["A"])) for r in whole.records if r.fold.source == "B"}
    assert retrained == {4}
    assert counts == {("all", 16), (NOT_RETRAINED, 12)}
    rest = [row for row in tables.second.to_pylist() if row["samples"] == NOT_RETRAINED]
    assert all(row["paper_mean"] is None for row in rest)


def test_a_change_is_the_mean_over_patients_of_their_mean_over_folds(whole, tables):
    changes = []
    for record in whole.records:
        if record.fold.source != "A":
            continue
        of_patient = []
        for evaluations in (record.targets["C"].before, record.targets["C"].after):
            rows = evaluations["overlap"].samples.to_pylist()
            pooled = {}
            for row in rows:
                tp, errors = pooled.get(row["group"], (0, 0))
                pooled[row["group"]] = (tp + row["tp"], errors + row["fp"] + row["fn"])
            of_patient.append({g: 2 * tp / (2 * tp + e) for g, (tp, e) in pooled.items()})
        before, after = of_patient
        changes.append([after[g] - before[g] for g in sorted(before)])
    (row,) = [
        row
        for row in tables.paired.to_pylist()
        if (row["source"], row["test"], row["samples"], row["metric"]) == ("A", "C", "all", "dsc")
    ]
    means = np.mean(changes, axis=0)
    assert row["patients"] == len(means) == 4
    assert row["change"] == pytest.approx(means.mean())
    assert row["low"] <= row["change"] <= row["high"]
    assert row["better"] == np.sum(means > 0)
    assert row["worse"] == np.sum(means < 0)
    assert 0 < row["p"] <= 1


def test_the_papers_third_table_is_the_mean_of_its_second_but_where_the_note_says():
    differing = set()
    for stage, row in paper.TABLE_3.items():
        for metric, (mean, std) in row.items():
            cells = [r[metric] for (*_, s), r in paper.TABLE_2.items() if s == stage]
            if abs(np.mean([c.mean for c in cells]) - mean) > 0.00051:
                differing.add((stage, metric))
            if abs(np.mean([c.std for c in cells]) - std) > 0.005:
                differing.add((stage, metric))
    assert differing == {("in domain", "sen")}
    assert paper.TABLE_3["in domain"]["sen"] == paper.TABLE_2["C", "C", "in domain"]["sen"]
    assert "0.886 ± 0.02" in paper.TABLE_3_NOTE
    assert np.mean([0.843, 0.861, 0.886]).round(3) == 0.863


def test_the_files_hold_the_tables_and_the_note(whole, tables):
    written(whole)
    second = csv.read_csv(whole.out / "table-2.csv").to_pylist()
    assert [row["mean"] for row in second] == pytest.approx(tables.second["mean"].to_pylist())
    assert csv.read_csv(whole.out / "paired.csv").num_rows == len(tables.paired)
    assert csv.read_csv(whole.out / "measured.csv").num_rows == len(tables.measured)
    text = (whole.out / "report.md").read_text()
    assert text.count("| C | B | after |") == 3 * 3 + 3  # metrics by aggregations, and the rest
    assert "0.807 ± 0.005" in text
    assert paper.TABLE_3_NOTE in text
    assert "95 % interval" in text
    assert "0.807 ± 0.005" in (whole.out / "report.html").read_text()


# Resuming


def test_a_protocol_grows_fold_by_fold_and_source_by_source(data, whole, tmp_path):
    run(data, tmp_path, settings=SETTINGS, sources="B", folds=(1,))
    again = run(data, tmp_path, settings=SETTINGS, sources="AB", folds=(1,))
    assert [record.fold for record in again.records] == [Fold("A", 1), Fold("B", 1)]
    expected = {record.fold: record for record in whole.records}
    for record in again.records:
        for letter, found in record.targets.items():
            other = expected[record.fold].targets[letter]
            columns = ["id", "tp", "fp", "fn", "tn"]
            one, two = (e.after["overlap"].samples.select(columns) for e in (found, other))
            assert one.equals(two)


def test_a_data_set_that_is_missing_is_left_out_until_it_is_there(data, fold, tmp_path):
    partial = tmp_path / "data"
    shutil.copytree(data / "A", partial / "A")
    shutil.copytree(data / "C", partial / "C")
    found = run(partial, tmp_path / "out", sources="AB")
    assert [record.fold for record in found.records] == [Fold("A", 0)]
    assert set(found.records[0].targets) == {"C"}
    assert "Download" in found.missing["B"]
    shutil.copytree(data / "B", partial / "B")
    complete = run(partial, tmp_path / "out")
    assert not complete.missing
    assert written(complete) == written(fold)


def test_one_data_set_is_too_few(data, tmp_path):
    shutil.copytree(data / "A", tmp_path / "data" / "A")
    with pytest.raises(MissingDataError, match=r"another data set.*Download"):
        run(tmp_path / "data", tmp_path / "out")


def test_other_settings_do_not_continue_a_protocol(data, fold):
    with pytest.raises(RunChangedError, match=r"top_k was 0\.25 and is now 0\.5"):
        run(data, fold.out, settings=replace(TINY, top_k=0.5))


def test_a_fold_that_fails_is_told_and_does_not_lose_the_others(data, fold, tmp_path, monkeypatch):
    really = protocol.run_round

    def fails(source, domains, *, settings, **more):
        if settings.fold == 0:
            raise InputError("no luck\nwith this one")
        return really(source, domains, settings=settings, **more)

    monkeypatch.setattr(protocol, "run_round", fails)
    found = run(data, tmp_path, folds=(0, 1))
    assert [record.fold for record in found.records] == [Fold("A", 1)]
    assert found.failures == {Fold("A", 0): "InputError: no luck with this one"}
    assert "Traceback" in (tmp_path / "A" / "fold-0" / "failure.txt").read_text()
    monkeypatch.undo()
    again = run(data, tmp_path, folds=(0, 1))
    assert not again.failures
    assert len(again.records) == 2


def start(data, out):
    """Start the command in a process of its own."""
    options = ["--data", data, "--out", out, "--sources", "A", "--folds", "0", "--device", "cpu"]
    options += ["--size", 32, "--encoder", TINY.encoder, "--encoder-weights", "none"]
    options += ["--epochs", 1, "--min-pixels", 0]
    code = "from pladapt.cli import main; main()"
    command = [sys.executable, "-c", code, "covid-ct", "reproduce", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def changed(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def test_a_protocol_killed_at_random_moments_ends_with_the_same_tables(data, fold, tmp_path):
    clock = time.perf_counter()
    expected = written(run(data, tmp_path / "undisturbed"))
    span = 1.5 * (time.perf_counter() - clock)
    assert expected == written(fold)
    rng = np.random.default_rng()
    out, killed, finished = tmp_path / "out-0", 0, 0
    while killed < KILLS:
        before = changed(out / "run.json")
        process = start(data, out)
        while process.poll() is None and changed(out / "run.json") == before:
            time.sleep(0.01)
        delay = rng.uniform(0, span)
        try:
            _, said = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        else:
            assert process.returncode == 0, said.decode()
            assert {name: (out / name).read_bytes() for name in CSV} == expected
            finished += 1
            out = tmp_path / f"out-{finished}"
    assert written(run(data, out)) == expected


# Side by side


def lazily(code):
    """Return what makes a function in another process, which cannot import this test."""
    return functools.partial(eval, code)


def test_a_fold_in_a_process_of_its_own_gives_the_same_tables(data, fold, tmp_path):
    found = run(data, tmp_path, jobs=2)
    assert not found.failures
    assert written(found) == written(fold)


def test_a_worker_that_dies_takes_its_task_along_and_no_other(capfd):
    tasks = [0, "not a number", 0.01, 0.02]
    ended = dict(in_processes(lazily("__import__('time').sleep"), tasks, jobs=2))
    assert ended == {0: None, "not a number": 1, 0.01: None, 0.02: None}
    assert "TypeError" in capfd.readouterr().err


def test_a_killed_process_is_told_by_its_exit_code():
    kill = lazily("lambda signal: __import__('os').kill(__import__('os').getpid(), signal)")
    assert list(in_processes(kill, [9, 15], jobs=1)) == [(9, -9), (15, -15)]


SLEEPER = """
import os, sys, time
from pladapt_covid_ct.workers import in_processes

def make():
    return sleep

def sleep(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    list(in_processes(make, sys.argv[1:], 1))
"""
"""A script whose worker notes its process and sleeps."""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    note, script = tmp_path / "pid", tmp_path / "script.py"
    script.write_text(SLEEPER)
    parent = subprocess.Popen([sys.executable, str(script), str(note)])
    assert within(60, lambda: note.exists() and note.read_text())
    parent.kill()
    parent.wait()
    assert within(20, lambda: not alive(int(note.read_text())))


def within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_fold_whose_process_was_killed_is_told(data, fold, tmp_path, monkeypatch):
    shutil.copytree(fold.out, tmp_path / "out")

    def die(_make, folds, _jobs):
        yield from ((each, -9) for each in folds)

    monkeypatch.setattr(protocol, "in_processes", die)
    found = run(data, tmp_path / "out", jobs=2)
    assert "exit code -9" in found.failures[Fold("A", 0)]


# The command


@pytest.mark.parametrize(
    ("text", "folds"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("4,0-1,0", [0, 1, 4])]
)
def test_folds_are_given_as_ranges_and_lists(text, folds):
    assert parse_folds(text) == folds


@pytest.mark.parametrize("text", ["", "a", "0-", "1-b"])
def test_folds_that_are_no_numbers_are_refused(text):
    with pytest.raises(InputError, match="range such as 0-4"):
        parse_folds(text)


@pytest.mark.parametrize(
    "wrong", [{"sources": "AD"}, {"sources": ""}, {"folds": (5,)}, {"folds": ()}, {"jobs": 0}]
)
def test_what_makes_no_protocol_is_refused_before_anything_is_read(tmp_path, wrong):
    with pytest.raises(InputError):
        run(tmp_path / "nowhere", tmp_path / "out", **wrong)


def command(data, out, *more):
    options = ["covid-ct", "reproduce", "--data", data, "--out", out, "--sources", "A", "--folds"]
    options += ["0", "--size", 32, "--encoder", TINY.encoder, "--encoder-weights", "none"]
    options += ["--epochs", 1, "--min-pixels", 0, "--device", "cpu", *more]
    return CliRunner().invoke(application(), [str(option) for option in options])


def test_the_command_prints_both_tables_beside_the_papers_and_where_the_files_are(data, fold):
    result = command(data, fold.out)
    assert result.exit_code == 0, result.output
    for shown in ("Table II", "Table III", "A to B, after", "0.730 ± 0.020", "0.886 ± 0.02"):
        assert shown in result.output
    for name in (*CSV[1:], "report.md", "report.html"):
        assert name in result.output
        assert (fold.out / name).is_file()


def test_the_command_fails_where_a_fold_does_and_tells_which(data, tmp_path, monkeypatch):
    def fails(*_args, **_more):
        raise InputError("no luck")

    monkeypatch.setattr(protocol, "run_round", fails)
    result = command(data, tmp_path)
    assert result.exit_code == 1
    assert re.search(r"A, fold 0 failed: InputError: no luck", result.output)


def test_the_command_knows_three_aggregations(data, tmp_path):
    result = command(data, tmp_path, "--aggregation", "patient")
    assert isinstance(result.exception, InputError)
    assert not (tmp_path / "run.json").exists()


def test_the_manifest_names_the_settings_and_neither_fold_nor_device(fold):
    config = json.loads((fold.out / "run.json").read_text())["config"]["settings"]
    assert (config["fold"], config["device"]) == (0, "any")
    assert config["encoder"] == TINY.encoder
