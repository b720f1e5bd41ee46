"""Several lesion classes through the same pipeline, on two phantom sets that tell them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pladapt import InputError
from pladapt_covid_ct import protocol, report
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.protocol import reproduce
from pladapt_covid_ct.protocol_report import Tables, write_protocol
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.tables import table

SETTINGS = Settings(
    size=32,
    encoder="tu-test_resnet",
    encoder_weights="none",
    epochs=2,
    min_pixels=0,
    lesions="classes",
    device="cpu",
)
NAMES = {1: "ground glass", 2: "consolidation"}


def silent(stage, done, total):
    assert 0 <= done <= total


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Set C, and in B's place another set in C's layout; set A as it is."""
    folder, other = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("other")
    write_phantoms(folder, 0, patients={"A": 3, "C": 4}, slices=4, size=64)
    write_phantoms(other, 1, patients={"C": 4}, slices=4, size=64)
    (other / "C").rename(folder / "B")
    return folder


@pytest.fixture
def two_sets(monkeypatch):
    """Let B be read as C is."""
    own = DATASETS["C"]

    def load(folder, **options):
        read = own.load(folder / "B", **options)
        slices = read.slices
        rows = [row._replace(id=f"B-{row.id}", group=f"B-{row.group}") for row in slices.rows]
        return replace(read, name="B", slices=type(slices)(slices.volumes, rows))

    monkeypatch.setitem(DATASETS, "B", replace(own, letter="B", load=load))


def run(data, out, source="C", target="B", settings=SETTINGS):
    return run_experiment(data, source, [target], settings=settings, out=out, progress=silent)


def test_each_class_is_calibrated_scored_labelled_evaluated_and_reported(data, two_sets, tmp_path):
    outcome = run(data, tmp_path)
    trained, result = outcome.trained, outcome.targets["B"]
    probabilities = trained.predictor.predict(torch.zeros(1, 1, 32, 32))
    assert tuple(probabilities.shape) == (1, 3, 32, 32)
    assert float(probabilities.sum(1).max()) == pytest.approx(1)
    assert len(trained.calibration.cutoff) == 2
    assert {"ci_1", "ci_2", "pixels_1", "pixels_2"} <= set(result.rounds[0].scores.column_names)
    for evaluation in (trained.in_domain, result.before["overlap"], result.after["overlap"]):
        assert set(evaluation.samples["class"].to_pylist()) == {1, 2}
    rows = list(table(outcome))
    for name in NAMES.values():
        assert [row[0] for row in rows].count(f"C in domain, {name}") == 1
        assert f"C to B, {name}" in {row[0] for row in rows}
    report.write_report(outcome, tmp_path)
    assert "C to B, consolidation" in (tmp_path / "report.md").read_text()


def test_the_truth_of_each_class_is_that_of_the_masks(data, two_sets, tmp_path):
    outcome = run(data, tmp_path)
    samples = outcome.domains["B"].samples
    for row in outcome.targets["B"].after["overlap"].samples.to_pylist():
        (sample,) = [s for s in map(samples.__getitem__, range(len(samples))) if s.id == row["id"]]
        assert row["tp"] + row["fn"] == np.count_nonzero(sample.mask == row["class"])


def test_the_protocols_tables_have_rows_for_each_class_and_none_of_the_papers(
    data, two_sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(protocol, "LETTERS", ("B", "C"))
    found = reproduce(
        data, settings=SETTINGS, out=tmp_path, progress=silent, sources="C", folds=(0,)
    )
    tables = Tables.of(found.records)
    assert tables.classes == tuple(NAMES.values())
    assert set(tables.paired["class"].to_pylist()) == set(NAMES.values())
    assert tables.second["paper_mean"].null_count == len(tables.second)
    write_protocol(found, tables, "pooled")
    text = (tmp_path / "report.md").read_text()
    for name in NAMES.values():
        assert f"Table II, DSC of the {name}" in text


@pytest.mark.parametrize(("source", "target"), [("C", "A"), ("A", "C")])
def test_data_that_tell_no_classes_apart_are_refused(data, tmp_path, source, target):
    with pytest.raises(InputError, match=r"'A': \{1: 'infection'\}.*lesions='binary'"):
        run(data, tmp_path, source, target)


def test_sets_with_other_classes_are_refused(data, two_sets, tmp_path, monkeypatch):
    other = DATASETS["B"]

    def load(folder, **options):
        return replace(other.load(folder, **options), classes={1: "nodule", 2: "emphysema"})

    monkeypatch.setitem(DATASETS, "B", replace(other, load=load))
    with pytest.raises(InputError, match="the same classes"):
        run(data, tmp_path)


def test_effusion_is_a_third_class_where_it_is_kept(data, two_sets, tmp_path):
    settings = replace(SETTINGS, effusion="keep", epochs=1)
    outcome = run(data, tmp_path, settings=settings)
    assert outcome.domains["C"].classes == NAMES | {3: "pleural effusion"}
    assert outcome.trained.channels == 4
    assert len(outcome.trained.calibration.cutoff) == 3


def test_one_lesion_of_all_classes_is_the_default(data, tmp_path):
    settings = replace(SETTINGS, lesions="binary", epochs=1)
    outcome = run(data, tmp_path, "C", "A", settings)
    assert outcome.trained.channels == 1
    samples = outcome.domains["C"].samples
    assert {int(samples[i].mask.max()) for i in range(len(samples))} <= {0, 1}
