"""One cell: a simulated reviewer gives the truth of a few images, in several orders."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import work
from domains import target_of
from pairs import PAIRS
from rows import ORACLE
from sources import source_of

import pladapt
from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.functional.arrays import to_numpy
from pladapt.functional.overlap import COUNTS
from pladapt.review import Review
from pladapt.review.masks import RunMasks, predict_candidate
from pladapt.runs.manifest import describe
from pladapt.storage import atomic_write, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from families import Config
    from sources import Source

    from pladapt import AdaptationResult, LabelledSample, Sample
    from pladapt.typing import Predictor, Recalibration, Recalibrator, Samples

QUEUE: Final = "queue"
LOWEST: Final = "lowest certainty"
RANDOM: Final = "random"
ORDERS: Final = (QUEUE, LOWEST, RANDOM)
"""The orders that are compared, ours first."""


class Asked(NamedTuple):
    """What is simulated.

    Args:
        counts: How many images are reviewed.
        draws: How many random orders there are.
    """

    counts: tuple[int, ...] = (5, 10)
    draws: int = 1


@dataclass
class Remembered:
    """A recalibrator that is asked once: every round of a cell begins with what it made."""

    recalibrator: Recalibrator
    made: Recalibration | None = None

    def recalibrate(self, predictor: Predictor, target: Samples[Sample], /) -> Recalibration:
        """Return what the recalibrator made."""
        if self.made is None:
            self.made = self.recalibrator.recalibrate(predictor, target)
        return self.made

    def describe(self) -> dict[str, Any]:
        """Return what the recalibrator depends on."""
        found: dict[str, Any] = describe(self.recalibrator)
        return found


def path_of(out: Path, pair: str, seed: int) -> Path:
    """Return where what was found in a cell is kept."""
    return out / "reviews" / pair / f"seed-{seed}.json"


def simulate(config: Config, pair: str, seed: int, asked: Asked) -> None:
    """Do a cell, and keep what was found.

    The run is `robust`'s, and goes on with a round for each order and number of images. Where it
    labelled nothing, its model's masks are what is reviewed (``pladapt review --predict``).
    """
    source = source_of(config, PAIRS[pair], seed)
    target = target_of(config, PAIRS[pair], seed)
    with_labels = work.Task(pair, seed, ORACLE)
    work.run(config, [with_labels], 1)
    folder = path_of(config.out, pair, seed).with_suffix("")
    cell = _Cell(source, target, folder, _recipe(source))
    first = cell.adapt("run")
    if not any((folder / "run").glob("round-*/labels")):
        images = pladapt.unlabelled(target)
        predict_candidate(first.predictor, images, folder / "run", "adapted", cutoff=source.cutoff)
    found = {
        "pair": pair,
        "seed": seed,
        "ids": [sample.id for sample in target],
        "verdict": str(first.verdict),
        "source": cell.counts(source.predictor),
        "robust": cell.counts(first.predictor),
        "labels": _stored(with_labels.path(config.out), target),
        "reviews": [
            cell.reviewed(order, draw, ids[:count])
            for order, draw, ids in cell.orders(asked)
            for count in asked.counts
        ],
    }
    with atomic_write(path_of(config.out, pair, seed)) as temporary:
        temporary.write_text(json.dumps(found), encoding="utf-8")
    shutil.rmtree(folder)


def _recipe(source: Source) -> pladapt.recipes.Recipe:
    made = pladapt.recipe(
        "robust", cutoff=source.cutoff, source=source.statistics, seed=source.seed
    )
    if made.recalibrator is None or made.restart is None:
        return made
    others = {name: Remembered(each) for name, each in made.restart.recalibrators.items()}
    restart = replace(made.restart, recalibrators=others)
    return replace(made, recalibrator=Remembered(made.recalibrator), restart=restart)


@dataclass(frozen=True, eq=False)
class _Cell:
    source: Source
    target: Sequence[LabelledSample]
    folder: Path
    recipe: pladapt.recipes.Recipe

    def adapt(self, name: str) -> AdaptationResult:
        """Adapt in a folder, or go on there."""
        images = pladapt.unlabelled(self.target)
        return self.recipe.adapt(self.source.predictor, images, workdir=self.folder / name)

    def counts(self, predictor: Predictor) -> list[list[int]]:
        """Return each image's true and false positives, false and true negatives."""
        evaluator = OverlapEvaluator(samples=self.target, cutoff=self.source.cutoff)
        return _rows(evaluator.evaluate(predictor).samples, self.target)

    def orders(self, asked: Asked) -> list[tuple[str, int, list[str]]]:
        """Return each order's name, the number of the draw, and the ids that come first."""
        masks, most = RunMasks(self.folder / "run"), max(asked.counts)
        known = {id_: 1.0 if score is None else score for id_, score in masks.scores.items()}
        found = [
            (QUEUE, 0, pladapt.review.queue(self.folder / "run", most)),
            (LOWEST, 0, sorted(masks.ids, key=lambda id_: (known[id_], id_))[:most]),
        ]
        for draw in range(asked.draws):
            drawn = np.random.default_rng(draw).permutation(masks.ids)[:most].tolist()
            found.append((RANDOM, draw, drawn))
        return found

    def reviewed(self, order: str, draw: int, ids: list[str]) -> dict[str, Any]:
        """Correct these images by the truth, and go on with the round that they teach."""
        name = f"{order}-{draw}-{len(ids)}"
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.folder / "run", self.folder / name)
        review = Review(self.folder / name, who=order, masks=RunMasks(self.folder / "run"))
        truth = {sample.id: to_numpy(sample.mask) for sample in self.target}
        for id_ in ids:
            review.correct(id_, truth[id_])
        result = self.adapt(name)
        shutil.rmtree(self.folder / name)
        about = {"order": order, "draw": draw, "verdict": str(result.verdict), "reviewed": ids}
        return about | {"counts": self.counts(result.predictor)}


def _stored(path: Path, target: Sequence[LabelledSample]) -> list[list[int]]:
    return _rows(read_table(path), target)


def _rows(table: pa.Table, target: Sequence[LabelledSample]) -> list[list[int]]:
    rows: Mapping[str, list[int]] = {
        row["id"]: [row[name] for name in COUNTS] for row in table.to_pylist()
    }
    return [rows[sample.id] for sample in target]
