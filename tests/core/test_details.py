"""Borders, lesions and volumes: worked by hand, and against the plainest way to measure them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

import pladapt
from pladapt import InputError, LabelledSample
from pladapt.evaluation import DetailEvaluator, Details
from pladapt.functional.lesions import count_lesions
from pladapt.functional.surfaces import hd95, nsd, surface_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING = (5.0, 0.7, 0.8)


def box(z: int, y: int, x: int, *, size: int = 3, shape: tuple[int, ...] = (9, 20, 20)) -> Any:
    mask = np.zeros(shape, bool)
    mask[z : z + size, y : y + size, x : x + size] = True
    return mask


def border(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the places of the pixels with a neighbour outside."""
    padded, found = np.pad(mask, 1), []
    for place in np.argwhere(mask):
        steps = [sign * step for step in np.eye(mask.ndim, dtype=int) for sign in (-1, 1)]
        if not all(padded[tuple(place + 1 + step)] for step in steps):
            found.append(place)
    return np.array(found)


@pytest.mark.parametrize(("axis", "step"), [*enumerate(SPACING)])
def test_a_plane_that_is_shifted_is_as_far_off_as_its_shift(axis: int, step: float) -> None:
    one, other = np.zeros((2, 9, 9, 9), bool)
    one[(slice(None),) * axis + (2,)] = True
    other[(slice(None),) * axis + (5,)] = True
    found = surface_distances(one, other, SPACING)
    assert found is not None
    assert hd95(found) == pytest.approx(3 * step)
    assert nsd(found, 3 * step) == 1
    assert nsd(found, 3 * step - 0.01) == 0


def test_two_boxes_apart_by_hand() -> None:
    found = surface_distances(box(0, 0, 0), box(0, 4, 0), SPACING)
    assert found is not None
    # of 3 x 3 x 3 pixels all but the inmost are border; its nine columns lie 2, 3 or 4 steps apart
    assert sorted(np.round(found.predicted / 0.7).tolist()) == 9 * [2] + 8 * [3] + 9 * [4]
    assert nsd(found, 2 * 0.7) == pytest.approx(9 / 26)
    assert nsd(found, 3 * 0.7) == pytest.approx(17 / 26)
    assert hd95(found) == pytest.approx(4 * 0.7)


def test_a_pixel_amid_a_filled_image_is_no_border_and_the_image_s_edge_is_one() -> None:
    found = surface_distances(np.ones((3, 3), bool), np.ones((3, 3), bool))
    assert found is not None
    assert len(found.true) == 8


def test_sizes_in_single_precision_do_not_move_a_border_beyond_the_tolerance() -> None:
    size = float(np.float32(0.1))
    one, other = np.zeros((2, 1, 6), bool)
    one[0, 0], other[0, 3] = True, True
    found = surface_distances(one, other, (size, size))
    assert found is not None
    assert nsd(found, 0.3) == 1


masks = arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)))


@given(masks, st.integers(0, 2**32 - 1), st.floats(0, 9))
def test_distances_are_those_of_all_pairs_of_border_pixels(
    truth: NDArray[np.bool_], seed: int, tolerance: float
) -> None:
    prediction = np.random.default_rng(seed).random(truth.shape) < 0.4
    found = surface_distances(prediction, truth, SPACING)
    if not truth.any() or not prediction.any():
        assert found is None
        return
    assert found is not None
    every = cdist(*(border(mask) * np.array(SPACING) for mask in (prediction, truth)))
    np.testing.assert_allclose(found.predicted, every.min(1))
    np.testing.assert_allclose(found.true, every.min(0))
    assert hd95(found) == pytest.approx(max(np.percentile(every.min(axis), 95) for axis in (0, 1)))
    assert 0 <= nsd(found, tolerance) <= nsd(found, tolerance + 1) <= 1


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 2\) and the truth \(2, 1\)"):
        surface_distances(np.ones((1, 2), bool), np.ones((2, 1), bool))
    with pytest.raises(InputError, match="along each axis, above 0"):
        surface_distances(np.ones((2, 2), bool), np.ones((2, 2), bool), (1, 0))
    with pytest.raises(InputError, match="must agree"):
        count_lesions(np.ones((1, 2), bool), np.ones((2, 1), bool))
    found = surface_distances(np.ones((2, 2), bool), np.ones((2, 2), bool))
    assert found is not None
    with pytest.raises(InputError, match="0 or more"):
        nsd(found, float("nan"))


def test_lesions_touch_by_a_corner_and_count_as_found_by_one_pixel() -> None:
    truth = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]], bool)
    prediction = np.array(
        [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], bool
    )
    # four lesions, of which one piece finds two; the other piece is beside a lesion, not on it
    assert count_lesions(prediction, truth) == (4, 2, 1)


class AsGiven:
    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        return images


def evaluated(pairs: list[tuple[Any, Any, str]], **options: Any) -> pladapt.Evaluation:
    """Evaluate pairs of a prediction, a truth and a group."""
    samples = [
        LabelledSample(f"s{index}", group, np.float32(predicted)[None], np.uint8(true))
        for index, (predicted, true, group) in enumerate(pairs)
    ]
    return DetailEvaluator(samples=samples, **options).evaluate(AsGiven())


