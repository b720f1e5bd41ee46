"""Try to break runs, and count what survives: ``python benchmarks/reliability.py``.

Writes the page that says what was tried, what ended with the same bytes, and what work was lost.
With ``--quick`` a few trials of each kind, and no page unless one is named.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import faults
from faults import JOBS, TRAINING, contents, predicted, run

import pladapt
from pladapt.files import select_file
from pladapt.runs.manifest import describe
from pladapt.storage import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from faults import Job, Outcome

PAGE: Final = Path(__file__).parents[1] / "docs" / "project" / "reliability.md"
_QUICK: Final = 2
COUNTED: Final = 300
"""Bytes of the file in which predictions are counted, about, which always has room."""

_SAME, _CLEAR, _RAW, _OTHER = "same bytes", "clear error", "other exception", "other bytes"
_HEAD: Final = """# Reliability

What happens to a run when something happens to it. `python benchmarks/reliability.py` repeats this
page; `--quick` runs a few trials of each kind, as the tests do.

After each fault the same call is made again, without the fault. *Same bytes*: every file is as in
a run that nothing happened to. *Clear error*: an exception of pladapt's own says what is wrong and
what to do, as it must where a stored file was damaged or an input changed. *Other exception* and
*other bytes* are faults of pladapt. *Predicted again* is the work lost: how many samples were
predicted more often than in an undisturbed run, the median and the most of all trials.

The jobs: `adapt` in two rounds with a gate and an evaluator (216 predictions), `score` from a
folder of files (24), both with a predictor that only waits, and stored every 10 ms so that there is
much to interrupt; and, with `--training`, a recalibration and a training of four epochs of a few
steps, each with a checkpoint. There are 24 images of 16 x 16 pixels. *A broken part* returns None
or NaN, raises an error, or exits, from its first, second or sixth call on.

*Readers of files* are given mutated files of every format by `python benchmarks/fuzz.py`, which
needs atheris: *same bytes* counts those that could be read, and *other exception* whatever is no
error of pladapt's own, crashes a library, or takes longer than ten seconds or more than 2 GiB.

