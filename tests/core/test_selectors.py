from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pladapt
from pladapt import InputError, Prediction, Sample
from pladapt.functional.arrays import to_numpy
from pladapt.selection.boundary_free_certainty import BoundaryFreeCertaintySelector
from pladapt.selection.foreground_entropy import ForegroundEntropySelector
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.pairwise_dice import PairwiseDiceSelector
from pladapt.selection.soft_dice import SoftDiceSelector
from pladapt.selection.trimmed_certainty import TrimmedCertaintySelector
from pladapt.testing import SelectorContract
from pladapt.testing.checks import some_prediction

if TYPE_CHECKING:
    from types import SimpleNamespace

    from numpy.typing import NDArray

SELECTORS = [
    ForegroundEntropySelector(cutoff=0.4, min_pixels=5, top_k=3),
    BoundaryFreeCertaintySelector(cutoff=0.1, min_pixels=1, top_k=3),
    TrimmedCertaintySelector(cutoff=0.4, min_pixels=5, trim=0.2, limit=0.5),
    SoftDiceSelector(cutoff=0.4, min_pixels=5, top_k=3),
    NeighbourAgreementSelector(cutoff=0.4, min_pixels=5, top_k=3),
    PairwiseDiceSelector(cutoff=0.4, min_pixels=5, top_k=3),
]


def with_members(prediction: Prediction, count: int = 3) -> Prediction:
    """Scatter a prediction into members, and average them again."""
    noise = np.random.default_rng(1).uniform(0.5, 1, (count, *prediction.probabilities.shape))
    members = prediction.probabilities * noise
    if members.shape[2] > 1:
        members /= members.sum(axis=2, keepdims=True)
    return Prediction(prediction.ids, members.mean(axis=0), members)


class TestEveryScore(SelectorContract):
    @pytest.fixture(params=SELECTORS, ids=lambda selector: type(selector).__name__)
    def selector(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    @pytest.fixture(
        params=[(6, 1, 16, 16), (6, 3, 16, 16), (6, 1, 6, 12, 12), (6, 4, 6, 12, 12)],
        ids=["plane", "plane-classes", "volume", "volume-classes"],
    )
    def prediction(self, request: pytest.FixtureRequest) -> Prediction:
        return with_members(some_prediction(request.param))


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda selector: type(selector).__name__)
@pytest.mark.parametrize("shape", [(5, 1, 9, 8), (4, 3, 5, 6, 7)])
def test_every_library_gives_the_same_columns(
    xp: Any, selector: Any, shape: tuple[int, ...]
) -> None:
    prediction = with_members(some_prediction(shape))
    moved = Prediction(
        prediction.ids, xp.asarray(prediction.probabilities), xp.asarray(prediction.members)
    )
    expected = selector.score(prediction)
    found = selector.score(moved)
    assert list(found) == list(expected)
    for name, column in found.items():
        np.testing.assert_allclose(to_numpy(column), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("foreground-entropy", {}),
        ("boundary-free-certainty", {"band": 2}),
        ("trimmed-certainty", {"trim": 0.1}),
        ("soft-dice", {}),
        ("pairwise-dice", {}),
        ("neighbour-agreement", {}),
    ],
)
def test_every_score_is_found_by_name(name: str, parameters: dict[str, Any]) -> None:
    selector = pladapt.plugins.PluginManager().build("selector", name, min_pixels=7, **parameters)
    assert isinstance(selector, pladapt.selection.BaseSelector)
    assert (selector.min_pixels, selector.top_k) == (7, None)


def test_a_surer_prediction_has_a_higher_score() -> None:
    sure, unsure = np.zeros((2, 1, 12, 12))
    sure[0, 2:9, 2:9], unsure[0, 2:9, 2:9] = 0.95, 0.6
    prediction = Prediction(("sure", "unsure"), np.stack([sure, unsure]))
    for selector in SELECTORS[:4]:
        high, low = replace(selector, limit=None).score(prediction)["score"]
        assert high > low


