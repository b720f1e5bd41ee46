"""Jobs that are interrupted, and the faults that interrupt them; for `reliability.py`.

Each job runs in a forked process, so that it can be killed, and appends a byte to a file for each
sample that it predicts, so that what was predicted twice is known.
"""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import time
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pladapt
from pladapt.files import Files, Grouping, ImageLayout, score_files
from pladapt.plugins import PluginManager
from pladapt.runs import parts
from pladapt.selection.recorded import record
from pladapt.types import EVIDENCE, LabelledSample

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT: Final = 24
_WRITES: Final = ((os, "replace"), (os, "fsync"), (Path, "write_text"), (pq, "write_table"))


BROKEN: dict[str, Callable[[], Any]] = {}
"""What is called in place of a part's method, by the part and the method; see `broken_parts`."""


def breakable(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method be broken, by which its code does not become another."""

    @wraps(method)
    def called(*args: Any) -> Any:
        fault = BROKEN.get(method.__qualname__, _whole)
        return method(*args) if (made := fault()) is _whole else made

    return called


def _whole() -> Any:
    return _whole


@dataclass
class Bright:
    """A predictor that returns the images, a little brighter, and counts them."""

    log: Path = field(compare=False, repr=False)
    shift: float = 0.0
    pause: float = field(default=0.002, compare=False, repr=False)

    @breakable
    def predict(self, images: Any, /) -> Any:
        """Return the images."""
        time.sleep(self.pause)
        with self.log.open("ab") as file:
            file.write(b"." * len(images))
        return np.clip(images + np.float32(self.shift), 0, 1)


@dataclass
class Brighter:
    """A retrainer that makes the predictor brighter, and can be stored."""

    step: float = 0.01

    @breakable
    def retrain(self, predictor: Bright, labels: Any, /) -> Bright:
        """Look at the labels."""
        seen = sum(float(labels[index].label.mean()) for index in range(len(labels)))
        return replace(predictor, shift=predictor.shift + self.step * seen / len(labels))

    def save(self, predictor: Bright, folder: Path, /) -> None:
        """Write the shift."""
        (folder / "shift.txt").write_text(repr(predictor.shift))

    def load(self, predictor: Bright, folder: Path, /) -> Bright:
        """Read the shift."""
        return replace(predictor, shift=float((folder / "shift.txt").read_text()))


class Anything:
    """A gate that predicts every sample with both predictors, and accepts."""

    @breakable
    def judge(self, before: Bright, after: Bright, target: Any, /) -> pladapt.Judgement:
        """Return how far the two differ."""
        stacked = np.stack([target[index].image for index in range(len(target))])
        change = float(np.abs(before.predict(stacked) - after.predict(stacked)).mean())
        row = dict.fromkeys(EVIDENCE.names) | {"measure": "change", "after": change, "passed": True}
        evidence = pa.Table.from_pylist([row], schema=EVIDENCE)
        return pladapt.Judgement(accepted=True, reasons=(), evidence=evidence)


def images() -> list[LabelledSample]:
    """Return images with a bright square each, and their masks."""
    draw, made = np.random.default_rng(0), []
    for index in range(COUNT):
        image = draw.uniform(0, 0.3, (1, 16, 16)).astype(np.float32)
        mask = np.zeros((16, 16), np.uint8)
        mask[3 : 6 + index % 8, 4:12] = 1
        image[0, mask > 0] += np.float32(0.3 + 0.02 * (index % 13))
        made.append(LabelledSample(f"s{index:02}", f"p{index % 4}", image, mask))
    return made


@dataclass(frozen=True)
class Job:
    """Something that is interrupted.

    Args:
        name: What it is called in the table.
        run: Does it in a folder, whose contents are then compared; takes changes by name.
        output: What of the folder is compared.
    """

    name: str
    run: Callable[..., None]
    output: str


def adapt(folder: Path, **changes: Any) -> None:
    """Adapt in two rounds with a gate and an evaluator."""
    parts.SECONDS = 0.01
    if not folder.is_dir():
        folder.mkdir(parents=True)
    samples = images()
    given = {
        "predictor": Bright(folder / "log"),
        "target": pladapt.unlabelled(samples),
        "selector": pladapt.CertaintyIndexSelector(min_pixels=5, top_k=0.5),
        "retrainer": Brighter(),
        "evaluators": [pladapt.OverlapEvaluator(samples=samples)],
        "gates": [Anything()],
        "rounds": 2,
        "batch_size": 4,
        "max_errors": 0,
    }
    pladapt.adapt(**given | changes, workdir=folder / "run", plugins=PluginManager())


def score(folder: Path, **changes: Any) -> None:
    """Score the files of a folder."""
    parts.SECONDS = 0.01
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run").mkdir(exist_ok=True)
    output = folder / "run" / "scores.parquet"
    if output.exists():
        return
    given = {
        "predictor": Bright(folder / "log"),
        "selector": pladapt.CertaintyIndexSelector(min_pixels=5),
        "layout": ImageLayout(),
        "grouping": Grouping(),
        "batch_size": 2,
        "recorded": record("certainty-index", {"min_pixels": 5}),
    }
    score_files(files=Files.find(folder.parent / "images"), output=output, **given | changes)


def save_images(folder: Path) -> None:
    """Write the images as files."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for sample in images():
        np.save(folder / "images" / f"{sample.id}.npy", sample.image)


def train(folder: Path, **changes: Any) -> None:
    """Recalibrate, then train four epochs, of which each leaves a checkpoint."""
    import torch  # noqa: PLC0415 - only where it is asked for

    from pladapt.torch import TorchPredictor, TrainingOptions  # noqa: PLC0415 - the same
    from pladapt.torch.recalibrators import BatchNormRecalibrator  # noqa: PLC0415 - the same

    torch.set_num_threads(1)
    options = TrainingOptions(epochs=4, batch_size=4, device="cpu")
    given = {"options": options, "checkpoints": folder / "checkpoints"} | changes
    made = pladapt.recipe("paper", min_pixels=5, validation=0.25, **given)
    result = replace(made, recalibrator=BatchNormRecalibrator()).adapt(
        TorchPredictor(_network(), device="cpu"),
        pladapt.unlabelled(images()),
        workdir=folder / "run",
        plugins=PluginManager(),
    )
    if not result.rounds or not result.rounds[0].stands:
        raise AssertionError(f"Nothing was trained, so nothing is interrupted: {result.verdict}.")


def _network() -> Any:
    """Return a network that marks what is bright."""
    import torch  # noqa: PLC0415 - only where it is asked for

    first, last = torch.nn.Conv2d(1, 4, 3, padding=1, bias=False), torch.nn.Conv2d(4, 1, 1)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[:, 0, 1, 1] = 1
        last.weight.fill_(5)
        last.bias.fill_(-9)
    return torch.nn.Sequential(first, torch.nn.BatchNorm2d(4), torch.nn.ReLU(), last)


JOBS: Final = (
    Job("adapt", adapt, "run"),
    Job("score", score, "run"),
)
TRAINING: Final = Job("recalibration and training", train, "run")


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Args:
        error: The name of the exception, or None; ``killed`` where it was.
        own: Whether the exception is one that pladapt raises on purpose.
        message: What it said.
    """

    error: str | None = None
    own: bool = True
    message: str = ""


def run(job: Job, folder: Path, fault: Callable[[], None] | None = None, **changes: Any) -> Outcome:
    """Run a job in a process of its own, with a fault in it."""
    return wait(*start(job, folder, fault, **changes))


def start(
    job: Job, folder: Path, fault: Callable[[], None] | None = None, **changes: Any
) -> tuple[int, int]:
    """Start a job; return its process and where it says how it ended."""
    folder.mkdir(parents=True, exist_ok=True)
    told, tells = os.pipe()
    process = os.fork()
    if process:
        os.close(tells)
        return process, told
    os.close(told)
    outcome = Outcome()
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        if fault is not None:
            fault()
        job.run(folder, **changes)
    except BaseException as error:  # noqa: BLE001 - told to the parent
        own = isinstance(error, (pladapt.PladaptError, PermissionError))
        outcome = Outcome(type(error).__name__, own, str(error))
    with os.fdopen(tells, "wb") as pipe:
        pickle.dump(outcome, pipe)
    os._exit(0)


def wait(process: int, told: int) -> Outcome:
    """Wait until a job has ended."""
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read()
    os.waitpid(process, 0)
    return pickle.loads(said) if said else Outcome("killed")  # noqa: S301 - our own child's


def kill_after(job: Job, folder: Path, seconds: float) -> Outcome:
    """Start a job, and kill it after some seconds."""
    process, told = start(job, folder)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return wait(process, told)


def at_write(number: int, then: Callable[[], None]) -> Callable[[], None]:
    """Return a fault at a write: before it for even numbers, after it for odd ones."""

    def patch() -> None:
        seen = [0]
        for owner, name in _WRITES:
            setattr(owner, name, _ticking(getattr(owner, name), seen, number, then))

    return patch


def _ticking(
    function: Callable[..., Any], seen: list[int], number: int, then: Callable[[], None]
) -> Callable[..., Any]:
    def ticking(*args: Any, **options: Any) -> Any:
        place = seen[0]
        seen[0] += 2
        if place == number:
            then()
        made = function(*args, **options)
        if place + 1 == number:
            then()
        return made

    return ticking


_PARTS: Final = (
    (Bright, "predict"),
    (Brighter, "retrain"),
    (Anything, "judge"),
    (pladapt.OverlapEvaluator, "evaluate"),
    (pladapt.CertaintyIndexSelector, "score"),
    (pladapt.CertaintyIndexSelector, "select"),
    (pladapt.CertaintyIndexSelector, "label"),
)
_WAYS: Final = ("returns None", "raises an error", "exits", "returns NaN")


def broken_parts() -> list[tuple[str, Callable[[], None]]]:
    """Return faults by name: a method of a part that breaks from a call on, in a way."""
    return [
        (f"{owner.__name__}.{name} {way}", partial(_break, owner, name, way, number))
        for owner, name in _PARTS
        for way in _WAYS
        for number in (0, 1, 5)
    ]


def _break(owner: Any, name: str, way: str, number: int) -> None:
    calls = [0]

    def broken() -> Any:
        calls[0] += 1
        if calls[0] <= number:
            return _whole
        match way:
            case "raises an error":
                raise RuntimeError(way)
            case "exits":
                raise SystemExit(0)
            case "returns NaN":
                return np.full((1, 1, 16, 16), np.nan, np.float32)
        return None

    method = getattr(owner, name)
    BROKEN[method.__qualname__] = broken
    if not hasattr(method, "__wrapped__"):
        setattr(owner, name, breakable(method))


def read_only() -> None:
    """Refuse to write, rename, make or remove anything."""

    def refused(*_args: Any, **_options: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    opened = Path.open

    def open_(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        allowed = mode.strip("bt") == "r" or path.name == "log"
        return opened(path, mode, *args, **options) if allowed else refused()

    places = ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir"), (pq, "write_table"))
    for owner, name in (*places, (Path, "write_text")):
        setattr(owner, name, refused)
    Path.open = open_  # type: ignore[method-assign]  # as a file system would


def crash() -> None:
    """End the process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_space() -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def no_larger(size: int) -> Callable[[], None]:
    """Return a fault: no file may grow beyond so many bytes."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder; of ``score``, whose output is one file, that file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".parquet." not in str(path.relative_to(folder))
    }


def predicted(folder: Path) -> int:
    """Return how many samples were predicted in a folder."""
    log = folder / "log"
    return log.stat().st_size if log.exists() else 0
