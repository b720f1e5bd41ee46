"""Choosing by a few labelled images: careful, and for nothing where there is nothing to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from pladapt import InputError, LabelledSample, Sample
from pladapt.errors import DataError, MissingDataError
from pladapt.evaluation import FewLabels
from pladapt.evaluation.few_labels import clearly_better
from pladapt.predictors import LogitShiftPredictor
from pladapt.predictors.fraction import shift_to_fraction
from pladapt.runs import Chosen
from pladapt.runs.choosing import read_chosen, write_chosen

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass
class Known:
    """A predictor that gives each image's channel of this number as its probabilities."""

    channel: int

    def predict(self, images: Any, /) -> NDArray[np.float32]:
        return np.asarray(images)[:, self.channel : self.channel + 1]


def some(count: int = 4, *, classes: int = 1, seed: int = 0) -> list[LabelledSample]:
    """Make images whose channels are probabilities: 0 fair, 1 right, 2 right but low, 3 wrong."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        mask = (rng.random((12, 12)) < 0.3).astype(np.uint8)
        mask[:2, :2] = 1
        fair = np.where(rng.random(mask.shape) < 0.2, 1 - mask, mask)
        channels = (0.1 + 0.8 * fair, 0.1 + 0.8 * mask, 0.02 + 0.2 * mask, 0.9 - 0.8 * mask)
        image = np.stack(channels).astype(np.float32)
        made.append(LabelledSample(f"s{index}", f"g{index}", image, mask * classes))
    return made


def test_what_is_much_better_on_every_image_is_taken() -> None:
    choice = FewLabels(samples=some()).choose({"none": Known(0), "right": Known(1)})
    assert (choice.name, choice.cutoff, choice.shift) == ("right", 0.5, 0.0)
    assert choice.changes
    assert "right has a mean DSC of 1.000 on the 4 labelled images" in choice.reason
    assert "better on 4 of them" in choice.reason
    rows = {(r["candidate"], r["cutoff"]): r for r in choice.evidence.to_pylist()}
    assert [key for key, row in rows.items() if row["taken"]] == [("right", 0.5)]
    assert rows["right", 0.5]["dsc"] == 1
    assert rows["none", 0.5]["gain"] == 0


@pytest.mark.parametrize("other", [0, 3], ids=["a tie", "worse"])
def test_the_model_as_it_is_stays_where_nothing_is_clearly_better(other: int) -> None:
    choice = FewLabels(samples=some()).choose({"none": Known(0), "other": Known(other)})
    assert (choice.name, choice.shift) == ("none", 0.0)
    assert not choice.changes
    assert "nothing is clearly better on the 4 labelled images" in choice.reason


def test_a_gain_on_one_image_alone_is_not_enough() -> None:
    samples = some(5)
    # right on the first image alone, and as before on the others
    images = [np.concatenate([s.image, s.image[:1]]) for s in samples]
    images[0][4] = samples[0].image[1]
    changed = [
        LabelledSample(s.id, s.group, image, s.mask)
        for s, image in zip(samples, images, strict=True)
    ]
    chooser = FewLabels(samples=changed, margin=0.0)
    assert chooser.choose({"none": Known(0), "lucky": Known(4)}).name == "none"


def test_another_cut_off_is_a_shift_of_the_logits_with_the_same_masks() -> None:
    samples = some(5)
    choice = FewLabels(samples=samples).choose({"none": Known(2)})
    assert choice.name == "none"
    assert choice.changes
    assert choice.cutoff < 0.22
    shifted = LogitShiftPredictor(Known(2), choice.shift)
    for sample in samples:
        assert ((shifted.predict(sample.image[None])[0, 0] > 0.5) == sample.mask).all()
    assert FewLabels(samples=samples).choose({"none": Known(2)}, cutoffs=False).shift == 0
    # four images tell too little of a cut-off
    assert FewLabels(samples=samples[:4]).choose({"none": Known(2)}).shift == 0


def test_a_cut_off_at_the_end_of_those_tried_is_told() -> None:
    samples = [
        LabelledSample(s.id, s.group, 0.02 * s.image + 0.0005, s.mask) for s in some(5)
    ]  # 0.0185 at the most
    choice = FewLabels(samples=samples).choose({"none": Known(1)})
    assert choice.cutoff == 0.01
    assert "the last that was tried: a better one may lie beyond" in choice.reason


def test_with_several_classes_the_source_s_cut_off_stays() -> None:
    @dataclass
    class Softmax(Known):
        def predict(self, images: Any, /) -> NDArray[np.float32]:
            found = super().predict(images)
            return np.concatenate([1 - found, 0 * found, found], axis=1)

    samples = some(classes=2)
    choice = FewLabels(samples=samples).choose({"none": Softmax(0), "right": Softmax(1)})
    assert (choice.name, choice.shift) == ("right", 0.0)
    assert set(choice.evidence["cutoff"].to_pylist()) == {0.5}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    margin=st.floats(0, 0.3),
    cutoff=st.sampled_from([0.05, 0.333, 0.5, 0.8]),
)
def test_what_is_taken_is_better_by_more_than_the_margin(
    seed: int, margin: float, cutoff: float
) -> None:
    chooser = FewLabels(samples=some(5, seed=seed), cutoff=cutoff, margin=margin)
    choice = chooser.choose({"none": Known(0), **{f"c{k}": Known(k) for k in (1, 2, 3)}})
    (taken,) = [row for row in choice.evidence.to_pylist() if row["taken"]]
    assert (taken["candidate"], taken["cutoff"]) == (choice.name, choice.cutoff)
    assert choice.changes == (taken["gain"] != 0)
    if choice.changes:
        assert taken["gain"] > margin
        assert taken["better"] >= 2
    assert (choice.shift == 0) == (choice.cutoff == cutoff)


def test_the_order_of_the_images_changes_nothing() -> None:
    samples, candidates = some(5), {"none": Known(2), "other": Known(0)}
    one = FewLabels(samples=samples).choose(candidates)
    other = FewLabels(samples=samples[::-1], batch_size=1).choose(candidates)
    assert (one.name, one.cutoff) == (other.name, other.cutoff)


def test_what_was_chosen_without_labels_stays_unless_another_is_clearly_better() -> None:
    candidates = {"none": Known(0), "right": Known(1), "wrong": Known(3)}
    chooser = FewLabels(samples=some())
    stays = chooser.choose({**candidates, "too": Known(1)}, start="right")
    assert stays.name == "right"
    assert "chosen without labels, and nothing is clearly better" in stays.reason
    assert chooser.choose(candidates, start="wrong").name == "right"
    back = chooser.choose({"none": Known(0), "wrong": Known(3)}, start="wrong")
    assert (back.name, back.changes) == ("none", False)
    assert "the model as it was has a mean DSC" in back.reason


def test_too_few_or_empty_labels_are_refused() -> None:
    with pytest.raises(InputError, match="There are 2 labelled images; label at least 3"):
        FewLabels(samples=some(2))
    blank = [LabelledSample(s.id, s.group, s.image, 0 * s.mask) for s in some()]
    with pytest.raises(InputError, match="None of the 4 labelled images has foreground"):
        FewLabels(samples=blank)
    with pytest.raises(InputError, match="margin 1"):
        FewLabels(samples=some(), margin=1)
    with pytest.raises(InputError, match="the model as it is"):
        FewLabels(samples=some()).choose({"other": Known(0)})


@pytest.mark.parametrize("taught", [(), ("s0", "s1")], ids=["taught nothing", "taught as well"])
def test_a_choice_is_read_as_it_was_written(taught: tuple[str, ...], tmp_path: Path) -> None:
    choice = FewLabels(samples=some()).choose({"none": Known(0), "right": Known(1)})
    chosen = Chosen(choice, ("s0", "s1"), taught, {"paper": "no sample was kept"})
    with pytest.raises(MissingDataError):
        read_chosen(tmp_path)
    write_chosen(chosen, tmp_path)
    found = read_chosen(tmp_path)
    assert found.choice.evidence.equals(choice.evidence)
    assert (found.chose, found.taught, found.dropped) == (
        chosen.chose,
        taught,
        {"paper": "no sample was kept"},
    )
    assert found.verdict == chosen.verdict
    assert found.verdict.outcome == "adapted"
    assert ("their DSC is too high" in found.verdict.reason) == bool(taught)
    (tmp_path / "choice.json").write_text("{}")
    with pytest.raises(DataError):
        read_chosen(tmp_path)


@given(st.floats(0.05, 0.95), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_a_shift_makes_a_predictor_mark_the_fraction_that_is_asked_for(
    fraction: float, cutoff: float
) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0.01, 0.99, (3, 1, 16, 16))
    target = [Sample(f"s{i}", "g", image) for i, image in enumerate(images)]
    shift = shift_to_fraction(Known(0), target, fraction, cutoff=cutoff)
    marked = np.asarray(LogitShiftPredictor(Known(0), shift).predict(images)) > cutoff
    assert marked.mean() == pytest.approx(fraction, abs=2 / images.size)


def test_masks_with_values_that_are_no_class_choose_nothing() -> None:
    wrong = [*some(3), LabelledSample("odd", "g", some()[3].image, 3 * some()[3].mask)]
    with pytest.raises(InputError, match="'odd' has the value 3"):
        FewLabels(samples=wrong).choose({"none": Known(0)})


@given(
    pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8),
    margin=st.floats(0, 0.3),
    errors=st.floats(0, 3),
)
def test_what_is_clearly_better_is_better_by_more_than_luck(
    pairs: list[tuple[float, float]], margin: float, errors: float
) -> None:
    one, other = np.array(pairs).T
    differences = one - other
    assume(np.ptp(differences) > 1e-3)  # else the errors are those of rounding
    statistic = ttest_rel(one, other).statistic
    assume(abs(statistic - errors) > 1e-6)
    more, less = (differences > 1e-9).sum(), (differences < -1e-9).sum()
    expected = differences.mean() > margin and statistic > errors and more >= max(2, 2 * less)
    assert clearly_better(one, other, margin, errors) == expected


def test_a_large_gain_on_two_of_five_images_may_be_luck() -> None:
    one, other = np.array([0.9, 0.8, 0.5, 0.5, 0.4]), np.array([0.3, 0.5, 0.5, 0.5, 0.4])
    assert clearly_better(one, other, margin=0.05, errors=0)
    assert not clearly_better(one, other, margin=0.05, errors=2)  # 0.18, and its error 0.12
