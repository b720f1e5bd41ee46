from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import pladapt
from pladapt import InputError
from pladapt.evaluation.auditing import audit_tables
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.evaluation.risk import aurc, excess_aurc, risk_coverage, spearman
from pladapt.selection.certainty_index import CertaintyIndexSelector
from pladapt.selection.neighbour_agreement import NeighbourAgreementSelector
from pladapt.selection.random_control import RandomSelector

if TYPE_CHECKING:
    from types import SimpleNamespace

    from pladapt import LabelledSample
    from pladapt.evaluation import Audit

VALUE = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
PAIRS = st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=30)


def naive_curve(pairs: list[tuple[float, float]]) -> list[float]:
    """Average the k surest, in the order of the scores."""
    risks = [risk for _, risk in sorted(pairs, key=lambda pair: -pair[0])]
    return [math.fsum(risks[:k]) / k for k in range(1, len(risks) + 1)]


@given(st.lists(st.tuples(st.floats(0, 1), VALUE), min_size=1, unique_by=lambda pair: pair[0]))
def test_the_curve_is_the_mean_risk_of_the_surest(pairs: list[tuple[float, float]]) -> None:
    score, risk = map(list, zip(*pairs, strict=True))
    np.testing.assert_allclose(risk_coverage(score, risk), naive_curve(pairs), atol=1e-12)
    assert aurc(score, risk) == pytest.approx(np.mean(naive_curve(pairs)), abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.7]), VALUE), min_size=1, max_size=5))
def test_ties_are_the_mean_of_every_order(pairs: list[tuple[float, float]]) -> None:
    score, risk = zip(*pairs, strict=True)
    every = [naive_curve(list(order)) for order in itertools.permutations(pairs)]
    np.testing.assert_allclose(risk_coverage(score, risk), np.mean(every, axis=0), atol=1e-12)


@given(PAIRS, st.randoms())
def test_the_order_of_the_samples_does_not_matter(
    pairs: list[tuple[float, float]], random: Any
) -> None:
    shuffled = random.sample(pairs, len(pairs))
    one, other = (list(zip(*some, strict=True)) for some in (pairs, shuffled))
    for figure in (aurc, excess_aurc, spearman):
        assert figure(*one) == pytest.approx(figure(*other), abs=1e-12, nan_ok=True)


@given(PAIRS)
def test_the_perfect_ranking_has_no_excess_and_no_score_does_better(
    pairs: list[tuple[float, float]],
) -> None:
    score, risk = (np.array(values) for values in zip(*pairs, strict=True))
    assert excess_aurc(-risk, risk) == 0
    assert excess_aurc(score, risk) >= -1e-12
    assert aurc(np.zeros(len(risk)), risk) == pytest.approx(risk.mean())
    assert aurc(risk, risk) >= aurc(score, risk) - 1e-12


@given(PAIRS)
def test_spearman_agrees_with_scipy(pairs: list[tuple[float, float]]) -> None:
    one, other = (np.array(values) for values in zip(*pairs, strict=True))
    if min(np.unique(one).size, np.unique(other).size) == 1:
        assert math.isnan(spearman(one, other))
    else:
        expected = stats.spearmanr(one, other).statistic
        assert spearman(one, other) == pytest.approx(expected, abs=1e-9)