"""


@dataclass
class Row:
    """A line of the table."""

    job: str
    fault: str
    ends: Counter[str] = field(default_factory=Counter)
    again: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, end: str, note: str = "", again: int | None = None) -> None:
        """Count a trial."""
        self.ends[end] += 1
        if note and end in (_RAW, _OTHER):
            self.notes.append(note)
        if again is not None:
            self.again.append(again)

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        lost = ""
        if self.again:
            ordered = sorted(self.again)
            lost = f"{ordered[len(ordered) // 2]}, {ordered[-1]}"
        numbers = [str(self.ends[end]) for end in (_SAME, _CLEAR, _RAW, _OTHER)]
        return [self.job, self.fault, str(self.ends.total()), *numbers, lost]


class Trials:
    """Makes trials of a job.

    Args:
        job: What is interrupted.
        root: Where the folders of the trials are.
        draw: What is random.
    """

    def __init__(self, job: Job, root: Path, draw: random.Random) -> None:
        self.job, self.draw = job, draw
        self._root, self._number = root / job.name.replace(" ", "-"), 0
        faults.save_images(self._root)
        self._places = 0  # before and after writes, once they are known
        began = time.perf_counter()
        self.whole = self.folder()
        outcome = run(job, self.whole)
        if outcome.error:
            raise AssertionError(f"{job.name} fails undisturbed: {outcome}")
        self.seconds = time.perf_counter() - began
        self.expected = contents(self.whole / job.output)

    def folder(self) -> Path:
        """Return a folder for a trial; that of the trial before is removed."""
        last = self._root / str(self._number)
        if self._number > 1:
            shutil.rmtree(last, ignore_errors=True)
        self._number += 1
        return self._root / str(self._number)

    def again(self, folder: Path, row: Row, before: Outcome | None = None) -> None:
        """Run once more, and see how that ends."""
        after = run(self.job, folder)
        if after.error:
            row.add(_CLEAR if after.own else _RAW, f"{after.error}: {after.message}")
            return
        same = contents(folder / self.job.output) == self.expected
        if before is not None and before.error not in (None, "killed") and not before.own:
            row.add(_RAW, f"{before.error}: {before.message}")
            return
        counted = (self.whole / "log").exists()  # a training counts no predictions
        lost = predicted(folder) - predicted(self.whole) if counted else None
        row.add(_SAME if same else _OTHER, "other bytes", lost)

    def writes(self, step: int) -> Iterator[Row]:
        """Crash before and after writes, and have each fail as on a full disk."""
        ways = {"crash at a write": faults.crash, "disk full at a write": faults.no_space}
        for what, then in ways.items():
            row = Row(self.job.name, what)
            for number in range(0, 10_000, step):
                folder = self.folder()
                before = run(self.job, folder, faults.at_write(number, then))
                if before.error is None:  # beyond the last write
                    self._places = number
                    break
                self.again(folder, row, before)
            yield row

    def interrupted(self, folder: Path) -> None:
        """Leave a run that crashed somewhere in its middle."""
        number = self.draw.randrange(self._places // 4, max(self._places * 2 // 3, 2))
        run(self.job, folder, faults.at_write(number, faults.crash))
        # how many writes there are depends on the time that they take
        while not predicted(folder) or contents(folder / self.job.output) == self.expected:
            number += 1 if not predicted(folder) else -1
            shutil.rmtree(folder)
            run(self.job, folder, faults.at_write(number, faults.crash))

    def sizes(self, count: int) -> Row:
        """Let no file grow beyond a size at random."""
        row = Row(self.job.name, "no room beyond a size")
        largest = max(map(len, self.expected.values()))
        for _ in range(count):
            folder = self.folder()
            size = self.draw.randrange(COUNTED, max(largest, COUNTED + 1))
            self.again(folder, row, run(self.job, folder, faults.no_larger(size)))
        return row

    def kills(self, count: int) -> Row:
        """Kill at random moments, up to three times one after the other."""
        row = Row(self.job.name, "SIGKILL at random")
        for _ in range(count):
            folder = self.folder()
            for _ in range(self.draw.randint(1, 3)):
                faults.kill_after(self.job, folder, self.draw.uniform(0, self.seconds))
            self.again(folder, row)
        return row

    def damage(self, count: int) -> Iterator[Row]:
        """Flip a bit of a file, or cut it short, in a finished run and in an interrupted one."""
        for what in ("finished", "interrupted")[self.job.name == "score" :]:
            row = Row(self.job.name, f"a bit flipped or a file cut, {what} run")
            for _ in range(count):
                folder = self.folder()
                if what == "finished":
                    shutil.copytree(self.whole, folder)
                else:
                    self.interrupted(folder)
                if spoil(folder / self.job.output, self.draw):
                    self.again(folder, row)
            yield row

    def pairs(self, count: int) -> Row:
        """Start the same job twice at once."""
        row = Row(self.job.name, "two at once")
        for _ in range(count):
            folder = self.folder()
            both = [faults.start(self.job, folder) for _ in range(2)]
            ends = [faults.wait(*each) for each in both]
            bad = [end for end in ends if end.error and not end.own]
            self.again(folder, row, bad[0] if bad else None)
        return row

    def read_only(self) -> Row:
        """Give a finished run again where nothing can be written."""
        row = Row(self.job.name, "finished run in a read-only folder")
        folder = self.folder()
        shutil.copytree(self.whole, folder)
        after = run(self.job, folder, faults.read_only)
        same = contents(folder / self.job.output) == self.expected
        row.add(_RAW if after.error else _SAME if same else _OTHER, str(after), 0)
        return row

    def broken(self, count: int) -> Row:
        """Break a part in the middle of a run, and run again with a whole one."""
        row = Row(self.job.name, "a broken part, then mended")
        ways = faults.broken_parts()
        for name, fault in self.draw.sample(ways, min(count, len(ways))):
            folder = self.folder()
            run(self.job, folder, fault)
            self.again(folder, row)
            row.notes = [note if note.startswith("[") else f"[{name}] {note}" for note in row.notes]
        return row

    def changes(self) -> Row:
        """Continue an interrupted run with something else."""
        row = Row(self.job.name, "continued with another input")
        samples = faults.images()
        samples[3] = samples[4]
        score = {"selector": pladapt.CertaintyIndexSelector(min_pixels=6)}
        changed = [
            score,
            {"predictor": faults.Bright(Path("log"), shift=0.1)},
            {"batch_size": 3},
            {"target": pladapt.unlabelled(samples)},
            {"target": pladapt.unlabelled(faults.images()[::-1])},
            {"retrainer": faults.Brighter(0.5)},
            {"rounds": 3},
            {"evaluators": [pladapt.OverlapEvaluator(samples=samples)]},
            {"gates": []},
        ]
        for change in changed if self.job.name == "adapt" else changed[:2]:
            folder = self.folder()
            self.interrupted(folder)
            after = run(self.job, folder, **change)
            refused = after.error == "RunChangedError"
            row.add(_CLEAR if refused else _OTHER, f"{list(change)}: {after}")
        return row


def spoil(folder: Path, draw: random.Random) -> bool:
    """Flip a bit of a random file, or cut it short; return whether there was a file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    if not files:
        return False
    path = draw.choice(files)
    data = bytearray(path.read_bytes())
    place = draw.randrange(len(data))
    if draw.random() < 0.2:  # noqa: PLR2004 - a fifth of them
        data = data[:place]
    else:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
    return True


def spoiled(
    row: Row, path: Path, read: Callable[[Path], str], draw: random.Random, count: int
) -> Row:
    """Read a file of which a bit is flipped, or that is cut."""
    whole, expected = path.read_bytes(), read(path)
    for _ in range(count):
        path.write_bytes(whole)
        spoil(path.parent, draw)
        try:
            found = read(path)
        except pladapt.PladaptError:
            row.add(_CLEAR)
        except Exception as error:  # noqa: BLE001 - counted
            row.add(_RAW, f"{type(error).__name__}: {error}")
        else:
            row.add(_SAME if found == expected else _OTHER, found)
    return row