EMPTY = np.zeros((9, 20, 20), bool)


def test_empty_masks_have_declared_values_and_are_counted() -> None:
    pairs = [(EMPTY, EMPTY, "a"), (EMPTY, box(0, 0, 0), "a"), (box(0, 0, 0), EMPTY, "b")]
    found = evaluated([*pairs, (box(0, 0, 0), box(0, 0, 0), "b")], spacing=SPACING)
    assert found.samples["nsd"].to_pylist() == [1, 0, 0, 1]
    assert found.samples["hd95"].to_pylist() == [None, None, None, 0]
    assert found.samples["empty"].to_pylist() == ["both", "one", "one", "none"]
    assert found.notes["both_empty"] == "1 of 4: NSD 1, without HD95"
    assert found.notes["one_empty"] == "2 of 4: NSD 0, without HD95"
    counts = {row["metric"]: row["count"] for row in found.summary.to_pylist()[:6]}
    assert counts["nsd"], counts["hd95"] == (4, 1)


def test_a_group_has_one_figure_of_its_lesions_and_volumes() -> None:
    two = box(0, 0, 0) | box(5, 10, 10)
    pairs = [(box(0, 0, 0), two, "a"), (box(0, 0, 5), box(0, 0, 0), "a"), (two, two, "b")]
    found = evaluated(pairs, spacing=SPACING, lesions=True, volumes=True)
    box_ml = 27 * 5 * 0.7 * 0.8 / 1000
    assert found.value("lesion_sen", aggregation="sample") == pytest.approx((0.5 + 0 + 1) / 3)
    assert found.value("lesion_sen", aggregation="group") == pytest.approx((1 / 3 + 1) / 2)
    assert found.value("lesion_sen") == pytest.approx(3 / 5)
    assert found.value("false_lesions") == pytest.approx(1 / 3)
    assert found.value("false_lesions", aggregation="group") == pytest.approx(1 / 4)
    assert found.value("volume_ratio", aggregation="group") == pytest.approx((2 / 3 + 1) / 2)
    assert found.value("volume_bias") == pytest.approx(-box_ml)
    assert found.value("volume_bias", aggregation="group") == pytest.approx(-box_ml / 2)
    assert found.notes["volume_unit"] == "ml"


def test_slices_without_a_known_distance_have_borders_in_mm_and_volumes_in_pixels() -> None:
    one, other = box(0, 0, 0)[0], box(0, 2, 0)[0]
    found = evaluated([(one, other, "a")], spacing=(0.7, 0.8))
    assert found.value("hd95", aggregation="sample") == pytest.approx(1.4)
    assert found.value("volume_ratio") == 1
    assert (found.notes["hd95_unit"], found.notes["volume_unit"]) == ("mm", "pixels")


def test_ignored_pixels_are_background_on_both_sides() -> None:
    truth = np.uint8(box(0, 0, 0)[0])
    truth[10:, 10:] = 255
    found = evaluated([(box(0, 0, 0)[0] | (truth == 255), truth, "a")])
    assert found.value("nsd", aggregation="sample") == 1
    assert found.value("false_lesions") == 0
    assert found.value("volume_bias") == 0


def test_millimetres_and_pixels_are_not_averaged() -> None:
    sample = LabelledSample("s0", "a", np.zeros((1, 2, 2)), np.zeros((2, 2), np.uint8))
    masks = np.ones((1, 2, 2), np.uint8)
    rows = [
        row | {"id": id_}
        for id_, spacing in (("known", (1.0, 1.0)), ("unknown", None))
        for row in Details(surface=1).rows([sample], masks, masks, 1, [spacing])
    ]
    with pytest.raises(InputError, match="'known' in mm, 'unknown' in pixels"):
        pladapt.evaluation.details.summarise_details(rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"surface": -1.0}, "0 or more"),
        ({"surface": None, "lesions": False, "volumes": False}, "Nothing is to be measured"),
        ({"spacing": (1.0,)}, "expected the size of a pixel"),
        ({"spacing": {"s0": (0.0, 1.0)}}, "expected the size of a pixel"),
        ({"samples": []}, "no samples"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    sample = LabelledSample("s0", "a", np.zeros((1, 2, 2)), np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=said):
        DetailEvaluator(**{"samples": [sample]} | options)


def test_a_spacing_for_each_sample_must_be_of_each() -> None:
    pairs = [(box(0, 0, 0), box(0, 0, 1), "a")] * 2
    found = evaluated(pairs, spacing={"s0": (1.0, 1.0, 1.0), "s1": (1.0, 1.0, 3.0)})
    assert found.samples["hd95"].to_pylist() == [1, 3]
    left = evaluated(pairs, spacing={"s0": (1.0, 1.0, 1.0)})
    assert left.samples["id"].to_pylist() == ["s0"]
    assert "The spacing of 's1' is not given" in left.notes["left out"]
