"""`robust`'s choice of statistics with each part left out: ``parts.py --out DIR --data DIR``.

Each network of each cell is asked once, on the study's models and targets (``--out`` is the study's
folder), and what it said is kept there; the choices follow from that. `study.py --page-only` puts
the table on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from arguments import installed_weights, names, numbers
from domains import target_of
from families import Config
from pairs import NO_SHIFT, PAIRS
from results import MARGIN, Measured
from sources import source_of

import pladapt
from pladapt.data.leakage import names_of
from pladapt.data.views import Subset
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.functional.overlap import COUNTS
from pladapt.predictors import Agreement, Views, measure_agreement
from pladapt.source import measure_likeness
from pladapt.storage import atomic_write, read_table, write_table
from pladapt.torch import AgreementRecalibrator, recalibrate_batch_norm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sources import Source

    from pladapt.types import LabelledSample
    from pladapt.typing import Predictor

NONE, ALL, MATCHED = "none", "batch norm", "matched batch norm"
_FEWEST: Final = 16
_SCORES: Final = "scores.json"
_KINDS: Final = ("counts", "marked")
_RULE: Final = AgreementRecalibrator()


@dataclass(frozen=True)
class Known:
    """What is known of a cell: of each network its agreement, and its DSC with the truth."""

    pair: str
    seed: int
    shift: float
    unfit: bool
    usual: float
    agreements: dict[str, Agreement]
    scores: dict[str, float]


class Parts(NamedTuple):
    """What the choice goes by; each is a part of it."""

    fit: bool = True
    shift: bool = True
    matched: bool = True
    area: bool = True
    single: bool = True
    sure: bool = True


VARIANTS: Final = {
    "as it is": Parts(),
    "without the look whether the model is fit": Parts(fit=False),
    "without the limit of the shift": Parts(shift=False),
    "without statistics at the source's fraction": Parts(matched=False),
    "without the limit of what is marked": Parts(area=False),
    "without draws of the groups": Parts(sure=False),
    "without draws and single images": Parts(sure=False, single=False),
}


def taken(known: Known, parts: Parts) -> str:
    """Return which network is taken."""
    best, plain = NONE, float(known.agreements[NONE].fraction.sum())
    nothing = plain == 0 or plain > _RULE.max_fraction or known.unfit
    if (parts.fit and nothing) or (parts.shift and known.shift < _RULE.recalibration_shift):
        return best
    for name in (ALL, MATCHED) if parts.matched else (ALL,):
        if name not in known.agreements:
            continue
        one, other = known.agreements[name], known.agreements[best]
        most = _RULE.factor * max(plain, known.usual)
        if parts.area and float(one.fraction.sum()) > most:
            continue
        if _above(one, other, parts):
            best = name
    return best


def _above(one: Agreement, other: Agreement, parts: Parts) -> bool:
    if parts.sure:
        return one.surely_above(other, _RULE.margin)
    pooled = one.pooled > other.pooled + _RULE.margin
    return pooled and (not parts.single or one.per_image >= other.per_image - _RULE.margin)


def measure(source: Source, target: list[LabelledSample], folder: Path) -> None:
    """Ask every network, and keep what it said."""
    images, statistics = pladapt.unlabelled(target), source.statistics
    likeness = measure_likeness(images, statistics)
    views = Views(statistics.axes, statistics.scales)
    usual = 0.0 if statistics.foreground_fraction is None else statistics.foreground_fraction.sum()
    scores: dict[str, float] = {}

    def ask(name: str, predictor: Predictor) -> Agreement:
        found = measure_agreement(predictor, images, cutoff=source.cutoff, views=views)
        write_table(found.counts, folder / f"{name}-counts.parquet")
        write_table(found.marked, folder / f"{name}-marked.parquet")
        rows = OverlapEvaluator(samples=target, cutoff=source.cutoff).evaluate(predictor).samples
        counts = np.stack([rows[each].to_numpy() for each in COUNTS], axis=-1)
        scores[name] = Measured(counts, {}).score
        return found

    plain = ask(NONE, source.predictor)
    ask(ALL, recalibrate_batch_norm(source.predictor, images))
    matching = set(plain.matching(float(usual)))
    if _FEWEST <= len(matching) < len(images):
        places = [i for i, (id_, _) in enumerate(names_of(images)) if id_ in matching]
        ask(MATCHED, recalibrate_batch_norm(source.predictor, Subset(images, places)))
    told = {"shift": likeness.shift, "unfit": likeness.reason is not None, "usual": float(usual)}
    with atomic_write(folder / _SCORES) as temporary:
        temporary.write_text(json.dumps(told | {"scores": scores}), encoding="utf-8")


def known_of(folder: Path) -> Known:
    """Read what was kept of a cell."""
    told = json.loads((folder / _SCORES).read_text(encoding="utf-8"))
    agreements = {
        name: Agreement(*(read_table(folder / f"{name}-{kind}.parquet") for kind in _KINDS))
        for name in told["scores"]
    }
    seed = int(folder.name.removeprefix("seed-"))
    return Known(folder.parent.name, seed, agreements=agreements, **told)


def summary(cells: list[Known]) -> Iterator[dict[str, Any]]:
    """Yield for each variant what it changes where there is a shift, and where there is none."""
    for name, parts in VARIANTS.items():
        changes: dict[bool, list[float]] = {True: [], False: []}
        for known in cells:
            change = known.scores[taken(known, parts)] - known.scores[NONE]
            changes[known.pair not in NO_SHIFT].append(change)
        row: dict[str, Any] = {"variant": name}
        for shifted, words in ((True, "shifted"), (False, "same")):
            found = np.array(changes[shifted])
            row[words] = {
                "cells": len(found),
                "mean": float(found.mean()) if len(found) else None,
                "worst": float(found.min()) if len(found) else None,
                "below": int((found < -MARGIN).sum()),
                "above": int((found > MARGIN).sum()),
            }
        yield row


def main() -> None:
    """Ask what was not asked yet, and write what follows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the study's folder")
    parser.add_argument("--data", type=Path, help="the real images: covid_ct, nuclei and crack")
    parser.add_argument("--pairs", type=names(PAIRS), default=[*PAIRS], help="else all")
    parser.add_argument("--seeds", type=numbers, default=[0, 1], help="0,1 unless given")
    parser.add_argument("--quick", action="store_true", help="tiny phantoms, to see that it works")
    given = parser.parse_args()
    config = Config(
        out=given.out,
        data=given.data,
        encoder_weights=installed_weights(),
        quick=given.quick,
        device="cpu",
    )
    for seed in given.seeds:
        for name in given.pairs:
            folder = given.out / "parts" / name / f"seed-{seed}"
            if (folder / _SCORES).exists():
                continue
            try:
                source = source_of(config, PAIRS[name], seed)
                target = target_of(config, PAIRS[name], seed)
            except ValueError as error:  # too weak a source, or too few images
                print(f"{name}, seed {seed}: {error}", flush=True)
                continue
            measure(source, target, folder)
            print(f"{name}, seed {seed}: done", flush=True)
    cells = [known_of(path.parent) for path in sorted((given.out / "parts").rglob(_SCORES))]
    with atomic_write(given.out / "parts.json") as temporary:
        temporary.write_text(json.dumps([*summary(cells)]), encoding="utf-8")


if __name__ == "__main__":
    main()