def test_figures_worked_by_hand() -> None:
    score, risk = [0.9, 0.8, 0.7, 0.6], [0.2, 0.0, 0.4, 0.6]
    np.testing.assert_allclose(risk_coverage(score, risk), [0.2, 0.1, 0.2, 0.3])
    assert aurc(score, risk) == pytest.approx(0.2)
    assert excess_aurc(score, risk) == pytest.approx(0.2 - (0 + 0.1 + 0.2 + 0.3) / 4)
    assert spearman(score, risk) == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("score", "risk", "message"),
    [([], [], "at least 1"), ([0.5], [0.5, 0.6], "one length"), ([math.nan], [0.5], "finite")],
)
def test_what_cannot_be_ranked_is_refused(score: Any, risk: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        aurc(score, risk)


# Tables


def evaluated(qualities: list[float], groups: list[str] | None = None) -> pa.Table:
    size = len(qualities)
    return pa.table(
        {
            "id": [f"s{n}" for n in range(size)],
            "group": groups or [f"p{n // 2}" for n in range(size)],
            "class": [1] * size,
            "dsc": qualities,
        }
    )


def scored(values: list[float]) -> pa.Table:
    return pa.table({"id": [f"s{n}" for n in range(len(values))], "score": values})


def figures(audit: Audit) -> dict[str, dict[str, Any]]:
    return {row.pop("score"): row for row in audit.table.to_pylist()}


@given(st.lists(st.tuples(VALUE, VALUE, VALUE), min_size=4, max_size=20), st.randoms())
def test_an_audit_is_the_figures_of_each_score(rows: list[Any], random: Any) -> None:
    quality, one, other = map(list, zip(*rows, strict=True))
    risk = 1 - np.array(quality)
    tables = {"one": scored(one), "other": scored(other)}
    found = audit_tables(tables, evaluated(quality), resamples=20)
    for name, values in (("one", one), ("other", other)):
        row = figures(found)[name]
        assert row["aurc"] == pytest.approx(aurc(values, risk), abs=1e-12)
        assert row["excess_aurc"] == pytest.approx(excess_aurc(values, risk), abs=1e-12)
        expected = -spearman(values, risk)
        assert row["spearman"] == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert row["difference"] == pytest.approx(aurc(values, risk) - aurc(one, risk), abs=1e-12)
    order = random.sample(range(len(rows)), len(rows))
    shuffled = {name: table.take(order) for name, table in tables.items()}
    again = audit_tables(shuffled, evaluated(quality).take(order[::-1]), resamples=20)
    assert repr(again.table.to_pydict()) == repr(found.table.to_pydict())
    assert again.curves.equals(found.curves)


def test_the_better_score_comes_first_and_its_difference_is_below_zero() -> None:
    quality = list(np.linspace(0, 1, 40))
    good = [q + 0.05 * (-1) ** n for n, q in enumerate(quality)]
    bad = list(np.random.default_rng(0).random(40))
    found = audit_tables({"bad": scored(bad), "good": scored(good)}, evaluated(quality))
    assert found.table["score"].to_pylist() == ["good", "bad"]
    assert found.reference == "bad"
    rows = figures(found)
    assert rows["good"]["difference_high"] < 0
    assert rows["good"]["aurc_low"] < rows["good"]["aurc"] < rows["good"]["aurc_high"]
    assert rows["good"]["spearman_low"] > 0.9
    assert (rows["bad"]["difference_low"], rows["bad"]["difference_high"]) == (0, 0)


def test_an_interval_draws_groups_and_holds_the_truth() -> None:
    """The mean risk of a constant score: its interval against the textbook's for group means."""
    generator = np.random.default_rng(3)
    level = np.repeat(generator.normal(0.5, 0.1, 60), 4)
    quality = list(np.clip(level, 0, 1))
    groups = [f"p{n // 4}" for n in range(240)]
    found = audit_tables({"none": scored([0.5] * 240)}, evaluated(quality, groups))
    row = figures(found)["none"]
    half = 1.96 * np.std(level[::4], ddof=1) / math.sqrt(60)
    assert (row["aurc_high"] - row["aurc_low"]) / 2 == pytest.approx(half, rel=0.15)
    assert math.isnan(row["spearman"])
    assert math.isnan(row["spearman_low"])


def test_scores_are_compared_on_the_samples_that_all_are_defined_for() -> None:
    quality = [0.9, 0.8, 0.1, math.nan, 0.5]
    tables = {"a": scored([0.9, 0.8, math.nan, 1.0, 0.4]), "b": scored([0.5, 0.6, 0.7, 0.1])}
    found = audit_tables(tables, evaluated(quality))
    assert found.notes["samples"].startswith("2 of 5")
    assert found.notes["groups"] == "1"
    rows = figures(found)
    assert rows["a"]["aurc"] == pytest.approx((0.1 + 0.15) / 2)
    assert rows["b"]["aurc"] == pytest.approx((0.2 + 0.15) / 2)
    assert math.isnan(rows["a"]["aurc_low"])  # one group says nothing of others
    assert (rows["a"]["undefined"], rows["b"]["undefined"]) == (1, 1)


def test_a_sample_s_quality_is_of_the_classes_it_shows() -> None:
    samples = pa.table(
        {
            "id": ["s0", "s0", "s1", "s1", "s2", "s2"],
            "group": ["p", "p", "p", "p", "q", "q"],
            "class": [1, 2, 1, 2, 1, 2],
            "tp": [5, 0, 3, 4, 0, 0],
            "fp": [0, 0, 1, 1, 0, 0],
            "fn": [5, 0, 1, 1, 0, 0],
            "dsc": [0.5, 1.0, 0.6, 0.8, 1.0, 1.0],
        }
    )
    found = audit_tables({"a": scored([0.9, 0.8, 0.7])}, samples)
    np.testing.assert_allclose(found.curves["risk"], [0.5, 0.4, 0.8 / 3])


def test_nothing_to_compare_on_is_refused() -> None:
    with pytest.raises(InputError, match="None of 2 samples has a dsc and every score"):
        audit_tables({"a": scored([math.nan, math.nan])}, evaluated([0.5, 0.6]))
    with pytest.raises(InputError, match="give at least one score"):
        audit_tables({}, evaluated([0.5]))
    with pytest.raises(InputError, match="no column 'sen'"):
        audit_tables({"a": scored([0.5])}, evaluated([0.5]), metric="sen")
    twice = pa.table({"id": ["s0", "s0"], "score": [0.1, 0.2]})
    with pytest.raises(InputError, match="is there twice"):
        audit_tables({"a": twice}, evaluated([0.5]))


# A predictor and selectors


@pytest.mark.parametrize("classes", [1, 2])
def test_an_audit_predicts_as_an_evaluation_does(toy: SimpleNamespace, classes: int) -> None:
    samples: list[LabelledSample] = toy.lesions(count=9, classes=classes)
    selectors = {
        "ci": CertaintyIndexSelector(min_pixels=1),
        "neighbours": NeighbourAgreementSelector(min_pixels=1),
        "chance": RandomSelector(min_pixels=1),
    }
    found = pladapt.audit(toy.Predictor(), samples, selectors, batch_size=2)
    evaluation = OverlapEvaluator(samples=samples).evaluate(toy.Predictor())
    scores = {}
    for name, selector in selectors.items():
        images = np.stack([sample.image for sample in samples])
        ids = tuple(sample.id for sample in samples)
        columns = selector.score(pladapt.Prediction(ids, toy.Predictor().predict(images)))
        table = pa.table(
            {"id": list(ids), "group": [sample.group for sample in samples]} | dict(columns)
        )
        scores[name] = selector.select(table).table
    expected = audit_tables(scores, evaluation.samples)
    assert repr(found.table.to_pydict()) == repr(expected.table.to_pydict())
    whole = pladapt.audit(toy.Predictor(), samples, selectors, batch_size=9)
    assert repr(whole.table.to_pydict()) == repr(found.table.to_pydict())


def test_no_samples_are_refused(toy: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="no samples to audit on"):
        pladapt.audit(toy.Predictor(), [], {"ci": CertaintyIndexSelector()})
