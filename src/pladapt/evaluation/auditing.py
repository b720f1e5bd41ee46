"""How well each score ranks the true quality of predictions, on labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pladapt.data.unique import repeated
from pladapt.errors import InputError
from pladapt.evaluation.risk import aurc, risk_coverage, spearman
from pladapt.functional.overlap import evaluation, truth_rows
from pladapt.predictors.prediction import predictions
from pladapt.selection.rules import values
from pladapt.selection.scoring import score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from pladapt.functional.certainty import Cutoff
    from pladapt.types import LabelledSample, Samples
    from pladapt.typing import Predictor, Selector

_COUNTS: Final = ("tp", "fp", "fn")  # without one of them a class is neither there nor predicted

RESAMPLES: Final = 1000
"""How often the groups are drawn for an interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """How well scores rank the quality of predictions.

    Args:
        table: A row for each score, the lowest AURC first: ``score`` (its name), ``aurc``,
            ``excess_aurc``, ``difference`` (its AURC minus that of the reference), ``spearman``
            (with the quality, so that higher is better), the ends of their intervals (``aurc_low``
            and so on), and ``undefined`` (the samples that have no such score).
        curves: ``score``, ``coverage`` and ``risk``: the risk-coverage curves.
        reference: The score that the others are compared with.
        notes: What a reader must know to compare the numbers.
    """

    table: pa.Table
    curves: pa.Table
    reference: str
    notes: Mapping[str, str]


def audit(
    predictor: Predictor,
    samples: Samples[LabelledSample],
    selectors: Mapping[str, Selector],
    *,
    cutoff: Cutoff = 0.5,
    batch_size: int = 8,
    seed: int = 0,
) -> Audit:
    """Measure how well each selector's score ranks the true quality of its samples.

    A score is chosen with it before adaptation, on labelled data that the model was not trained
    on: the source's held-out patients. See `pladapt.evaluation.audit_tables` for what is
    measured.

    Args:
        predictor: Predicts every sample once; all selectors score the same prediction.
        samples: Labelled samples; groups are resampled whole.
        selectors: By name, the reference first.
        cutoff: The probability above which a pixel is foreground, for the quality.
        batch_size: How many samples are predicted at once.
        seed: Of the bootstrap.

    Raises:
        InputError: No samples or selectors, or no sample that every selector can score.
    """
    if not len(samples):
        raise InputError("There are no samples to audit on; give at least one.")
    rows: list[dict[str, object]] = []
    blocks: dict[str, list[pa.Table]] = {name: [] for name in selectors}
    for batch, prediction in predictions(predictor, samples, batch_size=batch_size):
        for name, selector in selectors.items():
            blocks[name].append(score(selector, [s.unlabelled() for s in batch], prediction))
        rows += truth_rows(batch, prediction, cutoff)
    scores = {n: selectors[n].select(pa.concat_tables(b)).table for n, b in blocks.items()}
    return audit_tables(scores, evaluation(rows).samples, seed=seed)


