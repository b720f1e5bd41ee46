"""The tables that end an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pladapt.functional.overlap import METRICS
from pladapt.reports.comparison import compare, rows, selected
from pladapt_covid_ct.source import EVALUATOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pladapt import AdaptationResult
    from pladapt_covid_ct.experiment import Outcome

HEADER: Final = ("data", "slices", "selected", *(metric.upper() for metric in METRICS))


def table(outcome: Outcome, aggregation: str = "pooled") -> Iterator[tuple[str, ...]]:
    """Yield the rows under `HEADER`: in domain, then each target before → after; class by class.

    Args:
        outcome: What the experiment found.
        aggregation: ``pooled``, ``group`` or ``sample``.
    """
    source = outcome.source
    in_domain = outcome.trained.in_domain
    for class_, name in _classes(outcome).items():
        values = (in_domain.value(m, aggregation=aggregation, class_=class_) for m in METRICS)
        yield (f"{source} in domain{name}", "test", "", *(f"{value:.3f}" for value in values))
    for target, result in outcome.targets.items():
        for samples, number, *metrics in rows(compare(result, EVALUATOR), aggregation):
            name = _classes(outcome)[int(number)]
            yield (f"{source} to {target}{name}", samples, _selected(result), *metrics)


def side_by_side(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[str, ...]]:
    """Yield a header, then a row for the source's own data and for each target.

    The cells are the pooled DSC of the source's model, and after each recipe with its verdict.

    Args:
        outcomes: What each recipe found from one source's model, by the recipe's name.
    """
    first = next(iter(outcomes.values()))
    yield ("DSC", "source", *outcomes)
    in_domain = first.trained.in_domain.value("dsc", aggregation="pooled")
    yield (f"{first.source} in domain", f"{in_domain:.3f}", *("" for _ in outcomes))
    for target, result in first.targets.items():
        found = (outcome.targets[target] for outcome in outcomes.values())
        before = result.before[EVALUATOR].value("dsc", aggregation="pooled")
        yield (f"{first.source} to {target}", f"{before:.3f}", *(_ended(each) for each in found))


def _ended(result: AdaptationResult) -> str:
    after = result.after[EVALUATOR].value("dsc", aggregation="pooled")
    words = str(result.verdict).partition(":")[0]
    return f"{after:.3f}, {words}"


def _classes(outcome: Outcome) -> dict[int, str]:
    """Return what follows the data's name for each class that was measured."""
    names = outcome.domains[outcome.source].classes
    found = sorted(set(outcome.trained.in_domain.summary["class"].to_pylist()))
    if len(found) == 1:
        return {found[0]: ""}
    return {class_: f", {names.get(class_, f'class {class_}')}" for class_ in found}


def _selected(result: AdaptationResult) -> str:
    if not result.rounds:
        return "none"
    return f"{len(selected(result))} of {len(result.rounds[0].scores)}"
