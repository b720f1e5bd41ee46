from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from pladapt.evaluation import Calibration
from pladapt.reports.document import Table
from pladapt_covid_ct import appearance, tables
from pladapt_covid_ct.datasets import DATASETS
from pladapt_covid_ct.experiment import run_experiment
from pladapt_covid_ct.lungs import find_lung
from pladapt_covid_ct.phantoms import write_phantoms
from pladapt_covid_ct.report import describe, write_report
from pladapt_covid_ct.settings import Settings
from pladapt_covid_ct.slices import Intensity

SETTINGS = Settings(
    size=32,
    encoder="resnet18",
    encoder_weights="none",
    epochs=2,
    top_k=0.5,
    min_pixels=0,
    device="cpu",
)
NOTE = "What these figures are <b>not</b>."


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on data of which one file is damaged."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    write_phantoms(data, 0, patients={"A": 5, "B": 2, "C": 2}, slices=4, size=48)
    damaged = data / "A" / "COVID-19-CT-Seg_20cases" / "coronacases_005.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    outcome = run_experiment(
        data, "A", ("B", "C"), settings=SETTINGS, out=out, progress=lambda *_: None
    )
    write_report(outcome, out, notes=[NOTE])
    return out, outcome


@pytest.fixture(scope="module")
def document(finished):
    out, outcome = finished
    return describe(outcome, out, notes=[NOTE])


@pytest.fixture(scope="module")
def html(finished):
    return (finished[0] / "report.html").read_text(encoding="utf-8")


def blocks(part, kind=object):
    """Every block of a document or section, whatever it stands in."""
    for block in part.body:
        if isinstance(block, kind):
            yield block
        if hasattr(block, "body"):
            yield from blocks(block, kind)


def table(document, start):
    (found,) = [t for t in blocks(document, Table) if t.caption.startswith(start)]
    return found


def test_every_promised_part_is_there(document):
    assert [section.title for section in document.body] == [
        "Before and after",
        "How to read the figures",
        "A to B",
        "A to C",
        "The source A",
        "The data",
        "The pipeline",
        "What ran",
    ]
    for target in document.body[2:4]:
        assert [section.title for section in target.body] == [
            "Selection",
            "Kept and dropped samples",
            "Each sample and each group",
            "What the pseudo-labels were worth",
            "Retraining",
        ]


@pytest.mark.parametrize("aggregation", ["pooled", "group", "sample"])
def test_the_figures_are_those_of_the_terminal_in_both_files(finished, document, aggregation):
    out, outcome = finished
    shown = table(document, f"{aggregation.capitalize()}:")
    assert shown.header == tables.HEADER
    assert list(shown.rows) == list(tables.table(outcome, aggregation))
    markdown = (out / "report.md").read_text(encoding="utf-8")
    for row in shown.rows:
        assert f"| {' | '.join(row)} |" in markdown


class Cells(HTMLParser):
    """The rows of a page's tables."""

    def __init__(self, text):
        super().__init__()
        self.rows = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, _attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data


def test_the_page_has_every_row_of_every_table(document, html):
    shown = {tuple(row) for row in Cells(html).rows}
    expected = {
        tuple(cell.replace("`", "") for cell in row)
        for found in blocks(document, Table)
        for row in (found.header, *found.rows)
    }
    assert len(expected) > 40
    assert expected - shown == set()


def test_the_page_asks_for_nothing(html):
    without_text = re.sub(r">[^<]*<", "><", html)
    assert not re.search(r"https?:|@import|<script|<link|<img", without_text)


def test_a_file_that_was_left_out_is_listed_with_its_reason(document):
    (row,) = table(document, "What was left out").rows
    assert row[0] == "A"
    assert "coronacases_005" in row[1]
    assert row[2]


def test_the_data_are_counted_beside_the_papers_table(finished, document):
    _, outcome = finished
    rows = {row[0]: row[1:] for row in table(document, "What was read").rows}
    assert set(rows) == {"A", "B", "C"}
    for letter, (name, *counts) in rows.items():
        assert name == DATASETS[letter].name
        assert counts[:3] == [str(n) for n in outcome.domains[letter].dataset.counts]
        assert counts[3] == str(len(outcome.domains[letter].samples))
    assert rows["A"][5:] == ("10", "2581", "1351")


