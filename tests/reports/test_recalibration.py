from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

from pladapt import DoNoHarm, Verdict, read_run

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.reports.comparison import compare
from pladapt.reports.findings import describe_run
from pladapt.reports.galleries import Shown
from pladapt.reports.html import to_html
from pladapt.reports.markdown import to_markdown
from pladapt.typing import Recalibration

EVIDENCE = {
    "step": ["one | two", "<three>"],
    "layers": [3, 4],
    "kept": [True, False],
    "fraction": pa.array([0.123456, None], pa.float64()),
}
AGREEMENT = {
    "adjustment": ["none", "source"],
    "agreement": [0.875, 0.9375],
    "per_image": pa.array([0.75, None], pa.float64()),
    "fraction": [0.125, 0.25],
    "taken": pa.array([True, None], pa.bool_()),
}


@dataclass(frozen=True)
class Brighten:
    """A recalibrator with evidence of every kind."""

    agreement: bool = False
    shift: float = 0.05

    def recalibrate(self, predictor, target, /):
        made = replace(predictor, shift=predictor.shift + self.shift)
        return Recalibration(made, made, pa.table(AGREEMENT if self.agreement else EVIDENCE))


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


def test_the_evidence_of_agreements_is_explained(toy):
    record = toy.run(toy.lesions(), recalibrator=Brighten(agreement=True)).record
    section = part(describe_run(record), "Recalibration")
    (points,) = (block for block in section.body if block.kind == "bullets")
    said = " ".join(points.items)
    assert all(f"`{name}`" in said for name in ("agreement", "per_image", "fraction", "source"))
    assert "wrong alike" in said
    table = next(block for block in section.body if block.kind == "table")
    assert table.rows == (
        ("none", "0.8750", "0.7500", "0.1250", "yes"),
        ("source", "0.9375", "", "0.2500", ""),
    )


def test_the_lead_gives_the_estimate_of_the_model_as_it_was(toy):
    estimated = AGREEMENT | {
        name: pa.array([value, None], pa.float64())
        for name, value in (("dsc", 0.78), ("low", 0.7), ("high", 0.85))
    }
    record = toy.run(toy.lesions(), recalibrator=Brighten()).record
    found = replace(record.recalibration, evidence=pa.table(estimated))
    lead = describe_run(replace(record, recalibration=found)).lead
    assert "Estimated DSC of the model as it was: 0.78 (90 % interval 0.70 to 0.85)." in lead
    assert "After the training there is no estimate" in lead
    without = describe_run(record).lead
    assert "stimate" not in without


# Verdicts


@dataclass(frozen=True)
class Ending:
    """A recalibrator that ends the adaptation."""

    outcome: str

    def recalibrate(self, predictor, target, /):
        verdict = Verdict(self.outcome, "it would not help")
        return Recalibration(predictor, predictor, pa.table(EVIDENCE), verdict)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("unchanged", "left as it was"), ("unfit", "not fit for these images")],
)
def test_the_verdict_stands_first_where_the_model_stays_as_it_was(toy, tmp_path, outcome, said):
    made = toy.run(toy.lesions(), workdir=tmp_path, recalibrator=Ending(outcome))
    document = describe_run(made.record, shown=Shown(**made.shown))
    assert document == describe_run(read_run(tmp_path))
    assert document.lead == f"Verdict: {said}: it would not help."
    words = toy.Page(to_html(document)).words
    assert words.index("Verdict:") < words.index("How to read the figures")
    assert to_markdown(document).splitlines()[2] == document.lead
    section = part(document, "Recalibration")
    assert "nothing was found that surely fits the model" in section.body[0].text
    assert "Selection" not in [each.title for each in document.body]


def test_a_refused_recalibration_shows_what_the_gates_measured(toy, tmp_path):
    harm = {"recalibrator": Brighten(shift=-0.6), "gates": [DoNoHarm()]}
    made = toy.run(toy.lesions(), workdir=tmp_path, **harm)
    document = describe_run(made.record)
    assert document == describe_run(read_run(tmp_path))
    assert document.lead.startswith(
        "Verdict: left as it was: the recalibration was refused: foreground fraction"
    )
    section = part(document, "Recalibration")
    assert "refused by a gate" in section.body[0].text
    tables = {block.caption: block for block in section.body if block.kind == "table"}
    judged = tables["Recalibration, refused: the predictor that was given and the one it made"]
    assert judged.rows[0][:2] == ("foreground fraction", "1")
    assert judged.rows[0][-1] == "no"


def test_an_accepted_recalibration_shows_it_too(toy):
    made = toy.run(toy.lesions(), recalibrator=Brighten(), gates=[DoNoHarm()])
    captions = [b.caption for b in part(describe_run(made.record), "Recalibration").body[1:]]
    assert "Recalibration, accepted: the predictor that was given and the one it made" in captions


def test_a_run_without_rounds_has_a_report(toy, tmp_path):
    made = toy.run(toy.lesions(), workdir=tmp_path, recalibrator=Brighten(), rounds=0)
    document = describe_run(made.record, shown=Shown(**made.shown))
    assert document == describe_run(read_run(tmp_path))
    assert document.lead == (
        "Verdict: adapted: recalibrated. "
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
