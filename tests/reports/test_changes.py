"""Pictures of before and after, and what a report says to do next."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from pladapt.reports.changes import Compared, change_section, next_steps
from pladapt.reports.document import Document
from pladapt.reports.findings import describe_run
from pladapt.reports.galleries import gallery_section
from pladapt.reports.html import to_html
from pladapt.reports.markdown import to_markdown
from pladapt.types import LabelledSample


def compared(made, **options):
    given = made.shown | {"before": made.shown["predictor"], "teacher": made.record.first}
    given |= {"after": made.record.predictor} | options
    del given["predictor"]
    return Compared(**given)


def section(made, **options):
    return change_section(made.record, compared(made, **options), {"s0": "DSC 0.1"})


def galleries(made, **options):
    found = section(made, **options)
    return [block for block in found.body if block.kind == "gallery"]


def kept_and_dropped(made, **options):
    shown = compared(made, **options).shown(made.record.rounds[0])
    return to_text(gallery_section(made.record, shown, {}))


def to_text(*sections):
    return to_html(Document("t", "lead", sections))


@pytest.fixture(scope="module")
def made(toy):
    return toy.run(toy.lesions(), by=0.3)


@pytest.fixture(scope="module")
def document(made):
    return describe_run(made.record, compared=compared(made))


def test_what_changed_most_is_shown_before_after_and_where_it_differs(made):
    predictors, truth = (made.shown["predictor"], made.record.predictor), made.shown["truth"]
    changed = {
        sample.id: np.mean(
            np.not_equal(*((p.predict(sample.image[None]) > 0.5) for p in predictors))
        )
        for sample in truth
    }
    shown = [each for each in galleries(made) if each.caption.startswith("Changed most")]
    ids = [re.search(r": (s\d):", each.caption)[1] for each in shown]
    assert [changed[id_] for id_ in ids] == sorted(changed.values())[-1:-4:-1]
    for gallery in shown:
        before, after, difference = gallery.figures
        assert (before.caption, after.caption) == ("Before", "After")
        assert re.fullmatch(r"\+\d+ and -\d+ pixels", difference.caption)
        assert 'class="outline gained class-1"' in difference.svg
        assert 'class="outline truth class-1"' in before.svg
    captions = " ".join(each.caption for each in galleries(made))
    assert "DSC 0.1" in captions or ": s0:" not in captions


def test_what_the_model_is_least_sure_of_is_shown_as_well(made):
    unsure = [each for each in galleries(made) if each.caption.startswith("Least sure")]
    assert len(unsure) == 2
    assert all("CI 0." in each.caption for each in unsure)


def test_a_page_has_at_most_two_dozen_pictures(toy):
    made = toy.run(toy.lesions(count=80), by=0.3)
    text = to_text(section(made)) + kept_and_dropped(made)
    assert 15 < text.count('class="overlay"') <= 24
    assert "64 of 80 samples, spread evenly," in text


def test_where_nothing_was_changed_one_mask_is_shown(toy):
    made = toy.run(toy.lesions(), ci_limit=1.0)
    assert made.record.predictor is made.shown["predictor"]
    shown = galleries(made)
    assert [len(each.figures) for each in shown] == [1, 1]
    assert "Nothing was changed." in section(made).body[0].text


def test_where_nothing_is_marked_and_nothing_changed_there_is_no_section(toy):
    dark = [replace(each, image=0 * each.image) for each in toy.lesions()]
    assert section(toy.run(dark, ci_limit=1.0)) is None


def test_of_a_volume_the_slice_with_most_difference_is_shown(toy):
    made = toy.run(toy.lesions(shape=(9, 12, 14)), by=0.3)
    caption = galleries(made)[0].figures[2].caption
    at = int(re.search(r"slice (\d+) of 9", caption)[1]) - 1
    id_ = re.search(r": (s\d):", galleries(made)[0].caption)[1]
    image = next(each.image for each in made.shown["target"] if each.id == id_)
    old, new = (
        p.predict(image[None])[0, 0] > 0.5 for p in (made.shown["predictor"], made.record.predictor)
    )
    counts = (old != new).sum(axis=(1, 2))
    assert counts[at] == counts.max() > 0


def test_masks_of_some_samples_are_drawn_where_they_are_known(made):
    some = made.shown["truth"][:1]
    drawn = [figure.svg for each in galleries(made, truth=some) for figure in each.figures]
    assert 0 <= sum("outline truth" in svg for svg in drawn) <= 2
    assert "outline truth" not in kept_and_dropped(made, truth=some)
    assert "outline truth" in kept_and_dropped(made)


def test_a_sample_that_was_left_out_is_not_looked_at(toy):
    samples = toy.lesions()
    broken = LabelledSample("broken", "p0", np.full_like(samples[0].image, np.nan), samples[0].mask)
    made = toy.run([broken, *samples], evaluators={})
    assert made.record.left_out["id"].to_pylist() == ["broken"]
    assert all("broken" not in each.caption for each in galleries(made))
    assert kept_and_dropped(made, truth=None).count('class="overlay"') > 2


def test_every_picture_can_be_made_larger_without_a_script(toy, document):
    text = to_html(document)
    assert [each.title for each in document.body[1:5:3]] == [
        "In pictures",
        "Kept and dropped samples",
    ]
    page = toy.Page(text)
    boxes = [attrs for attrs in page.all("input") if attrs["type"] == "checkbox"]
    assert len(boxes) == text.count("<figure>") > 15
    assert all(box["aria-label"].startswith("Larger: ") for box in boxes)
    assert "<script" not in text


def test_the_verdict_stands_first_and_what_to_do_next_last(toy, made, document):
    page = toy.Page(to_html(document))
    assert page.headings[-1] == "What to do next"
    assert document.verdict == f"Verdict: {made.record.verdict}."
    assert document.lead.startswith(document.verdict)
    assert page.words.index(document.verdict) < page.words.index(document.rest)
    assert to_markdown(document).splitlines()[2] == document.lead
    assert Document("t", "lead", ()).rest == "lead"


def test_what_to_do_next_depends_on_the_verdict(toy, made, tmp_path):
    kept = toy.run(toy.lesions(), workdir=tmp_path / "run", ci_limit=1.0, evaluators={})
    said = " ".join(next_steps(kept.record))
    assert "Use the model as it was" in said
    assert f"pladapt predict {tmp_path / 'run'}/adapted" in said
    assert "Label a few images" in said
    measured = " ".join(next_steps(made.record))
    assert "pladapt evaluate" in measured
    assert "Label a few" not in measured
