from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pladapt
from pladapt import InputError, Prediction, Rules, compose
from pladapt.selection import SoftLabelling
from pladapt.selection.certain_negatives import CertainNegativesSelector
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.random_control import RandomSelector
from pladapt.testing import SelectorContract
from pladapt.testing.checks import some_prediction

# Composition


class TestComposed(SelectorContract):
    @pytest.fixture(params=[(), ("group", "size", "class")])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        rules = Rules(top_k=0.7, quantile=0.2, spread=request.param)
        return compose(NeighbourAgreementSelector(min_pixels=1, cutoff=0.4), rules=rules)


def test_what_is_not_replaced_is_the_selector_s() -> None:
    selector = CertaintyIndexSelector(cutoff=0.4, min_pixels=3, top_k=2)
    prediction = some_prediction((5, 1, 6, 6))
    composed = compose(selector)
    scores = pa.table({"id": list(prediction.ids)} | dict(composed.score(prediction)))
    assert composed.select(scores).table.equals(selector.select(scores).table)
    np.testing.assert_array_equal(composed.label(prediction), selector.label(prediction))
    sure = CertaintyIndexSelector(cutoff=0.9)
    other = compose(selector, rules=Rules(top_k=1), label=sure.label)
    assert len(other.select(scores).kept) == 1
    assert other.label(prediction).sum() < selector.label(prediction).sum()


def test_rules_apply_to_the_scores_by_which_the_selector_selects() -> None:
    selector = NeighbourAgreementSelector(min_pixels=1, cutoff=0.4)
    prediction = some_prediction((6, 1, 8, 8))
    keys = {"id": list(prediction.ids), "group": ["p"] * 6}
    scores = pa.table(keys | dict(selector.score(prediction)))
    own = selector.select(scores).table
    found = compose(selector, rules=Rules(top_k=2)).select(scores)
    assert own["score"].to_pylist() != scores["score"].to_pylist()
    np.testing.assert_array_equal(found.table["score"], own["score"])
    assert found.kept == selector.select(scores).kept[:2]


def test_a_labeller_is_any_callable_of_a_prediction() -> None:
    prediction = some_prediction((3, 1, 4, 4))
    composed = compose(
        CertaintyIndexSelector(), label=lambda p: np.full((len(p.ids), 4, 4), 1, np.uint8)
    )
    assert composed.label(prediction).sum() == 3 * 16


# Certain negatives


class TestCertainNegatives(SelectorContract):
    @pytest.fixture(params=[1, 0.5])
    def selector(self, request: pytest.FixtureRequest) -> Any:
        inner = NeighbourAgreementSelector(cutoff=0.4, min_pixels=1, top_k=3)
        return CertainNegativesSelector(selector=inner, amount=request.param)


def negatives_and_positives(*peaks: float) -> Prediction:
    maps = np.zeros((len(peaks), 1, 4, 4))
    maps[:, 0, 1, 1:3] = np.array(peaks)[:, None]
    return Prediction(tuple(f"s{n}" for n in range(len(peaks))), maps)


def select(selector: Any, prediction: Prediction) -> pladapt.Selection:
    scores = pa.table({"id": list(prediction.ids)} | dict(selector.score(prediction)))
    selection: pladapt.Selection = selector.select(scores)
    return selection


def test_the_emptiest_samples_are_kept_beside_the_surest() -> None:
    prediction = negatives_and_positives(0.9, 0.02, 0.7, 0.0, 0.3, 0.1, 0.6)
    inner = CertaintyIndexSelector(min_pixels=1, top_k=2)
    selector = CertainNegativesSelector(selector=inner, amount=2)
    selection = select(selector, prediction)
    assert selection.kept == ("s0", "s2", "s3", "s1")
    assert selection.dropped == {"s4": "min_pixels", "s5": "negatives", "s6": "top_k"}
    np.testing.assert_allclose(
        selector.score(prediction)["score"], [0.9, 0.98, 0.7, 1.0, np.nan, 0.9, 0.6]
    )
    np.testing.assert_array_equal(
        selection.table["score"], np.array([0.9, 0.98, 0.7, 1.0, np.nan, 0.9, 0.6])
    )
    half = select(replace(selector, amount=0.5), prediction)
    assert half.kept == ("s0", "s2", "s3")


def test_nothing_is_learnt_from_negatives_alone() -> None:
    inner = CertaintyIndexSelector(min_pixels=1)
    for amount in (3, 1.0):
        selector = CertainNegativesSelector(selector=inner, amount=amount)
        selection = select(selector, negatives_and_positives(0.0, 0.05, 0.4))
        assert selection.counts == {"kept": 0, "negatives": 2, "min_pixels": 1}


def test_a_negative_s_label_has_no_foreground_whatever_the_labelling() -> None:
    inner = CertaintyIndexSelector(cutoff=0.05, min_pixels=1)
    selector = CertainNegativesSelector(selector=inner)
    labels = selector.label(negatives_and_positives(0.08, 0.5)).label
    assert [label.sum() for label in labels] == [0, 2]


@pytest.mark.parametrize("classes", [1, 3])
def test_a_negative_s_soft_label_has_no_foreground_either(classes: int) -> None:
    maps = np.zeros((2, classes, 4, 4))
    maps[:, -1, 1, 1:3] = np.array([0.08, 0.9])[:, None]
    if classes > 1:
        maps[:, 0] = 1 - maps[:, 1:].sum(axis=1)
    inner = compose(CertaintyIndexSelector(min_pixels=1), label=SoftLabelling(weight=True))
    labels = CertainNegativesSelector(selector=inner).label(Prediction(("a", "b"), maps))
    background = np.zeros_like(maps[0])
    background[:1] = classes > 1
    np.testing.assert_array_equal(labels.probabilities, [background, maps[1]])
    assert labels.weight.shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"ceiling": 0}, "ceiling is 0"), ({"amount": 0}, "amount is 0"), ({"amount": 2.0}, "2.0")],
)
def test_an_impossible_amount_or_ceiling_is_refused(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        CertainNegativesSelector(selector=CertaintyIndexSelector(), **parameters)


# Chance


class TestRandom(SelectorContract):
    @pytest.fixture
    def selector(self) -> Any:
        return RandomSelector(cutoff=0.4, min_pixels=5, top_k=3, seed=1)


def test_chance_is_uniform_seeded_and_blind_to_the_prediction() -> None:
    ids = tuple(f"s{n}" for n in range(400))
    maps = np.random.default_rng(0).uniform(0.5, 1, (400, 1, 2, 2))
    score = RandomSelector(seed=3).score(Prediction(ids, maps))["score"]
    again = RandomSelector(seed=3).score(Prediction(ids[::-1], maps))["score"]
    np.testing.assert_array_equal(score, again[::-1])
    assert (
        len({*score.tolist(), *RandomSelector(seed=4).score(Prediction(ids, maps))["score"]}) == 800
    )
    fraction, _ = np.histogram(score, 4, (0, 1))
    assert fraction.min() > 70
    assert abs(np.corrcoef(score, maps.mean(axis=(1, 2, 3)))[0, 1]) < 0.15


def test_chance_and_negatives_are_found_by_name() -> None:
    plugins = pladapt.plugins.PluginManager()
    inner = plugins.build("selector", "random", seed=2, min_pixels=1)
    assert plugins.build("selector", "certain-negatives", selector=inner).selector == inner