def test_agreeing_members_have_a_higher_score_however_sure_they_are() -> None:
    members = np.zeros((2, 2, 1, 10, 10))
    members[:, 0, 0, 2:6, 2:6] = 0.6
    members[0, 1, 0, 2:6, 2:6] = members[1, 1, 0, 4:8, 2:6] = 1.0
    prediction = Prediction(("agree", "differ"), members.mean(axis=0), members)
    columns = PairwiseDiceSelector(cutoff=0.4).score(prediction)
    np.testing.assert_allclose(columns["score"], [1.0, 0.5])
    np.testing.assert_array_equal(columns["pixels"], [16, 24])


def test_members_are_needed_to_agree() -> None:
    prediction = some_prediction((2, 1, 4, 4))
    with pytest.raises(InputError, match=r"no members whose agreement.*shows the predictions"):
        PairwiseDiceSelector().score(prediction)
    alone = Prediction(prediction.ids, prediction.probabilities, prediction.probabilities[None])
    with pytest.raises(InputError, match="at least two members"):
        PairwiseDiceSelector().score(alone)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForegroundEntropySelector(min_pixels=-1), "min_pixels is -1"),
        (lambda: ForegroundEntropySelector(combination="most"), "No combination rule 'most'"),
        (lambda: BoundaryFreeCertaintySelector(band=-2), "band is -2 pixels wide"),
        (lambda: TrimmedCertaintySelector(trim=0.7), "trim is 0.7"),
    ],
)
def test_parameters_outside_their_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# Neighbours


def stack_of(*masks: NDArray[Any]) -> NDArray[Any]:
    return np.stack(masks)[:, None].astype(np.float64)


def disc(radius: float, centre: tuple[float, float] = (16, 16), size: int = 32) -> NDArray[Any]:
    y, x = np.mgrid[:size, :size]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2).astype(np.float64)


def agreement_of(
    maps: NDArray[Any], ids: list[str], groups: list[str], **options: Any
) -> list[float]:
    selector = NeighbourAgreementSelector(**({"min_pixels": 1} | options))
    columns = selector.score(Prediction(tuple(ids), maps))
    table = pa.table({"id": ids, "group": groups} | dict(columns))
    scores: list[float] = selector.select(table).table["score"].to_numpy().tolist()
    return scores


def test_equal_neighbours_agree_wholly_and_a_lone_mistake_does_not() -> None:
    lesion, elsewhere = disc(5), disc(2, (4, 28))
    maps = stack_of(lesion, lesion, elsewhere, lesion, lesion, np.zeros((32, 32)))
    scores = agreement_of(maps, [f"s{n}" for n in range(6)], ["p"] * 6)
    assert scores[0] == pytest.approx(1)
    assert scores[1] == pytest.approx(0.5, abs=0.01)  # one neighbour is the mistake
    assert scores[2] < 0.01
    assert scores[4] == pytest.approx(0.5)  # one neighbour is empty
    assert math.isnan(scores[5])


