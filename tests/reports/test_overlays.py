from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from PIL import Image

from pladapt.reports import figures
from pladapt.reports.overlays import middle, overlay, png
from pladapt.reports.pipeline import WORDS, pipeline


def drawn_as(text):
    return ET.fromstring(text)  # noqa: S314 - what the module under test has just drawn


def outlines(text):
    """The corners of every outline, by its classes."""
    found = {}
    for path in drawn_as(text).iter("path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
        found[path.get("class")] = np.reshape(numbers, (-1, 2))
    return found


def pixels(text):
    image = drawn_as(text).find("image")
    data = image.get("href").partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_an_outline_runs_along_the_borders_of_the_pixels():
    mask = np.zeros((8, 10), np.uint8)
    mask[2:5, 3:9] = 1
    found = outlines(overlay(np.zeros((1, 8, 10)), {"truth": mask}))
    corners = found["outline truth class-1"]
    assert corners.min(axis=0).tolist() == [3, 2]
    assert corners.max(axis=0).tolist() == [9, 5]


def test_an_outline_is_closed_along_the_border_of_the_image():
    text = overlay(np.zeros((1, 4, 4)), {"truth": np.ones((4, 4), np.uint8)})
    corners = outlines(text)["outline truth class-1"]
    assert corners.min() == 0
    assert corners.max() == 4
    assert np.ptp(corners, axis=0).tolist() == [4, 4]
    assert text.endswith('Z"/></svg>')


def test_ignored_pixels_are_background_and_classes_have_outlines_of_their_own():
    mask = np.array([[0, 1, 1, 0], [2, 2, 0, 255]], np.uint8)
    found = outlines(overlay(np.zeros((1, 2, 4)), {"prediction": mask}))
    assert sorted(found) == ["outline prediction class-1", "outline prediction class-2"]


def test_the_chosen_channel_is_shown_from_black_to_white():
    image = np.zeros((2, 3, 4), np.float32)
    image[1, :, 2:] = 7
    shown = pixels(overlay(image, {}, channel=1))
    assert shown.tolist() == [[0, 0, 255, 255]] * 3


def test_a_large_image_is_shrunk_and_its_outline_is_not():
    mask = np.zeros((512, 1024), np.uint8)
    mask[100:200, 800:1000] = 1
    text = overlay(np.random.default_rng(0).random((1, 512, 1024)), {"truth": mask})
    assert pixels(text).shape == (128, 256)
    assert 'viewBox="0 0 1024 512"' in text
    assert outlines(text)["outline truth class-1"].max() == 1000


def test_values_that_are_not_numbers_are_black_and_a_flat_image_is_drawn():
    plane = np.array([[np.nan, 0.0], [1.0, np.inf]])
    assert png(plane).startswith("data:image/png;base64,")
    assert pixels(overlay(plane[np.newaxis], {}))[0, 0] == 0
    assert len(np.unique(pixels(overlay(np.full((1, 4, 4), 3.0), {})))) == 1


def test_the_middle_of_a_volume_is_a_slice_and_that_of_a_plane_itself():
    volume = np.arange(24).reshape(3, 2, 4)
    assert middle(volume).tolist() == volume[1].tolist()
    assert middle(volume[0]) is not None
    assert middle(volume[0]).tolist() == volume[0].tolist()


@given(count=st.integers(0, 10_000), most=st.integers(2, 500))
def test_points_are_thinned_evenly_and_keep_their_ends(count, most):
    places = figures.subsample(count, most)
    assert len(places) == min(count, most)
    if count:
        assert (places[0], places[-1]) == (0, count - 1)
        steps = np.diff(places)
        assert steps.size == 0 or np.ptp(steps) <= 1


def test_a_chart_takes_every_colour_from_the_page():
    chart = figures.dumbbells(["a", "b"], np.array([0.2, 0.8]), np.array([0.4, 0.6]), metric="DSC")
    assert "var(--ink)" in chart
    assert set(re.findall(r"#[0-9a-f]{6}\b", chart)) == set()
    assert drawn_as(chart).tag == "svg"


def test_charts_of_nothing_are_drawn():
    empty = np.empty(0)
    for chart in (
        figures.score_histogram({"kept": empty}, {}, name="score"),
        figures.score_histogram({"kept": np.array([np.nan])}, {"limit": 0.5}, name="score"),
        figures.score_against_pixels({"kept": (empty, empty)}, None, name="score"),
        figures.before_against_after({}, metric="DSC"),
        figures.dumbbells([], empty, empty, metric="DSC"),
    ):
        assert drawn_as(chart).tag == "svg"


def test_the_pipeline_says_what_a_run_put_into_its_steps():
    drawn = drawn_as(pipeline({"selection": "12 <kept>"}))
    words = [text.text for text in drawn.iter("text")]
    assert "12 <kept>" in words
    assert WORDS["selection"] not in words
    assert {"Labelled source", "Score", "Retrain", "Evaluate"} <= set(words)


def test_every_box_of_the_pipeline_is_inside_the_drawing():
    drawn = drawn_as(pipeline(dict.fromkeys(WORDS, "many words " * 20)))
    width, height = (float(n) for n in drawn.get("viewBox").split()[2:])
    boxes = [
        [float(box.get(k)) for k in ("x", "y", "width", "height")] for box in drawn.iter("rect")
    ]
    assert len(boxes) == len(WORDS)
    assert all(min(x, y) >= 0 and x + w <= width and y + h <= height for x, y, w, h in boxes)
    for text in drawn.iter("text"):
        assert any(y < float(text.get("y")) < y + h for _, y, _, h in boxes)


def test_a_training_without_validation_has_no_curve_of_it():
    epochs = [{"epoch": n, "train_loss": 1 / n} for n in (1, 2, 3)]
    assert "validation loss" not in figures.training_curves(epochs, 3)
    validated = [row | {"val_loss": 0.5, "val_dsc": 0.5} for row in epochs]
    assert "validation loss" in figures.training_curves(validated, 3)
