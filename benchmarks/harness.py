"""Timing methods side by side: interleaved in one process, with medians, spread and agreement."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Role: TypeAlias = Literal["ours", "peer", "floor"]
Agreement: TypeAlias = Callable[[Any, Any], str]

_MOST_ROUNDS: Final = 51
_LEAST_ROUNDS_QUICK: Final = 2


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to do a case's work.

    Args:
        name: What it is called in the table.
        run: Does the work, and returns what is compared.
        role: ``ours``, a ``peer``, or the ``floor`` below which nobody can go.
        agrees: Compares our result with this one's, and says how; raises AssertionError.
        missing: Why it is not measured; then ``run`` is not called.
        flops: The arithmetic of one call, where its rate is of interest.
        precision: What the arithmetic is in, to be held against the case's rate of that name.
    """

    name: str
    run: Callable[[], Any] | None = None
    role: Role = "peer"
    agrees: Agreement | None = None
    missing: str = ""
    flops: float = 0.0
    precision: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ratio of two methods' medians that must be reached.

    Args:
        of: The method above the line.
        to: The method below it.
        limit: What the ratio is held against.
        at_most: The ratio must not be above the limit; else not below.
    """

    of: str
    to: str
    limit: float
    at_most: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """What several methods do, in the same process and in turns.

    Args:
        name: What is done, with sizes.
        methods: How; exactly one is ours.
        items: How many items (images, rows) one call handles.
        unit: What an item is.
        targets: What must be reached.
        facts: Measured after the timings, to stand below the table.
        rates: What the machine reaches in a large matrix product, in FLOP/s by precision.
        seconds: What a round of all methods may be repeated for.
        least: How often each is timed, however long it takes; 2 or more.
    """

    name: str
    methods: Sequence[Method]
    items: int = 1
    unit: str = ""
    targets: Sequence[Target] = ()
    facts: Callable[[], Mapping[str, str]] | None = None
    rates: Callable[[], Mapping[str, float]] | None = None
    seconds: float = 20.0
    least: int = 5


@dataclass(slots=True)
class _Series:
    method: Method
    times: list[float] = field(default_factory=list)
    agreement: str = ""


def measure(case: Case, *, quick: bool = False) -> dict[str, Any]:
    """Time a case's methods in turns, and compare their results with ours.

    Args:
        case: What is measured.
        quick: Call everything no more often than a median needs.

    Returns:
        What the JSON file holds of the case: per method the median, the quartiles and the number
        of calls, its ratio to ours round by round, and how its result agrees with ours.
    """
    series = [_Series(method) for method in case.methods if not method.missing]
    ours = _warm_up(series)
    duration = _round(series)
    wanted = 0 if quick else int(case.seconds / max(duration, 1e-9))
    least = _LEAST_ROUNDS_QUICK if quick else case.least
    for _ in range(min(_MOST_ROUNDS, max(least, wanted)) - 1):
        _round(series)
    return {
        "case": case.name,
        "items": case.items,
        "unit": case.unit,
        "methods": [
            *(_told(one, ours) for one in series),
            *(
                {"name": method.name, "role": method.role, "missing": method.missing}
                for method in case.methods
                if method.missing
            ),
        ],
        "targets": [_held(target, series) for target in case.targets],
        "facts": dict(case.facts()) if case.facts else {},
        "rates": dict(case.rates()) if case.rates else {},
    }


def _warm_up(series: Sequence[_Series]) -> _Series:
    """Call each method once, untimed, and compare what it returns with ours."""
    results = [_call(one.method) for one in series]
    (place,) = [i for i, one in enumerate(series) if one.method.role == "ours"]
    for one, result in zip(series, results, strict=True):
        if one.method.agrees is not None:
            one.agreement = one.method.agrees(results[place], result)
    return series[place]


def _call(method: Method) -> Any:
    if method.run is None:
        raise ValueError(f"The method {method.name!r} can neither run nor says why it is missing.")
    return method.run()


def _round(series: Sequence[_Series]) -> float:
    """Time one call of each method, and return how long all took."""
    start = time.perf_counter()
    for one in series:
        before = time.perf_counter()
        _call(one.method)
        one.times.append(time.perf_counter() - before)
    return time.perf_counter() - start


def _told(one: _Series, ours: _Series) -> dict[str, Any]:
    ratios = [theirs / own for theirs, own in zip(one.times, ours.times, strict=True)]
    return {
        "name": one.method.name,
        "role": one.method.role,
        "seconds": _spread(one.times),
        "ratio_to_ours": _spread(ratios),
        "calls": len(one.times),
        "agreement": one.agreement,
        "flops": one.method.flops,
        "precision": one.method.precision,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "least": min(values)}


def _held(target: Target, series: Sequence[_Series]) -> dict[str, Any]:
    """Compare a ratio of medians with its limit; a method that is missing leaves it open."""
    told: dict[str, Any] = {
        "of": target.of,
        "to": target.to,
        "limit": target.limit,
        "at_most": target.at_most,
        "ratio": None,
        "met": None,
    }
    times = {one.method.name: one.times for one in series}
    if target.of in times and target.to in times:
        pairs = zip(times[target.of], times[target.to], strict=True)
        told["ratio"] = statistics.median(above / below for above, below in pairs)
        ratio = told["ratio"]
        told["met"] = ratio <= target.limit if target.at_most else ratio >= target.limit
    return told
