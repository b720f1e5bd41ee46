from __future__ import annotations

import base64
import importlib
import io
import re
import sys
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from pladapt import Evaluation, InputError, LabelledSample, Rules, hard_labels
from pladapt.errors import MissingDependencyError

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from PIL import Image

from pladapt.functional.overlap import METRICS
from pladapt.reports.comparison import compare
from pladapt.reports.findings import describe_run
from pladapt.reports.galleries import Shown
from pladapt.reports.html import to_html, write_html

SVG = re.compile(r"<svg .*?</svg>", re.DOTALL)


def drawn_as(text):
    return ET.fromstring(text)  # noqa: S314 - what the module under test has just drawn


def document(made, *, truth=True, **options):
    shown = dict(made.shown) if truth else made.shown | {"truth": None}
    return describe_run(made.record, shown=Shown(**shown, **options))


@pytest.fixture(scope="module")
def made(toy, tmp_path_factory):
    return toy.run(toy.lesions(), workdir=tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(made):
    return to_html(document(made))


@pytest.fixture(scope="module")
def page(toy, html):
    return toy.Page(html)


def test_a_page_asks_for_nothing_and_runs_nothing(html, page):
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link|<iframe", html)
    references = [a[k] for _, a in page.elements for k in ("href", "src", "xlink:href") if k in a]
    assert references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_name_stands_once_and_every_reference_finds_it(html, page):
    names = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(names) == len(set(names))
    links = {attrs["href"][1:] for attrs in page.all("a")}
    used = {a["href"][1:] for a in page.all("use")} | set(re.findall(r"url\(#([^)]*)\)", html))
    assert len(links) >= 5
    assert used
    assert links | used <= set(names)


def test_every_picture_is_well_formed_and_says_what_it_shows(html):
    pictures = [drawn_as(text) for text in SVG.findall(html)]
    assert len(pictures) > 10
    for picture in pictures:
        assert picture.get("role") == "img"
        assert len(picture.get("aria-label")) > 20
        assert picture.get("viewBox")


def test_every_table_has_a_caption_and_named_rows_and_columns(page):
    tables = len(page.all("table"))
    assert len(page.all("caption")) == tables == len(page.tables)
    assert {attrs.get("scope") for attrs in page.all("th")} == {"row", "col"}


def test_every_promised_part_is_there(page):
    assert page.headings == [
        "Before and after adaptation",
        "Before and after",
        "How to read the figures",
        "Selection",
        "Kept and dropped samples",
        "Each sample and each group",
        "What the pseudo-labels were worth",
        "Retraining",
        "The pipeline",
        "What ran",
        "What to do next",
    ]
    alts = [attrs["aria-label"] for attrs in page.all("svg")]
    for start in ("Histogram of the certainty index", "Scatter plot of the DSC", "Line chart: 3"):
        assert any(alt.startswith(start) for alt in alts)


def test_the_figures_are_those_of_the_evaluations(made, page):
    rows = next(rows for caption, rows in page.tables.items() if caption.startswith("Every figure"))
    shown = {tuple(row[:4]): row[4:] for row in rows[1:]}
    before, after = made.record.before["overlap"], made.record.after["overlap"]
    for aggregation in ("pooled", "group", "sample"):
        for metric in METRICS:
            old = before.value(metric, aggregation=aggregation)
            new = after.value(metric, aggregation=aggregation)
            cells = shown["all", aggregation, "1", metric.upper()]
            assert cells[:3] == [f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}"]
    assert len(shown) == len(compare(made.record, "overlap")) == 18


def test_the_tables_that_lead_say_the_same_as_the_table_of_every_figure(page):
    every = next(rows for caption, rows in page.tables.items() if "Every" in caption)
    for aggregation in ("pooled", "group", "sample"):
        caption = next(c for c in page.tables if c.startswith(f"overlap, {aggregation}: "))
        for samples, class_, *cells in page.tables[caption][1:]:
            expected = [
                f"{row[4]} → {row[5]}" for row in every if row[:3] == [samples, aggregation, class_]
            ]
            assert cells == expected


def test_the_marks_are_the_cutoff_the_limit_and_the_last_kept_score(made, html):
    scores = dict(
        zip(*(made.record.rounds[0].scores[n].to_pylist() for n in ("id", "score")), strict=True)
    )
    last = scores[made.record.rounds[0].selection.kept[-1]]
    for mark in ("cut-off 0.5", "limit 0.6", f"k = 3: {last:.3f}"):
        assert f">{mark}</text>" in html


def test_kept_and_dropped_samples_are_shown_with_their_scores(made, html):
    scores = {row["id"]: row for row in made.record.rounds[0].scores.to_pylist()}
    best = made.record.rounds[0].selection.kept[0]
    assert f"{best}: rank 1, CI {scores[best]['score']:.3f}, N {scores[best]['pixels']}" in html
    for rule in made.record.rounds[0].selection.counts:
        assert ("Kept: " if rule == "kept" else f"Dropped by {rule}: ") in html
    assert html.count('class="outline truth class-1"') == html.count('class="overlay"') > 5


def test_without_truth_no_truth_is_drawn_or_spoken_of(made):
    text = to_html(document(made, truth=False))
    assert 'class="outline truth' not in text
    assert "Dashed" not in text


def test_so_many_samples_are_shown_as_were_asked_for(made):
    text = to_html(document(made, kept=1, dropped=1))
    rules = made.record.rounds[0].selection.counts
    assert text.count('class="overlay"') == len(rules)


def test_the_same_run_gives_the_same_bytes_whatever_the_users_style(made, html, tmp_path):
    import matplotlib as mpl

    with mpl.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.fonttype": "path"}):
        write_html(document(made), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "$\\frac{1}",
    "</svg></title>&amp;]]><!--",
    "a`b\n| c",
    "{{ 7 * 7 }}",
    "肺",
    "x" * 99,
]


def test_hostile_names_are_shown_and_do_nothing(toy, tmp_path):
    made = toy.run(toy.lesions(names=HOSTILE), workdir=tmp_path)
    text = to_html(document(made, dropped=8))
    page = toy.Page(text)
    assert not [tag for tag, _ in page.elements if tag in ("script", "img")]
    assert not [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert [name for name in HOSTILE if f"{name}p" not in page.words] == []
    assert [name for name in HOSTILE if f"{name}s" not in page.words] == []
    assert [drawn_as(picture) for picture in SVG.findall(text)]


def test_several_classes_are_shown_each_by_itself(toy, tmp_path):
    made = toy.run(toy.lesions(classes=2, count=10), workdir=tmp_path, ci_limit=0.5)
    text = to_html(document(made))
    page = toy.Page(text)
    assert "Each class has its own colours." in text
    for class_ in (1, 2):
        assert f"DSC of class {class_} before and after" in text
        assert f'class="outline truth class-{class_}"' in text
        assert any(f"of class {class_}" in caption for caption in page.tables)


def picture_of(text):
    """The grey values of the first overlay."""
    overlay = text[text.index('class="overlay"') :]
    data = re.search(r'href="data:image/png;base64,([^"]*)"', overlay)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))


