from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pladapt import InputError, LabelledSample, Prediction, Sample
from pladapt.errors import LabelledTargetError
from pladapt.predictors.agreement import Agreement, Views, measure_agreement


class Identity:
    """The images are the probabilities: mirrored images are predicted mirrored."""

    def predict(self, images: Any, /) -> Any:
        return images


class LeftHalf:
    """Marks the left half of whatever it sees, wherever the object is."""

    def predict(self, images: Any, /) -> Any:
        probabilities = np.zeros_like(images)
        probabilities[..., : images.shape[-1] // 2] = 0.9
        return probabilities


def discs(count: int, seed: int = 0) -> list[Sample]:
    places = np.random.default_rng(seed).uniform(10, 22, (count, 2))
    y, x = np.mgrid[:32, :32]
    images = [np.exp(-((y - v) ** 2 + (x - u) ** 2) / 50)[None] for v, u in places]
    return [
        Sample(f"s{i}", f"g{i // 2}", image.astype(np.float32)) for i, image in enumerate(images)
    ]


def test_a_predictor_that_follows_the_image_agrees_with_itself() -> None:
    found = measure_agreement(Identity(), discs(4), views=Views(axes=(-1, -2), scales=()))
    assert found.pooled == 1
    marked = np.mean([s.image > 0.5 for s in discs(4)])
    assert found.fraction == pytest.approx([marked])


def test_one_that_does_not_follow_it_disagrees() -> None:
    mirror = measure_agreement(LeftHalf(), discs(3), views=Views(axes=(-1,), scales=()))
    assert mirror.pooled == 0
    upside_down = measure_agreement(LeftHalf(), discs(3), views=Views(axes=(-2,), scales=()))
    assert upside_down.pooled == 1


def test_scales_compare_what_both_images_show() -> None:
    found = measure_agreement(Identity(), discs(6), views=Views(axes=(), scales=(0.8, 1.25)))
    assert 0.93 < found.pooled < 1  # interpolated twice
    of_view = found.counts.group_by("view").aggregate([(name, "sum") for name in ("tp", "tn")])
    compared = {
        row["view"]: sum(
            sum(each[name] for name in ("tp", "fp", "fn", "tn"))
            for each in found.counts.to_pylist()
            if each["view"] == row["view"]
        )
        for row in of_view.to_pylist()
    }
    # a magnified image shows 32 / 1.25 = 25.6 of 32 pixels, of which 24 lie wholly inside
    assert compared["scale 1.25"] == 6 * 24 * 24
    assert compared["scale 0.8"] == 6 * 32 * 32


def test_by_hand() -> None:
    image = np.zeros((1, 2, 4), np.float32)
    image[0, :, :3] = 1  # a fixed band: the mirror image marks columns 1 to 3
    found = measure_agreement(
        Identity(), [Sample("a", "p", image)], views=Views(axes=(-1,), scales=())
    )
    assert found.pooled == 1  # it follows the image

    class Fixed:
        def predict(self, images: Any, /) -> Any:
            return np.broadcast_to(image, images.shape).copy()

    fixed = measure_agreement(
        Fixed(), [Sample("a", "p", image)], views=Views(axes=(-1,), scales=())
    )
    assert fixed.pooled == pytest.approx(2 * 4 / (2 * 4 + 2 + 2))  # 4 pixels of 6 and 6
    assert fixed.fraction == pytest.approx([6 / 8])
    assert fixed.by_sample().to_pylist() == [
        {"id": "a", "group": "p", "agreement": 2 / 3, "found": 8}
    ]


def test_where_nothing_is_marked_there_is_nothing_to_disagree_on() -> None:
    blank = [Sample("a", "p", np.zeros((1, 8, 8), np.float32))]
    found = measure_agreement(Identity(), blank)
    assert (found.pooled, found.fraction.tolist()) == (1, [0])


@given(st.integers(0, 5), st.integers(1, 7), st.permutations(range(5)))
def test_neither_the_order_nor_the_batches_matter(
    seed: int, batch_size: int, order: list[int]
) -> None:
    samples = discs(5, seed)
    first = measure_agreement(Identity(), samples)
    other = measure_agreement(Identity(), [samples[i] for i in order], batch_size=batch_size)
    assert other.counts.equals(first.counts)
    assert other.marked.equals(first.marked)


def test_it_takes_no_masks_and_no_empty_target() -> None:
    with pytest.raises(InputError, match="at least one unlabelled"):
        measure_agreement(Identity(), [])
    labelled: Any = [LabelledSample("a", "p", np.zeros((1, 8, 8)), np.zeros((8, 8), int))]
    with pytest.raises(LabelledTargetError, match="has a mask"):
        measure_agreement(Identity(), labelled)
    with pytest.raises(InputError, match="at least one view"):
        Views(axes=(), scales=())
    with pytest.raises(InputError, match="not 1"):
        Views(scales=(1.0,))


class Wavering:
    """Marks what is bright, and with some noise of its own that mirror images do not share."""

    def __init__(self, noise: float, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed

    def predict(self, images: Any, /) -> Any:
        return np.clip(
            images
            + self.noise * np.random.default_rng(self.seed).normal(size=images.shape[1:])[None],
            0,
            1,
        )


def test_surely_above_is_where_the_groups_agree_on_it() -> None:
    samples = discs(24)  # twelve groups
    steady, wavering = (measure_agreement(Wavering(noise), samples) for noise in (0.01, 0.2))
    assert steady.surely_above(wavering, 0.005)
    assert not wavering.surely_above(steady, 0.005)
    assert not steady.surely_above(steady, 0.005)
    assert not steady.surely_above(wavering, 0.9)


def test_a_few_groups_that_differ_are_no_surety() -> None:
    samples = discs(8)  # four groups

    class Halves:
        """Follows the image in one group alone."""

        def predict_batch(self, batch: Any, /) -> Any:
            noise = np.random.default_rng(0).normal(size=batch.images.shape[1:])[None]
            steady = np.array([group == "g0" for group in batch.groups]).reshape(-1, 1, 1, 1)
            probabilities = np.clip(batch.images + np.where(steady, 0, 0.2) * noise, 0, 1)
            return Prediction(batch.ids, probabilities)

        def predict(self, images: Any, /) -> Any:
            return images

    one, none = (measure_agreement(predictor, samples) for predictor in (Halves(), Wavering(0.2)))
    assert one.pooled > none.pooled + 0.005
    assert not one.surely_above(none, 0.005)


def test_images_that_are_no_longer_empty_outweigh_larger_objects() -> None:
    blank = [Sample(f"e{i}", f"e{i}", np.zeros((1, 32, 32), np.float32)) for i in range(12)]

    class Finds:
        """Marks something in images without foreground, and steadily in the others."""

        def predict(self, images: Any, /) -> Any:
            rng = np.random.default_rng(0)
            found = np.where(images.max(axis=(1, 2, 3), keepdims=True) > 0.1, images, 0)
            empty = images.max(axis=(1, 2, 3), keepdims=True) <= 0.1
            return np.clip(found + empty * rng.random(images.shape), 0, 1)

    samples = discs(12) + blank
    before, after = measure_agreement(Wavering(0.1), samples), measure_agreement(Finds(), samples)
    assert after.per_image < before.per_image - 0.1
    assert not after.surely_above(before, 0.005)


def agreed(*images: float | None) -> Agreement:
    """Of an image a group and one view, with a DSC each; None where neither shows anything."""
    tp = [0 if each is None else round(100 * each) for each in images]
    other = [0 if each is None else 100 - found for each, found in zip(images, tp, strict=True)]
    names = [f"s{place:03}" for place in range(len(images))]
    rows = {"id": names, "group": names, "class": [1] * len(tp), "view": ["flip"] * len(tp)}
    counts = {"tp": tp, "fp": other, "fn": other, "tn": [800] * len(tp)}
    return Agreement(pa.table(rows | counts), pa.table({}))


@pytest.mark.parametrize(
    ("both", "before", "only", "above"),
    [
        (6, 0.6, 0.75, True),  # it finds more, and agrees with itself there as well
        (6, 0.6, 0.5, False),  # what it finds more is worse than what was found before
        (6, 0.85, 0.75, False),  # what was found before is worse than it was
        (4, 0.6, 0.75, False),  # of which there is too little
    ],
)
def test_to_find_nothing_is_no_merit(both: int, before: float, only: float, *, above: bool) -> None:
    one = agreed(*[0.8] * both, *[only] * 12)
    other = agreed(*[before] * both, *[None] * 12)
    assert one.per_image < other.per_image - 0.005
    assert one.surely_above(other, 0.005) == above
    assert other.surely_above(one, 0.005) == (before > 0.8)


def test_what_is_found_goes_with_its_image_however_many_there_are() -> None:
    # each other image shows something before, and agrees with itself well; the others do after
    one = agreed(*[0.9, 0.6] * 100)
    other = agreed(*[0.8, None] * 100)
    assert one.per_image < other.per_image - 0.005
    rows = one.by_sample()
    assert rows["id"].to_pylist() == sorted(rows["id"].to_pylist())
    assert rows["agreement"].to_pylist() == pytest.approx([0.9, 0.6] * 100)
    assert other.by_sample()["found"].to_pylist() == [120, 0] * 100
    assert not one.surely_above(other, 0.005)  # 0.6 where the other reaches 0.8
    assert agreed(*[0.9, 0.85] * 100).surely_above(other, 0.005)


def test_one_that_finds_nothing_at_all_is_neither_above_nor_below() -> None:
    one, nothing = agreed(*[0.8] * 12), agreed(*[None] * 12)
    assert nothing.pooled == nothing.per_image == 1
    assert not one.surely_above(nothing, 0.005)
    assert not nothing.surely_above(one, 0.3)


def squares(sides: list[int]) -> list[Sample]:
    images = np.zeros((len(sides), 1, 10, 10), np.float32)
    for image, side in zip(images, sides, strict=True):
        image[:, :side, :side] = 1
    return [Sample(f"s{i}", f"g{i}", image) for i, image in enumerate(images)]


def test_a_fraction_is_matched_by_leaving_out_the_fullest_or_the_emptiest_samples() -> None:
    found = measure_agreement(Identity(), squares([0, 2, 9, 4, 3]))  # 0, 4, 81, 16, 9 of 100
    assert found.matching(0.22) == ["s0", "s1", "s2", "s3", "s4"]  # 0.22 is what all mark
    assert found.matching(0.10) == ["s0", "s1", "s3", "s4"]  # 0.0725
    assert found.matching(0.05) == ["s0", "s1", "s4"]  # 0.0433
    assert found.matching(0) == ["s0"]
    assert found.matching(0.35) == ["s2", "s3", "s4"]  # 0.353
    assert found.matching(0.9) == []


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12), st.integers(0, 999))
def test_what_matches_is_as_many_samples_as_possible_on_the_near_side_of_the_fraction(
    sides: list[int], thousandths: int
) -> None:
    wanted = thousandths + 0.37  # which no mean of so few numbers is
    samples = squares(sides)
    found = measure_agreement(Identity(), samples, views=Views(scales=()))
    chosen = sorted(int(id_[1:]) for id_ in found.matching(wanted / 1000))
    marked = sorted(10 * side**2 for side in sides)  # in thousandths
    more = np.mean(marked) > wanted
    near = marked if more else marked[::-1]
    sizes = [n for n in range(1, len(near) + 1) if (np.mean(near[:n]) < wanted) == more]
    expected = near[: max(sizes, default=0)]
    assert sorted(10 * sides[i] ** 2 for i in chosen) == sorted(expected)