def gaussian(mask: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Evaluate the Gaussian of a mask's mass, centre and spread, a pixel being a square."""
    density = np.full(places.shape[1:], mask.sum())
    for place, pixels in zip(places, np.nonzero(mask), strict=True):
        width = math.sqrt(pixels.var() + 1 / 12)
        density = density * np.exp(-((place - pixels.mean()) ** 2) / (2 * width**2))
        density = density / (width * math.sqrt(2 * math.pi))
    return density


@given(st.floats(0, 12), st.floats(1, 12), st.floats(0, 30))
def test_the_agreement_is_the_dice_of_gaussians(
    radius: float, other: float, distance: float
) -> None:
    one, two = disc(radius), disc(other, (12, distance))
    places = np.mgrid[-40:80:0.5, -40:80:0.5]
    f, g = gaussian(one, places), gaussian(two, places)
    expected = 2 * np.sqrt(f * g).sum() / (f.sum() + g.sum())
    agreement = agreement_of(stack_of(one, two), ["a", "b"], ["p", "p"])
    assert agreement == pytest.approx([expected, expected], abs=0.01)


def test_neighbours_are_of_one_group_in_the_natural_order_of_ids() -> None:
    small, large = disc(3), disc(9)
    maps = stack_of(large, small, large, small)
    ids = ["s10", "s2", "s9", "s1"]  # s1 s2 | s9 s10
    assert agreement_of(maps, ids, ["p"] * 4)[0] == pytest.approx(1)
    assert agreement_of(maps, ids, ["p"] * 4)[3] == pytest.approx(1)
    assert agreement_of(maps, ids, ["p"] * 4)[1] == agreement_of(maps, ids, ["p"] * 4)[2] < 1
    apart = agreement_of(maps, ids, ["a", "b", "a", "c"])
    assert apart[0] == apart[2] == pytest.approx(1)
    assert math.isnan(apart[1])
    assert math.isnan(apart[3])


@given(st.permutations(range(8)))
def test_the_order_of_the_rows_does_not_matter_to_neighbours(order: list[int]) -> None:
    maps = some_prediction((8, 3, 8, 8)).probabilities
    ids, groups = [f"s{n}" for n in range(8)], [f"p{n // 3}" for n in range(8)]
    expected = agreement_of(maps, ids, groups, cutoff=0.3)
    shuffled = agreement_of(
        maps[order], [ids[n] for n in order], [groups[n] for n in order], cutoff=0.3
    )
    np.testing.assert_array_equal(shuffled, [expected[n] for n in order])


def test_selecting_compares_and_leaves_the_scores_as_they_are() -> None:
    selector = NeighbourAgreementSelector(min_pixels=1, top_k=2)
    maps = stack_of(disc(5), disc(5), disc(9, (9, 9)), disc(5))
    ids = ["s1", "s2", "s3", "s4"]
    columns = selector.score(Prediction(tuple(ids), maps))
    table = pa.table({"id": ids, "group": ["p"] * 4} | dict(columns))
    before = table["score"].to_pylist()
    selection = selector.select(table)
    assert selection.kept == ("s1", "s2")
    assert table["score"].to_pylist() == before == [1.0] * 4
    assert selection.table["score"].to_pylist()[2] < 1


def test_the_columns_of_the_score_are_needed() -> None:
    selector = NeighbourAgreementSelector()
    with pytest.raises(InputError, match="no column 'centre_0'"):
        selector.select(pa.table({"id": ["a"], "group": ["p"], "score": [0.5]}))
    with pytest.raises(InputError, match="no column 'group'"):
        selector.select(pa.table({"id": ["a"], "score": [0.5], "centre_0": [0.5]}))


def test_a_run_learns_from_the_score_that_it_selected_by(toy: SimpleNamespace) -> None:
    class Recorder(type(toy.Retrainer())):  # type: ignore[misc]  # a class of the fixture's
        def retrain(self, predictor: Any, labels: Any, /) -> Any:
            seen.extend((label.id, label.score) for label in labels)
            return super().retrain(predictor, labels)

    seen: list[tuple[str, float]] = []
    selector = NeighbourAgreementSelector(min_pixels=3, top_k=3)
    target = [Sample(s.id, "p", s.image) for s in toy.target()]
    result = pladapt.adapt(
        toy.Predictor(), target, selector=selector, retrainer=Recorder(), batch_size=2
    )
    table = result.rounds[0].selection.table
    best = table.sort_by([("score", "descending"), ("id", "ascending")]).slice(0, 3)
    assert seen == list(zip(best["id"].to_pylist(), best["score"].to_pylist(), strict=True))
    assert table["score"].to_pylist() != result.rounds[0].scores["score"].to_pylist()