def test_of_a_volume_the_middle_slice_is_shown(toy, tmp_path):
    made = toy.run(toy.lesions(shape=(9, 12, 14)), workdir=tmp_path)
    best = made.record.rounds[0].selection.kept[0]
    image = next(sample.image for sample in made.shown["target"] if sample.id == best)
    shown = picture_of(to_html(document(made)))
    assert shown.shape == (12, 14)
    assert np.corrcoef(shown.ravel(), image[0, 4].ravel())[0, 1] > 0.999
    assert np.corrcoef(shown.ravel(), image[0, 3].ravel())[0, 1] < 0.99


def test_a_run_that_selected_nothing_says_why(toy, tmp_path):
    made = toy.run(toy.lesions(), workdir=tmp_path, ci_limit=1.0)
    page = toy.Page(to_html(document(made)))
    assert "The run stopped: round 1 selected none of 8 samples" in page.words
    table = next(rows for c, rows in page.tables.items() if c.startswith("overlap, pooled"))
    assert [row[0] for row in table] == ["samples", "all"]
    assert all(cell.split(" → ")[0] == cell.split(" → ")[1] for cell in table[1][2:])
    assert "Retraining" not in page.headings


def test_the_marks_are_there_without_a_folder(toy):
    text = to_html(document(toy.run(toy.lesions())))
    assert ">cut-off 0.5</text>" in text
    assert ">limit 0.6</text>" in text