def audit_tables(
    scores: Mapping[str, pa.Table],
    samples: pa.Table,
    *,
    metric: str = "dsc",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Audit:
    """Measure how well scores rank the quality that an evaluation found.

    A sample's quality is the metric's mean over the classes that its truth or prediction shows;
    its risk is 1 minus that. The scores are compared on the same samples: those that every score
    is defined for. The intervals are percentiles of a bootstrap that draws whole groups, the same
    ones for every score, so that the difference of two scores is that of pairs.

    Args:
        scores: Tables with ``id`` and ``score``, by the score's name; the first is the reference.
        samples: An evaluation's samples: ``id``, ``group``, ``class`` and the metric.
        metric: The quality's column, in [0, 1].
        level: The nominal coverage of the intervals, in (0, 1).
        resamples: How often groups are drawn.
        seed: Of the draws.

    Raises:
        InputError: No scores, a missing column, an id that is there twice, a level outside (0, 1),
            or no sample that has a quality and every score.
    """
    if not scores or not 0 < level < 1:
        raise InputError(
            f"Got {len(scores)} scores and the level {level}; give at least one score, and a level "
            "between 0 and 1."
        )
    joined = _quality(samples, metric)
    for number, table in enumerate(scores.values()):
        joined = joined.join(_column(table, f"score {number}"), "id", join_type="left outer")
    joined = joined.sort_by("id")
    found = np.stack([values(joined, f"score {n}").astype(float) for n in range(len(scores))])
    quality = values(joined, "quality")
    defined = np.isfinite(quality)
    common = defined & np.isfinite(found).all(axis=0)
    missing = {
        name: int(np.count_nonzero(defined & ~np.isfinite(column)))
        for name, column in zip(scores, found, strict=True)
    }
    if not common.any():
        raise InputError(
            f"None of {len(joined)} samples has a {metric} and every score; without one are: "
            f"{missing}. Leave out the score that most lack, or look whether the ids agree."
        )
    _, groups = np.unique(values(joined, "group")[common].astype(str), return_inverse=True)
    draws = list(_draws(groups, resamples, seed))
    measured = _measure(found[:, common], 1 - quality[common], draws)
    return Audit(
        _table(list(scores), measured, missing, (1 - level) / 2),
        _curves(list(scores), found[:, common], 1 - quality[common]),
        next(iter(scores)),
        {
            "risk": f"1 - {metric}, the mean over the classes that a sample shows",
            "samples": f"{int(common.sum())} of {len(joined)}, those that every score is defined "
            "for",
            "groups": str(int(groups.max()) + 1),
            "interval": f"{level:.0%}, percentiles of {resamples} draws of groups",
        },
    )


def _quality(samples: pa.Table, metric: str) -> pa.Table:
    """Return ``id``, ``group`` and ``quality``, a row per sample."""
    quality = values(samples, metric)
    ids, groups = samples["id"].cast(pa.string()), samples["group"].cast(pa.string())
    counts = [values(samples, name) for name in _COUNTS if name in samples.column_names]
    shown = np.stack([*counts, np.full(len(samples), not counts)]).astype(bool).any(axis=0)
    table = pa.table({"id": ids, "group": groups, "quality": quality, "shown": shown})
    of_shown = pa.array(np.where(shown, quality, np.nan), mask=~shown | np.isnan(quality))
    means = (
        table.append_column("of_shown", of_shown)
        .group_by(["id", "group"])
        .aggregate([("of_shown", "mean"), ("quality", "mean")])
    )
    # a sample that shows no class at all has the quality of an empty mask rightly predicted
    return pa.table(
        {
            "id": means["id"],
            "group": means["group"],
            "quality": pc.coalesce(means["of_shown_mean"], means["quality_mean"]),
        }
    )


def _column(scores: pa.Table, name: str) -> pa.Table:
    column = pa.table({"id": scores["id"].cast(pa.string()), name: values(scores, "score")})
    if repeated(column["id"]) is not None:
        raise InputError(f"An id is there twice among the scores {name!r}; ids must be unique.")
    return column


def _draws(groups: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of groups drawn with replacement; none where there is a single group."""
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    generator = np.random.default_rng(seed)
    for _ in range(resamples if len(members) > 1 else 0):
        yield np.concatenate(
            [members[g] for g in generator.integers(len(members), size=len(members))]
        )


class _Measured(NamedTuple):
    """A figure of every score, and of every score in every draw."""

    value: NDArray[np.float64]
    drawn: NDArray[np.float64]


def _measure(
    scores: NDArray[np.float64], risk: NDArray[np.float64], draws: list[NDArray[np.int64]]
) -> dict[str, _Measured]:
    def figure(function: Any, columns: NDArray[np.float64]) -> _Measured:
        drawn = [[function(column[rows], risk[rows]) for column in columns] for rows in draws]
        return _Measured(
            np.array([function(column, risk) for column in columns]),
            np.array(drawn).reshape(len(draws), len(columns)),
        )

    areas, perfect = figure(aurc, scores), figure(aurc, -risk[None])
    ranks = figure(spearman, scores)
    return {
        "aurc": areas,
        "excess_aurc": _Measured(areas.value - perfect.value, areas.drawn - perfect.drawn),
        "difference": _Measured(areas.value - areas.value[0], areas.drawn - areas.drawn[:, :1]),
        "spearman": _Measured(-ranks.value, -ranks.drawn),
    }


def _table(
    names: list[str], measured: Mapping[str, _Measured], missing: Mapping[str, int], tail: float
) -> pa.Table:
    columns: dict[str, Any] = {"score": names}
    for name, figures in measured.items():
        ends = np.array([_ends(drawn, tail) for drawn in figures.drawn.T])
        columns |= {name: figures.value, f"{name}_low": ends[:, 0], f"{name}_high": ends[:, 1]}
    columns["undefined"] = [missing[name] for name in names]
    return pa.table(columns).sort_by([("aurc", "ascending"), ("score", "ascending")])


def _ends(drawn: NDArray[np.float64], tail: float) -> tuple[float, float]:
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return np.nan, np.nan
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def _curves(names: list[str], scores: NDArray[np.float64], risk: NDArray[np.float64]) -> pa.Table:
    size = len(risk)
    return pa.table(
        {
            "score": np.repeat(names, size),
            "coverage": np.tile(np.arange(1, size + 1) / size, len(names)),
            "risk": np.concatenate([risk_coverage(column, risk) for column in scores]),
        }
    )
