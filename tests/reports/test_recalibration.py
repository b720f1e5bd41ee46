from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

import pladapt
from pladapt import read_run

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.reports.comparison import compare
from pladapt.reports.findings import describe_run
from pladapt.reports.galleries import Shown
from pladapt.reports.html import to_html
from pladapt.reports.markdown import to_markdown

EVIDENCE = {
    "step": ["one | two", "<three>"],
    "layers": [3, 4],
    "kept": [True, False],
    "fraction": pa.array([0.123456, None], pa.float64()),
}
CONSENSUS = EVIDENCE | {
    "adjustment": ["none", "batch norm"],
    "agreement": [0.9, -1.0],
    "shift": [0.5, -0.25],
}


@dataclass(frozen=True)
class Brighten:
    """A recalibrator with evidence of every kind."""

    consensus: bool = False

    def recalibrate(self, predictor, target, /):
        made = replace(predictor, shift=predictor.shift + 0.05)
        return pladapt.typing.Recalibration(
            made, made, pa.table(CONSENSUS if self.consensus else EVIDENCE)
        )


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recalibrated")
    made = toy.run(toy.lesions(), workdir=folder, recalibrator=Brighten())
    shown = Shown(**made.shown)
    return folder, made.record, describe_run(made.record, shown=shown)


def part(document, title):
    (section,) = (section for section in document.body if section.title == title)
    return section


def test_a_page_shows_the_evidence_and_what_recalibration_alone_changed(toy, finished):
    _, record, document = finished
    page = toy.Page(to_html(document))
    assert page.headings.index("Recalibration") < page.headings.index("Selection")
    assert page.tables["What it was made from, without a label of the target"] == [
        ["step", "layers", "kept", "fraction"],
        ["one | two", "3", "yes", "0.1235"],
        ["<three>", "4", "no", ""],
    ]
    alone = page.tables[
        "Every figure of overlap before and after recalibration alone, and of how many values it is"
    ]
    expected = compare(replace(record, rounds=()), "overlap")
    assert [row[4:6] for row in alone[1:]] == [
        [f"{change.before:.3f}", f"{change.after:.3f}"] for change in expected
    ]
    assert any(change.before != change.after for change in expected)
    assert {row[0] for row in alone[1:]} == {"all"}
    assert "Cohen" not in page.words
    assert "The model was recalibrated on the unlabelled target. 3 of 8" in page.words


def test_the_text_shows_it_too(finished):
    text = to_markdown(finished[2])
    section = text.partition("## Recalibration\n")[2].partition("\n## ")[0]
    assert "| one \\| two | 3 | yes | 0.1235 |" in section
    assert "| &lt;three> | 4 | no |  |" in section
    assert "recalibration alone" in section


def test_a_report_from_the_folder_is_that_of_the_run_itself(finished):
    folder, record, _ = finished
    assert describe_run(read_run(folder)) == describe_run(record)


def test_the_evidence_of_a_consensus_is_explained(toy):
    record = toy.run(toy.lesions(), recalibrator=Brighten(consensus=True)).record
    section = part(describe_run(record), "Recalibration")
    (points,) = (block for block in section.body if block.kind == "bullets")
    said = " ".join(points.items)
    assert all(f"`{name}`" in said for name in ("agreement", "kept", "agreed", "fraction", "shift"))
    assert "wrong alike" in said


def test_a_run_without_rounds_has_a_report(toy, tmp_path):
    made = toy.run(toy.lesions(), workdir=tmp_path, recalibrator=Brighten(), rounds=0)
    document = describe_run(made.record, shown=Shown(**made.shown))
    assert document == describe_run(read_run(tmp_path))
    assert document.lead == (
        "The model was recalibrated on the unlabelled target, and not retrained."
    )
    titles = [section.title for section in document.body]
    assert titles[:3] == ["Before and after", "How to read the figures", "Recalibration"]
    assert not {"Selection", "Do no harm", "Kept and dropped samples", "The pipeline"} & set(titles)
    table = part(document, "Before and after").body[0]
    assert table.caption.startswith("overlap, pooled")
    before, after = (
        found["overlap"].value("dsc", aggregation="pooled")
        for found in (made.record.before, made.record.recalibration.evaluations)
    )
    assert table.rows[0][2] == f"{before:.3f} → {after:.3f}"
    assert before != after
    toy.Page(to_html(document))
    to_markdown(document)


def test_a_run_without_a_recalibrator_has_no_word_of_it(toy):
    text = to_markdown(describe_run(toy.run(toy.lesions()).record))
    assert "recalibrat" not in text.lower()