def test_a_run_without_evaluators_or_folder_shows_what_there_is(toy):
    made = toy.run(toy.lesions(), evaluators={})
    page = toy.Page(to_html(document(made)))
    assert "nothing was measured" in page.words
    assert "The run was kept in no folder" in page.words
    assert {"Selection", "Kept and dropped samples"} <= set(page.headings)
    assert "Each sample and each group" not in page.headings


def test_every_round_has_a_column_of_counts_and_a_chart(toy, tmp_path):
    made = toy.run(toy.lesions(), workdir=tmp_path, rounds=2)
    page = toy.Page(to_html(document(made)))
    rows = page.tables["What became of the samples; the first rule that drops one is its reason"]
    assert rows[0] == ["rule", "meaning", "round 1", "round 2"]
    for place, current in enumerate(made.record.rounds, start=2):
        counts = {row[0]: int(row[place]) for row in rows[1:]}
        assert {rule: n for rule, n in counts.items() if n or rule == "kept"} == (
            current.selection.counts
        )
    assert {"Retraining, round 1", "Retraining, round 2"} <= set(page.headings)


@dataclass(frozen=True, kw_only=True)
class Least(Rules):
    """A selector that knows neither CI nor pixels."""

    def score(self, prediction, /):
        return {"score": prediction.probabilities.min(axis=(1, 2, 3))}

    def label(self, prediction, /):
        return hard_labels(prediction.probabilities)


class Counting:
    """An evaluator that measures something of its own."""

    def evaluate(self, predictor, /):
        import pyarrow as pa

        row = {"aggregation": "all", "class": 1, "metric": "shift", "std": None, "count": 7}
        summary = pa.Table.from_pylist([row | {"mean": predictor.shift}])
        return Evaluation(pa.table({"id": ["a"], "group": ["b"]}), summary)


def test_parts_of_other_kinds_are_shown_by_what_they_have(toy, tmp_path):
    made = toy.run(
        toy.lesions(), workdir=tmp_path, selector=Least(top_k=2), evaluators={"own": Counting()}
    )
    page = toy.Page(to_html(document(made)))
    (rows,) = [rows for caption, rows in page.tables.items() if caption.startswith("own, before")]
    assert rows[1] == ["all", "1", "shift", "0.000", "0.100", "7"]
    assert "rank 1, score 0." in page.words


def test_another_target_than_the_one_that_was_scored_is_refused(made):
    turned = made.shown["target"][::-1]
    with pytest.raises(InputError, match="in the order that the run was given"):
        describe_run(made.record, shown=Shown(**made.shown | {"target": turned}))
    truth = [
        LabelledSample(f"other-{sample.id}", sample.group, sample.image, sample.mask)
        for sample in made.shown["truth"]
    ]
    with pytest.raises(InputError, match="in the order that the run was given"):
        describe_run(made.record, shown=Shown(**made.shown | {"truth": truth}))


@pytest.mark.parametrize(
    ("module", "missing"), [("html", "jinja2"), ("figures", "matplotlib"), ("overlays", "PIL")]
)
def test_a_missing_library_names_the_extra(monkeypatch, module, missing):
    name = f"pladapt.reports.{module}"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pladapt\[report\]'"):
        importlib.import_module(name)
