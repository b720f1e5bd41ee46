"""Which score ranks best on the source's held-out patients: what a score is chosen by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from domains import domain, split
from pairs import PAIRS
from sources import source_of

import pladapt
from pladapt.errors import InputError
from pladapt.storage import read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from families import Config
    from sources import Source

    from pladapt import LabelledSample
    from pladapt.typing import Samples

_Audits: TypeAlias = "Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]"

_SELECTORS = (
    "certainty-index",
    "foreground-entropy",
    "boundary-free-certainty",
    "trimmed-certainty",
    "soft-dice",
    "pairwise-dice",
)
"""The scores that are compared, the reference first."""

_ALL: Final = frozenset(_SELECTORS)
_UNSURE: Final = frozenset({"boundary-free-certainty"})
"""What thin masks have no score of, at times none of a source's."""


def audit_sources(config: Config, pairs: Sequence[str], seeds: Sequence[int]) -> None:
    """Audit the scores of every source model whose training has finished.

    The source's test patients are predicted as they are and mirrored, so that every score is
    measured on the same mean, and pairwise Dice on the two.
    """
    for name in pairs:
        pair = PAIRS[name]
        for seed in seeds:
            path = _path(config.out, pair.family, pair.source, seed)
            if path.exists() and set(read_table(path)["score"].to_pylist()) | _UNSURE >= _ALL:
                continue
            try:
                source = source_of(config, pair, seed)
            except InputError:  # the source is too weak, or has too few groups
                continue
            test = split(domain(config, pair.family, pair.source), seed).test
            write_table(_audited(source, test), path)


def _audited(source: Source, test: Samples[LabelledSample]) -> pa.Table:
    audit = partial(
        pladapt.audit, pladapt.FlipPredictor(source.predictor), test, cutoff=source.cutoff
    )
    selectors = {
        each: pladapt.selector(each, cutoff=source.cutoff, min_pixels=1) for each in _SELECTORS
    }
    try:
        found = audit(selectors)
    except InputError:  # no sample has every score
        found = audit({k: v for k, v in selectors.items() if k not in _UNSURE})
    return found.table


def _path(out: Path, family: str, letter: str, seed: int) -> Path:
    return out / "audits" / f"{family}-{letter}" / f"seed-{seed}.parquet"


def audits_in(out: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the finished audits by source and seed; JSON-able."""
    return {
        folder.name: {
            path.stem.removeprefix("seed-"): read_table(path).to_pylist()
            for path in sorted(folder.glob("*.parquet"))
        }
        for folder in sorted((out / "audits").glob("*"))
    }


def ranked_above(audits: _Audits) -> tuple[str | None, int, int, int]:
    """Return the score that is most often better than the certainty index.

    Returns:
        Its name, or None without audits; at how many source models its AURC is lower, and at how
        many its whole interval is; and how many there are.
    """
    sources = [
        {row["score"]: row for row in rows} for each in audits.values() for rows in each.values()
    ]
    ranked = [
        (
            sum(rows[score]["difference_high"] < 0 for rows in sources if score in rows),
            sum(rows[score]["difference"] < 0 for rows in sources if score in rows),
            score,
        )
        for score in _SELECTORS[1:]
    ]
    if not sources:
        return None, 0, 0, 0
    surely, lower, score = max(ranked)
    return score, lower, surely, len(sources)


def audit_lines(audits: _Audits) -> Iterator[str]:
    """Yield the page's section on the audits."""
    if not audits:
        return
    yield "## Which score ranks best on the source's own held-out patients\n"
    yield (
        "AURC, the area under the risk-coverage curve, of the DSC of each slice; lower is better. "
        "In brackets the difference to the certainty index with its 95 % interval by patient.\n"
    )
    for source, seeds in audits.items():
        yield f"| {source} | {' | '.join(f'seed {seed}' for seed in seeds)} |"
        yield f"|---|{'---|' * len(seeds)}"
        tables = [{row["score"]: row for row in rows} for rows in seeds.values()]
        for score in _SELECTORS:
            yield f"| `{score}` | {' | '.join(_cell(table.get(score)) for table in tables)} |"
        yield ""


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "undefined"
    value = f"{row['aurc']:.3f}"
    if row["score"] == _SELECTORS[0]:
        return value
    low, high = row["difference_low"], row["difference_high"]
    return f"{value} ({row['difference']:+.3f} [{low:+.3f}, {high:+.3f}])"