def files(whole: Path, root: Path, draw: random.Random, count: int) -> Iterator[Row]:
    """Damage the files that commands hand on to each other."""
    scores = root / "scores" / "scores.parquet"
    scores.parent.mkdir()
    shutil.copy(whole, scores)
    row = Row("select", "a bit flipped or a file cut, scores.parquet")
    yield spoiled(row, scores, _selected, draw, count)
    statistics = root / "statistics" / "source.npz"
    statistics.parent.mkdir()
    predictor = faults.Bright(root / "log", pause=0)
    pladapt.SourceStatistics.measure(faults.images(), predictor).save(statistics)
    row = Row("source statistics", "a bit flipped or a file cut")
    yield spoiled(row, statistics, _loaded, draw, count)


def _selected(scores: Path) -> str:
    output = scores.parents[1] / "selection.parquet"
    select_file(scores, output, min_pixels=5, top_k=0.5)
    return str(read_table(output).to_pylist())


def _loaded(statistics: Path) -> str:
    return str(describe(pladapt.SourceStatistics.load(statistics)))


@dataclass(frozen=True)
class Counts:
    """How many trials are made.

    Args:
        each: Of each kind that has no number of its own, about.
        kills: Of SIGKILL at random.
        pairs: Of two at once.
        flips: Of damage to each of the files that commands hand on.
        training: Of SIGKILL of a training.
    """

    each: int
    kills: int
    pairs: int
    flips: int
    training: int


def measure(jobs: Sequence[Job], root: Path, draw: random.Random, counts: Counts) -> Iterator[Row]:
    """Make all trials."""
    count = counts.each
    for job in jobs:
        trials = Trials(job, root, draw)
        yield from trials.writes(max(1, 480 // count | 1))  # both before and after writes
        yield trials.sizes(count)
        yield trials.kills(counts.kills)
        yield from trials.damage(count)
        yield trials.pairs(counts.pairs)
        yield trials.changes()
        if job.name == "adapt":
            yield trials.read_only()
            yield trials.broken(4 * count)
    if counts.flips:
        scores = root / "warm" / "score" / "run" / "scores.parquet"
        yield from files(scores, root, draw, counts.flips)
    if counts.training:
        trials = Trials(TRAINING, root, draw)
        yield trials.kills(counts.training)


def page(rows: list[Row], before: str = "") -> str:
    """Return the page, in which the lines of an earlier one stay that were not measured again."""
    head = ["job", "fault", "tried", *(_SAME, _CLEAR, _RAW, _OTHER), "predicted again"]
    known = [line.strip("|\n").split(" | ") for line in before.splitlines() if line[:2] == "| "]
    cells = [[cell.strip() for cell in each] for each in known[2:]]
    found = {(each[0], each[1]): each for each in [*cells, *(row.cells() for row in rows)]}
    lines = [head, ["---", "---", *["---:"] * 6], *found.values()]
    table = "\n".join(f"| {' | '.join(each)} |" for each in lines)
    return f"{_HEAD}{table}\n"


def _counts(arguments: argparse.Namespace) -> Counts:
    given = arguments.trials, arguments.kills, arguments.pairs, arguments.flips
    each, kills, pairs, flips = (_QUICK, _QUICK, 1, 10 * _QUICK) if arguments.quick else given
    wanted = arguments.only in (None, "files")
    return Counts(each, kills, pairs, flips if wanted else 0, arguments.training)


def main() -> int:
    """Make the trials, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials of each kind")
    parser.add_argument(
        "--only",
        choices=[*(job.name for job in JOBS), "files", "training"],
        help="of the jobs; the page's other lines stay",
    )
    parser.add_argument("--trials", type=int, default=100, help="of each kind, about")
    parser.add_argument("--kills", type=int, default=85, help="of each job, at random")
    parser.add_argument("--pairs", type=int, default=50, help="of two of each job at once")
    parser.add_argument("--flips", type=int, default=1000, help="of each file handed on")
    parser.add_argument("--training", type=int, default=0, help="kills of a training; needs torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="where the page goes")
    parser.add_argument("--folder", type=Path, help="where the trials run")
    arguments = parser.parse_args()
    where = arguments.page or (None if arguments.quick else PAGE)
    rows: list[Row] = []
    kept = where is not None and where.exists() and arguments.only is not None
    before = where.read_text(encoding="utf-8") if where is not None and kept else ""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        faults.save_images(Path(folder) / "warm")
        for job in [
            *JOBS,
            *([TRAINING] if arguments.training else []),
        ]:  # what is imported late is imported once, before any fork
            job.run(Path(folder) / "warm" / job.name)
        draw = random.Random(arguments.seed)  # noqa: S311 - no secret
        jobs = [job for job in JOBS if arguments.only in (None, job.name)]
        for row in measure(jobs, Path(folder), draw, _counts(arguments)):
            print(" | ".join(row.cells()), flush=True)
            for note in sorted(set(row.notes))[:20]:
                print(f"    {note[:300]}", flush=True)
            rows.append(row)
            if where is not None:
                where.write_text(page(rows, before), encoding="utf-8")
    return int(any(row.ends[_RAW] or row.ends[_OTHER] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
