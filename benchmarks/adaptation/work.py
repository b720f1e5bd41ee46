"""One task of the study: a row of a pair at a seed, its cost, and where the result is kept."""

from __future__ import annotations

import json
import sys
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import torch
from domains import target_of
from pairs import NO_SHIFT, PAIRS
from rows import ESSENTIAL, ORDER, WITHOUT_SHIFT, adapted
from sources import source_of
from torch.nn.modules.module import register_module_forward_hook

from pladapt.evaluation.evaluators import OverlapEvaluator
from pladapt.functional.overlap import COUNTS
from pladapt.storage import atomic_write, write_table
from pladapt_covid_ct.workers import in_processes

sys.path.append(str(Path(__file__).parents[1]))
import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from families import Config
    from torch import nn

KEY: Final = b"study"
"""Where a result's table keeps what else is known of it."""


class Task(NamedTuple):
    """A row of a pair at a seed; without a row, the source model alone."""

    pair: str
    seed: int
    row: str | None = None

    def __str__(self) -> str:
        return f"{self.pair}, seed {self.seed}, {self.row or 'training the source'}"

    def path(self, out: Path) -> Path:
        """Return where the result is kept."""
        return out / "rows" / self.pair / f"seed-{self.seed}" / f"{self.row}.parquet"

    def note(self, out: Path) -> Path:
        """Return where a failure is noted."""
        return self.path(out).with_suffix(".txt")


@dataclass
class Passes:
    """How many images went through the network, in images of the target's size.

    Args:
        inference: Without a gradient.
        training: With one; the way back counts nothing.
    """

    inference: float = 0.0
    training: float = 0.0


@contextmanager
def counted(network: nn.Module, pixels: int) -> Iterator[Passes]:
    """Count the images that go through a network and its copies.

    Args:
        network: One of its kind.
        pixels: How many pixels an image has.
    """
    passes = Passes()

    def count(module: nn.Module, given: tuple[Any, ...], _made: object) -> None:
        if type(module) is type(network):
            images = given[0].numel() / given[0].shape[1] / pixels
            if torch.is_grad_enabled():
                passes.training += images
            else:
                passes.inference += images

    handle = register_module_forward_hook(count)
    try:
        yield passes
    finally:
        handle.remove()


def do(config: Config, task: Task) -> None:
    """Do a task; what goes wrong is noted, and stops no other."""
    task.note(config.out).unlink(missing_ok=True)
    try:
        if task.row is None:
            source_of(config, PAIRS[task.pair], task.seed)
        else:
            write_table(measure(config, task), task.path(config.out))
    except Exception as error:  # noqa: BLE001 - one row must not lose the others
        note(config, task, f"{type(error).__name__}: {error}", traceback.format_exc())


def note(config: Config, task: Task, reason: str, details: str = "") -> None:
    """Write down why a task failed."""
    with atomic_write(task.note(config.out)) as temporary:
        temporary.write_text(f"{' '.join(reason.split())}\n\n{details}", encoding="utf-8")


def measure(config: Config, task: Task) -> pa.Table:
    """Run a row, and count its pixels on each sample of the target at the source's cut-off."""
    pair = PAIRS[task.pair]
    source = source_of(config, pair, task.seed)
    target = target_of(config, pair, task.seed)
    with counted(source.predictor.module, target[0].mask.size) as passes:
        start = time.process_time()
        made = adapted(task.row or "", source, target)
        seconds = time.process_time() - start
    tables = [
        OverlapEvaluator(samples=held, cutoff=source.cutoff).evaluate(each.predictor).samples
        for each, held in made
    ]
    told = {
        "seconds": seconds,
        "inference": passes.inference / len(target),
        "training": passes.training / len(target),
        "cutoff": source.cutoff,
        "about": machine.describe(),
        **made[0][0].told,
    }
    counts = pa.concat_tables(tables).select(["id", "group", *COUNTS])
    return counts.replace_schema_metadata({KEY: json.dumps(told)})


def tasks(pairs: Sequence[str], seeds: Sequence[int], rows: Sequence[str]) -> list[list[Task]]:
    """Return what is to be done in turns: for each seed the sources, the essential rows, the rest.

    A source model that serves several pairs is trained once.
    """
    turns = []
    for seed in seeds:
        sources = {PAIRS[p][:2]: Task(p, seed) for p in reversed(pairs)}
        turns.append([sources[key] for key in dict.fromkeys(PAIRS[p][:2] for p in pairs)])
        each = [
            Task(pair, seed, row)
            for pair in pairs
            for row in (WITHOUT_SHIFT if pair in NO_SHIFT else ORDER)
            if row in rows
        ]
        turns.append([task for task in each if task.row in ESSENTIAL])
        turns.append([task for task in each if task.row not in ESSENTIAL])
    return turns


def run(config: Config, wanted: Sequence[Task], jobs: int) -> None:
    """Do the tasks that are not done yet, several at once."""
    missing = [task for task in wanted if task.row is None or not task.path(config.out).exists()]
    for done, (task, code) in enumerate(_ended(config, missing, jobs), start=1):
        if code is not None:
            note(
                config,
                task,
                f"The process ended with exit code {code}; -9 is often lack of memory.",
            )
        reason = task.note(config.out)
        state = reason.read_text(encoding="utf-8").partition("\n")[0] if reason.exists() else "done"
        print(f"{datetime.now(UTC):%H:%M:%S} {done} of {len(missing)}: {task}: {state}", flush=True)


def _ended(config: Config, missing: Sequence[Task], jobs: int) -> Iterator[tuple[Task, int | None]]:
    if jobs > 1:
        yield from in_processes(partial(_worker, config), missing, jobs)
        return
    for task in missing:
        do(config, task)
        yield task, None


def _worker(config: Config) -> Callable[[Task], None]:
    torch.set_num_threads(1)
    return partial(do, config)
