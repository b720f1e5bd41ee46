"""How much of the distance to a model that was trained with the target's labels was closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow.compute as pc

from pladapt.errors import InputError
from pladapt.functional.overlap import COUNTS, METRICS, dsc, pool, sen, spc
from pladapt.reports.document import Table
from pladapt.reports.statistics import Interval, bootstrap_statistic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from pladapt.types import Evaluation

_LEAST = 1e-9  # a gap below this is none


def gap_closed(
    source: Evaluation,
    adapted: Evaluation,
    upper: Evaluation,
    metric: Literal["dsc", "sen", "spc"] = "dsc",
    *,
    class_: int = 1,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Return the fraction of the gap between two models that adaptation closes.

    ``(adapted - source) / (upper - source)``, of all pixels pooled: 0 where nothing was gained, 1
    where the adapted model is as good as the upper one, below 0 where it is worse than the source.
    The interval is a BCa bootstrap of groups, the same ones drawn for the three; see
    `pladapt.reports.statistics.bootstrap_interval`. Its ends are NaN where the gap's own interval
    reaches zero: a fraction of what may be nothing is not bounded.

    Args:
        source: What an overlap evaluator measured of the source's model.
        adapted: The same of the adapted one, on the same samples.
        upper: The same of a model that was trained with the target's labels, on samples that it
            was not trained on (cross-validation by group).
        metric: ``dsc``, ``sen`` or ``spc``.
        class_: The class, from 1.
        level: The nominal coverage of the interval, in (0, 1).
        resamples: How often the groups are drawn.
        seed: Of the draws.

    Raises:
        InputError: The evaluations are of different samples, or do not define the metric; or the
            upper model is no better than the source's, so that there is no gap.
    """
    empty = _agreed(source, adapted, upper)
    tables = [_groups(each, class_) for each in (source, adapted, upper)]
    kept = _defined(tables[0], metric)
    if not kept.any():
        raise InputError(f"No group defines {metric!r} of class {class_}; there is no gap.")
    before, after, most = (
        np.stack([table[name].to_numpy() for name in COUNTS], axis=1)[kept] for table in tables
    )

    def gain(drawn: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return _metric(drawn @ counts, metric, empty) - _metric(drawn @ before, metric, empty)

    def fraction(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(gain(drawn, after) / np.maximum(gain(drawn, most), _LEAST))

    given = {"level": level, "resamples": resamples, "seed": seed}
    gap = bootstrap_statistic(lambda drawn: gain(drawn, most), len(before), **given)  # type: ignore[arg-type]  # mixed
    if not gap.mean > _LEAST:
        raise InputError(
            f"The upper model's {metric} is {gap.mean:+.4f} from the source's; only a better one "
            "leaves a gap that could be closed."
        )
    closed = bootstrap_statistic(fraction, len(before), **given)  # type: ignore[arg-type]  # mixed
    return closed if gap.low > 0 else Interval(closed.mean, np.nan, np.nan, closed.groups)


def gap_table(source: Evaluation, adapted: Evaluation, upper: Evaluation) -> Table:
    """Return the three models' pooled DSC, class by class, and the fraction of the gap closed."""
    return Table(
        "How much of the gap to a model trained with the target's labels was closed (pooled DSC)",
        ("class", "source", "adapted", "with labels", "fraction closed", "95 % interval", "groups"),
        tuple(_rows(source, adapted, upper)),
    )


def _rows(source: Evaluation, adapted: Evaluation, upper: Evaluation) -> Iterator[tuple[str, ...]]:
    for class_ in np.unique(source.samples["class"].to_numpy()).tolist():
        values = [f"{each.value('dsc', class_=class_):.3f}" for each in (source, adapted, upper)]
        try:
            fraction, low, high, groups = gap_closed(source, adapted, upper, class_=class_)
        except InputError:  # no gap: the figures beside it say so
            yield (str(class_), *values, "no gap", "", "")
            continue
        unknown = "the gap is not sure" if groups > 1 else "one group alone"
        interval = unknown if np.isnan(low) else f"{low:.0%} to {high:.0%}"
        yield (str(class_), *values, f"{fraction:.0%}", interval, str(groups))


def _agreed(source: Evaluation, adapted: Evaluation, upper: Evaluation) -> float:
    """Return the DSC of empty masks, if the evaluations are of the same samples."""
    names = [
        sorted(zip(*(e.samples[c].to_pylist() for c in ("id", "group", "class")), strict=True))
        for e in (source, adapted, upper)
    ]
    said = {each.notes.get("empty_dsc") for each in (source, adapted, upper)}
    if names.count(names[0]) < len(names) or len(said) > 1 or None in said:
        raise InputError(
            f"The evaluations have {[len(each) for each in names]} rows and take the DSC of empty "
            f"masks for {sorted(map(str, said))}; measure the three models on the same samples, "
            "with one overlap evaluator."
        )
    return float(source.notes["empty_dsc"])


def _groups(evaluation: Evaluation, class_: int) -> pa.Table:
    samples = evaluation.samples.filter(pc.equal(evaluation.samples["class"], class_))
    return pool(samples, ["group"]).sort_by("group")


def _defined(groups: pa.Table, metric: str) -> NDArray[np.bool_]:
    """Tell which groups have a metric; they have it whatever was predicted."""
    if metric not in METRICS:
        raise InputError(f"There is no metric {metric!r}; expected one of {list(METRICS)}.")
    defined: NDArray[np.bool_] = ~np.isnan(groups[metric].to_numpy())
    return defined


def _metric(counts: NDArray[np.int64], metric: str, empty: float) -> NDArray[np.float64]:
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    if metric == "sen":
        return sen(tp, fn)
    return spc(fp, tn) if metric == "spc" else dsc(tp, fp, fn, empty=empty)