def test_what_a_reader_must_know_leads(document, finished, html):
    points = document.body[1].body[0].items
    assert points[0] == NOTE
    assert "flattered" in points[1]
    assert str(finished[1].trained.calibration.cutoff) in points[1]
    assert all(patient in points[1] for patient in finished[1].trained.split.test)
    assert any("were harder" in point or "harder ones" in point for point in points)
    assert "&lt;b&gt;not&lt;/b&gt;" in html


def test_a_cutoff_at_the_edge_of_its_grid_is_said(finished):
    out, outcome = finished
    curve = pa.table({"class": [1] * 3, "cutoff": [0.1, 0.5, 0.9], "dsc": [0.0, 0.0, 0.0]})
    warned = []
    for best in (1, 2):
        values = pa.array([float(place == best) for place in range(3)])
        calibration = Calibration.from_curve(curve.set_column(2, "dsc", values), "pooled")
        changed = replace(outcome, trained=replace(outcome.trained, calibration=calibration))
        points = describe(changed, out).body[1].body[0].items
        warned.append([point for point in points if "at the edge" in point])
    assert warned[0] == []
    assert warned[1][0].startswith("The cut-off 0.9 lies at the edge of those that were tried")


def test_the_pseudo_labels_are_measured_by_the_truth(finished, document):
    for section, record in zip(document.body[2:4], finished[1].targets.values(), strict=True):
        rows = table(section, "Kept against dropped").rows
        kept = record.rounds[0].selection.kept
        samples = {row[2]: row[3] for row in rows}
        assert samples["pseudo-labels, kept"] == samples["predictions, kept"] == str(len(kept))
        # the labels are what was predicted at the evaluator's cut-off
        labels, predicted = (
            next(row for row in rows if row[2] == what)[4:]
            for what in ("pseudo-labels, kept", "predictions, kept")
        )
        assert labels == predicted


def test_a_choice_of_infected_slices_is_owned_up_to(finished):
    out, outcome = finished
    infected = replace(outcome, settings=replace(SETTINGS, slices="infected"))
    points = describe(infected, out).body[1].body[0].items
    assert any("looks at their masks" in point for point in points)


def test_settings_seeds_and_versions_are_there(finished, document):
    rows = {name: value for name, value, _ in table(document, "The settings").rows}
    assert rows == {name: str(value) for name, value in vars(SETTINGS).items()}
    manifest = json.loads((finished[0] / "run.json").read_text())
    versions = dict(table(document, "Versions").rows)
    assert versions["torch"] == manifest["environments"][0]["packages"]["torch"]


def test_every_target_shows_its_own_overlays(finished, html):
    for letter, result in finished[1].targets.items():
        kept = result.rounds[0].selection.kept[0]
        assert f"{kept}: rank 1, CI " in html, letter
    assert html.count('class="overlay"') > 8


class FewSlices(list):
    """Slices with the rows that describe them."""

    def __init__(self, slices, rows):
        super().__init__(slices)
        self.rows = rows


def test_the_histograms_are_of_the_lung_in_hounsfield_units(finished):
    domains = finished[1].domains
    slices = domains["A"].dataset.slices
    values = [slices[i].image[find_lung(slices[i], "files")] for i in range(len(slices))]
    (charts,) = [
        block
        for block in appearance.appearance(domains)
        if block.caption == "The intensities in the lungs of the data sets"
    ]
    assert f"A {np.median(np.concatenate(values)):.3g}" in charts.figures[0].caption
    assert len(charts.figures) == 2


def test_data_on_another_scale_get_a_chart_of_their_own(finished):
    domains = dict(finished[1].domains)
    slices = domains["C"].dataset.slices
    shifted = [replace(slices[i], intensity=Intensity.EIGHT_BIT, lung=None) for i in range(4)]
    eight_bit = FewSlices(shifted, slices.rows[:4])
    domains["C"] = replace(domains["C"], dataset=replace(domains["C"].dataset, slices=eight_bit))
    *_, charts = appearance.appearance(domains)
    stored, other, _ = (figure.caption for figure in charts.figures)
    assert stored.startswith("The intensity as stored (8-bit); medians: C ")
    assert other.startswith("The intensity as stored (HU); medians: A ")


def test_the_same_run_gives_the_same_bytes(finished, html, tmp_path):
    out, outcome = finished
    (tmp_path / "run.json").write_bytes((out / "run.json").read_bytes())
    write_report(outcome, tmp_path, notes=[NOTE])
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html
    assert (tmp_path / "report.md").read_bytes() == (out / "report.md").read_bytes()
